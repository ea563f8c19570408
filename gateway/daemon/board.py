"""What the box says of each camera: one word, made of what its source, the detector and the operator say.

A word goes out when it changes. The promise beside it grows with every passage; it is told with the next change or
the next `refresh`, not with every passage.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog

from gateway.cameras.keeper import CameraState
from gateway.contract import messages
from gateway.contract.topics import OFF, ON, Topics
from gateway.screening import decide
from gateway.wording import promise_of

OVERLOADED = "overloaded"

PassageReason = Literal["quality", "operating_point"]
"""What passages show: most who pass cannot be judged; more alerts are raised than was promised."""

_KEPT = {"online", "offline"}

_log = structlog.get_logger()


class Told(Protocol):
    """Who hears what passages show; `Daemon` is one."""

    def on_passages(self, camera: str, reason: PassageReason, *, is_on: bool) -> None:
        """Take whether a camera's passages show it."""


class Shown(Protocol):
    """What subscribers see of the box; nothing here waits, and the newest word for a topic wins."""

    def show(self, topic: str, payload: bytes) -> None:
        """Keep this word for whoever comes: retained at the broker, said again after every reconnect."""

    def clear(self, topic: str) -> None:
        """Take a word back, also at the broker."""

    def say(self, topic: str, payload: bytes) -> None:
        """Say something once, if anybody listens now."""


ReferenceOf = Callable[[str], decide.Reference | None]
RealisedOf = Callable[[str], messages.RealisedRate | None]


@dataclass(slots=True)
class _Camera:
    """What is known of one camera; `said` is the word that subscribers have, `open_alerts` its tracks under alarm."""

    state: CameraState
    is_overloaded: bool = False
    since_s: float = 0.0
    said: tuple[str, str | None] | None = None
    open_alerts: set[str] = field(default_factory=set)


class Board:
    """The words about all cameras.

    `reference_of` returns what a camera's next track would be judged against, `realised_of` what it did with its
    promise so far.
    """

    def __init__(
        self,
        shown: Shown,
        topics: Topics,
        *,
        reference_of: ReferenceOf,
        realised_of: RealisedOf = lambda _camera: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._shown = shown
        self._topics = topics
        self._reference_of = reference_of
        self._realised_of = realised_of
        self._clock = clock
        self._cameras: dict[str, _Camera] = {}
        self._troubles: dict[str, str] = {}
        self._shown_by_passages: dict[PassageReason, set[str]] = {"quality": set(), "operating_point": set()}

    def state_of(self, camera: str) -> tuple[str, str | None] | None:
        """Return the word that stands for a camera, or None where it is unknown."""
        known = self._cameras.get(camera)
        return None if known is None else known.said

    def on_state(self, state: CameraState) -> None:
        """Take what a camera's keeper says."""
        known = self._cameras.setdefault(state.camera, _Camera(state))
        known.state = state
        if state.state in {"offline", "disabled"}:
            known.is_overloaded = False
        if known.said is None:
            self._shown.show(self._topics.alert(state.camera), OFF.encode())
        self._tell(state.camera, since_s=state.since_s)

    def on_overload(self, camera: str, is_on: bool) -> None:  # noqa: FBT001  (called back)
        """Take whether a camera's faces or frames are given up for want of time."""
        if camera in self._cameras:
            self._cameras[camera].is_overloaded = is_on
            self._tell(camera, since_s=self._clock())

    def on_passages(self, camera: str, reason: PassageReason, *, is_on: bool) -> bool:
        """Take what a camera's passages show of how it is watched; return whether any camera's still show it."""
        shown_by = self._shown_by_passages[reason]
        (shown_by.add if is_on else shown_by.discard)(camera)
        if camera in self._cameras:
            self._tell(camera, since_s=self._clock())
        return bool(shown_by)

    def on_trouble(self, part: str, reason: str | None) -> None:
        """Take what is wrong with a part that all cameras share; None where nothing is any more."""
        if self._troubles.get(part) == reason:
            return
        if reason is None:
            del self._troubles[part]
        else:
            self._troubles[part] = reason
        for camera in self._cameras:
            self._tell(camera, since_s=self._clock())

    def on_alert(self, alert: messages.Alert) -> None:
        """Switch the camera's lamp on with its first track under alarm, and off after its last."""
        data = alert.data
        known = self._cameras.get(data.camera)
        if known is None:
            return
        was_on = bool(known.open_alerts)
        if data.type == "end":
            known.open_alerts.discard(data.alert_id)
        else:
            known.open_alerts.add(data.alert_id)
        if bool(known.open_alerts) != was_on:
            word = ON if known.open_alerts else OFF
            self._shown.show(self._topics.alert(data.camera), word.encode())

    def is_open(self, alert_id: str) -> bool:
        """Return whether the track of an alert is still before its camera."""
        return any(alert_id in known.open_alerts for known in self._cameras.values())

    def show_enabled(self, camera: str, *, is_on: bool) -> None:
        """Say whether a camera is switched on."""
        self._shown.show(self._topics.enabled_state(camera), (ON if is_on else OFF).encode())

    def refresh(self) -> None:
        """Say every camera's word again with today's promise."""
        for camera in self._cameras:
            self._publish(camera)

    def forget(self, camera: str) -> None:
        """Take back everything that was said of a camera that is no more."""
        self._cameras.pop(camera, None)
        for topic in (self._topics.status(camera), self._topics.alert(camera), self._topics.enabled_state(camera)):
            self._shown.clear(topic)

    def _word(self, known: _Camera) -> tuple[str, str | None]:
        """Return the camera's word: away comes before badly watched, its own troubles before everybody's."""
        state = known.state
        if state.state != "online":
            return state.state, state.reason
        reason = OVERLOADED if known.is_overloaded else next(iter(self._troubles.values()), None)
        if reason is None:
            reason = next((why for why, cameras in self._shown_by_passages.items() if state.camera in cameras), None)
        return ("online", None) if reason is None else ("degraded", reason)

    def _tell(self, camera: str, *, since_s: float) -> None:
        known = self._cameras[camera]
        word = self._word(known)
        if word == known.said:
            return
        if known.said is None or known.said[0] != word[0]:
            known.since_s = since_s
        # That a camera comes and goes its keeper logs, ever more rarely where it does so all the time.
        if not {word[0], word[0] if known.said is None else known.said[0]} <= _KEPT:
            _log.info("camera_status", camera=camera, state=word[0], reason=word[1])
        known.said = word
        self._publish(camera)

    def _publish(self, camera: str) -> None:
        status = self.status_of(camera)
        if status is not None:
            self._shown.show(self._topics.status(camera), messages.to_bytes(status))

    def status_of(self, camera: str) -> messages.CameraStatus | None:
        """Return the word about a camera with today's promise, or None where it is unknown."""
        known = self._cameras.get(camera)
        if known is None:
            return None
        state, reason = known.said or self._word(known)
        reference = self._reference_of(camera)
        return messages.CameraStatus.model_validate(
            {
                "camera": camera,
                "state": state,
                "reason": reason,
                "since": known.since_s,
                "calibration": None if reference is None else reference.level,
                "promise": None if reference is None else promise_of(reference),
                "realised": self._realised_of(camera),
            }
        )

    def is_alarmed(self, camera: str) -> bool:
        """Return whether a track under alarm is before a camera."""
        known = self._cameras.get(camera)
        return known is not None and bool(known.open_alerts)
