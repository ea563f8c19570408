"""What messages from outside make the box do: switch a camera, take a judgement of an alert, choose a bundle.

Nothing is obeyed unless `mqtt.commands` allows it. Even then a hostile broker can only disable, and take adaptations
back, and whatever is obeyed is told among the alerts. So that such notices never crowd alerts out, only so many
commands a minute are obeyed. A retained command is never obeyed: it would come again with every connection.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.contract.bucket import Bucket
from gateway.contract.requests import ModelOrder, RequestError, read_feedback, read_model_order, read_switch
from gateway.contract.topics import OFF, ON, Asked
from gateway.delivery.flood import log_budget
from gateway.delivery.packets import Incoming
from gateway.settings import COMMANDS_PER_MINUTE

_log = structlog.get_logger()

OnSwitch = Callable[[str, bool], bool]
"""Switches a camera on or off, for good; False where there is no such camera."""

OnFeedback = Callable[[str, bool], bool]
"""Takes whether an alert was confirmed; False where nothing is known of it."""

OnModel = Callable[[str, ModelOrder], bool]
"""Takes what is wanted of an environment's bundle; False where there is no such environment.

Raises `RequestsWait` where too much is wanted already.
"""


@dataclass(frozen=True, slots=True)
class Ears:
    """Whom a command concerns."""

    on_switch: OnSwitch = lambda _camera, _is_on: False
    on_feedback: OnFeedback = lambda _alert_id, _confirmed: False
    on_model: OnModel = lambda _environment, _order: False


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What was done."""

    asked: Asked
    value: str
    note: str | None = None


class Commands:
    """Obeys, or counts what it does not obey."""

    def __init__(
        self,
        *,
        allowed: bool,
        ears: Ears,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._ears = ears
        self._monotonic = monotonic
        self._budget = Bucket(COMMANDS_PER_MINUTE, COMMANDS_PER_MINUTE / 60.0, now_s=monotonic())
        self._lines = log_budget(monotonic())
        self.ignored = 0
        self.obeyed = 0

    def obey(self, asked: Asked, message: Incoming) -> Obeyed | None:
        """Do what a message asks and return it; None where it is not obeyed."""
        done = self._do(asked, message)
        if isinstance(done, Obeyed):
            self.obeyed += 1
            _log.warning("command_obeyed", command=asked.what, name=asked.name, value=done.value)
            return done
        self.ignored += 1
        if self._lines.take(self._monotonic()):
            _log.warning("command_ignored", command=asked.what, name=asked.name, reason=done)
        return None

    def _do(self, asked: Asked, message: Incoming) -> Obeyed | str:
        if not self._allowed:
            return "mqtt.commands does not allow it"
        if message.retain:
            return "it is retained"
        if not self._budget.take(self._monotonic()):
            return f"more than {COMMANDS_PER_MINUTE} came in a minute"
        note = None
        try:
            if asked.what == "enabled":
                is_on = read_switch(message.payload)
                known, value = self._ears.on_switch(asked.name, is_on), ON if is_on else OFF
            elif asked.what == "model":
                order = read_model_order(message.payload)
                known, value = self._ears.on_model(asked.name, order), str(order)
            else:
                said = read_feedback(message.payload)
                known, value = self._ears.on_feedback(asked.name, said.feedback == "confirmed"), said.feedback
                note = said.note
        except RequestError as error:
            return str(error)
        return Obeyed(asked, value, note) if known else "there is nothing of this name"
