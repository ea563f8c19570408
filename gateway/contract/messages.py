"""The messages that leave the box: all of them, their bytes, and back.

Alerts, notices and verdicts are CloudEvents 1.0 in structured JSON; status, statistics and answers are flat. Every
message names its kind and version in `type`. Times are epoch seconds UTC. This is the place to import a message from;
the modules beside it hold one family each.
"""

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from gateway.contract.events import Alert, AlertData, Band, Evidence, LatencyMs, Verdict, VerdictData
from gateway.contract.fields import (
    MAX_CAMERAS,
    CalibrationLevel,
    CameraName,
    FrameTimeSource,
    ModelIdentity,
    Promise,
    Severity,
    rfc3339,
)
from gateway.contract.notices import Command, Degraded, Flood, Gap, Notice, NoticeData, Recovered, SeverityCounts
from gateway.contract.requests import Feedback, ModelOrder, ReplayEnd, ReplayRequest
from gateway.contract.states import (
    BrokerStats,
    CameraDrift,
    CameraStats,
    CameraStatus,
    CleanSetProgress,
    DriftChange,
    DriftState,
    EnvironmentStats,
    ModelAnswer,
    ModelState,
    OutboxStats,
    RealisedRate,
    Stats,
    TrainerJob,
    TrainerState,
)

MAX_MESSAGE_BYTES = 65_536  # above the statistics of MAX_CAMERAS cameras
CLOUDEVENTS_TYPE = "application/cloudevents+json; charset=utf-8"  # of alerts, notices and verdicts
JSON_TYPE = "application/json"  # of status, statistics and answers

__all__ = [
    "CLOUDEVENTS_TYPE",
    "JSON_TYPE",
    "MAX_CAMERAS",
    "MAX_MESSAGE_BYTES",
    "Alert",
    "AlertData",
    "Band",
    "BrokerStats",
    "CalibrationLevel",
    "CameraDrift",
    "CameraName",
    "CameraStats",
    "CameraStatus",
    "CleanSetProgress",
    "Command",
    "Degraded",
    "DriftChange",
    "DriftState",
    "EnvironmentStats",
    "Event",
    "Evidence",
    "Feedback",
    "Flood",
    "FrameTimeSource",
    "Gap",
    "LatencyMs",
    "Message",
    "MessageError",
    "ModelAnswer",
    "ModelIdentity",
    "ModelOrder",
    "ModelState",
    "Notice",
    "NoticeData",
    "OutboxStats",
    "Promise",
    "RealisedRate",
    "Recovered",
    "ReplayEnd",
    "ReplayRequest",
    "Severity",
    "SeverityCounts",
    "Stats",
    "TrainerJob",
    "TrainerState",
    "Verdict",
    "VerdictData",
    "alert_id",
    "live_event_id",
    "live_verdict_id",
    "parse",
    "replay_event_id",
    "rfc3339",
    "to_bytes",
]


class MessageError(ValueError):
    """These bytes are no message of ours, or this message cannot become bytes."""


Event = Alert | Verdict | Notice
Message = Alert | Verdict | Notice | CameraStatus | Stats | DriftState | ModelState | TrainerState | ReplayEnd
_ANY_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def _fields(message: Message) -> dict[str, object]:
    fields: dict[str, Any] = message.model_dump(mode="json")
    if isinstance(message, Alert) and message.data.latency_ms is None:
        del fields["data"]["latency_ms"]  # absent, not null: a replay says nothing of it
    return fields


def to_bytes(message: Message) -> bytes:
    """Return the message as JSON in UTF-8: keys in the order of the model, floats that read back exactly.

    Raises:
        MessageError: It is larger than `MAX_MESSAGE_BYTES`, or holds NaN or infinity.
    """
    try:
        text = json.dumps(_fields(message), separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise MessageError(f"a {message.type} message cannot be written: {error}") from error
    payload = text.encode()
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"a {message.type} message has {len(payload)} bytes: at most {MAX_MESSAGE_BYTES} go out")
    return payload


def parse(payload: bytes) -> Message:
    """Return the message these bytes are.

    Raises:
        MessageError: They are none; the text says where and why.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"a message has at most {MAX_MESSAGE_BYTES} bytes, not {len(payload)}")
    try:
        return _ANY_MESSAGE.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][:6]) or "the whole"
        raise MessageError(f"not a message of ours, {place}: {first['msg'][:200]}") from None


def live_event_id(client_id: str, seq: int) -> str:
    """Return the `id` of message number `seq` of this box."""
    return f"{client_id}-{seq}"


def live_verdict_id(client_id: str, alert_id: str) -> str:
    """Return the `id` of a track's verdict; `alert_id` names the track, whether an alert was raised or not."""
    return f"{client_id}-{alert_id}"


def replay_event_id(input_sha256: str, *, camera: str, track_id: int, number: int) -> str:
    """Return the `id` of a replay's message: `number` is 0 for the track's verdict, its alerts count from 1.

    The same recording gives the same ids on every machine.
    """
    return f"{input_sha256[:16]}-{camera}-{track_id}-{number}"


def alert_id(origin: str, *, camera: str, track_id: int, start_time: float) -> str:
    """Return the 16 hex digits that name a track's alert; `origin` is the client id, in a replay the input's digest."""
    fields = json.dumps([origin, camera, track_id, start_time])
    return hashlib.sha256(fields.encode()).hexdigest()[:16]
