"""What others may ask of a box over MQTT.

A replay of its alerts, a camera's switch, their judgement of an alert, another bundle for an environment.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from gateway.contract.fields import Code, Count, Model, SeqRange, Token
from gateway.contract.notices import MAX_RANGES
from gateway.contract.topics import MODEL_ORDER, OFF, ON

MAX_REQUEST_BYTES = 4096
Judgement = Literal["false_positive", "confirmed"]
_Request = TypeVar("_Request", bound=BaseModel)


class RequestError(ValueError):
    """These bytes ask for nothing we know."""


class RequestsWait(RequestError):
    """So much was asked for and waits that no more is taken now."""


class ReplayRequest(Model):
    """Asks for the messages of `<prefix>/alerts` with these numbers again, on `<prefix>/alerts/replay`."""

    from_seq: Count
    to_seq: Count
    requester: Token | None = Field(default=None, description="a name of your own; the end of the replay repeats it")
    source: Token | None = Field(default=None, description="the CloudEvents source of the box that is asked; null: any")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.from_seq > self.to_seq:
            raise ValueError("from_seq must not be larger than to_seq")
        return self


class ReplayEnd(Model):
    """Closes the answer to a `ReplayRequest`, on `<prefix>/alerts/replayed`, behind the messages themselves.

    The messages are the very bytes that were published first, so `id` tells what is known already. A long range is
    answered up to `answered_to_seq`: ask again from there on.
    """

    type: Literal["spectragate.replay_end.v1"] = "spectragate.replay_end.v1"
    source: Token = Field(description="the CloudEvents source of the box that answers")
    requester: Token | None
    from_seq: Count = Field(description="as asked")
    to_seq: Count = Field(description="as asked")
    answered_to_seq: Count | None = Field(description="the last number this answer covers; null where it was refused")
    sent: Count
    missing: tuple[SeqRange, ...] = Field(
        max_length=MAX_RANGES, description="numbers that were given and can no longer be had, as [first, last]"
    )
    last_seq: Count = Field(description="the highest number this box has given so far")
    refused: Code | None = Field(default=None, description="why nothing was sent: unreadable")


class Feedback(Model):
    """Somebody's judgement of an alert, on `<prefix>/alerts/<alert_id>/feedback`."""

    feedback: Judgement
    note: str | None = Field(default=None, max_length=500, description="told beside the judgement among the alerts")


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """What an operator wants of an environment's bundle, on `<prefix>/environments/<environment>/model/set`.

    `rollback`: the one before, and to stay with it. `pin`: this version, and no other; without one, new ones again.
    """

    what: Literal["rollback", "pin"]
    version: int | None = None

    def __str__(self) -> str:
        """Return the order as it is given."""
        return self.what if self.what == "rollback" else f"pin {self.version or 'none'}"


def read_replay_request(payload: bytes) -> ReplayRequest:
    """Return the request these bytes are.

    Raises:
        RequestError: They are none; the text says why.
    """
    return _read(ReplayRequest, payload)


def read_feedback(payload: bytes) -> Feedback:
    """Return a judgement, given as a plain word or as JSON with a note.

    Raises:
        RequestError: It is none; the text says why.
    """
    if payload in {b"false_positive", b"confirmed"}:
        return Feedback(feedback="confirmed" if payload == b"confirmed" else "false_positive")
    return _read(Feedback, payload)


def read_switch(payload: bytes) -> bool:
    """Return whether a camera shall be watched: `ON` or `OFF`.

    Raises:
        RequestError: It is neither.
    """
    if payload not in {ON.encode(), OFF.encode()}:
        raise RequestError(f"a camera is switched by {ON} or {OFF}")
    return payload == ON.encode()


def read_model_order(payload: bytes) -> ModelOrder:
    """Return an order about a bundle: `rollback`, `pin <version>` or `pin none`.

    Raises:
        RequestError: It is none.
    """
    text = payload[:MAX_REQUEST_BYTES].decode(errors="replace")
    if not re.fullmatch(MODEL_ORDER[1:-1], text):
        raise RequestError("a bundle is chosen by rollback, pin <version> or pin none")
    if text == "rollback":
        return ModelOrder("rollback")
    version = text.removeprefix("pin ")
    return ModelOrder("pin", None if version == "none" else int(version))


def _read(kind: type[_Request], payload: bytes) -> _Request:
    if len(payload) > MAX_REQUEST_BYTES:
        raise RequestError(f"a request has at most {MAX_REQUEST_BYTES} bytes, not {len(payload)}")
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"][:3]) or "the whole"
        raise RequestError(f"not what is expected here, {place}: {first['msg'][:200]}") from None
