"""Clean faces of a drifted place: kept encrypted while there is drift, brought to the trainer when there are enough.

Only where `adaptation.upload: crops` says so. A face's score is the higher of what judges its environment and of the
released base, which judges by what nobody before a camera has had a hand in; without that base nothing is kept.

Where alerts were outlives a restart, and so does a word that was not obeyed yet.

An operator's word counts here as well. The face of an alert that is called false waits with the others, and keeps where
it came from. Where one is confirmed, what that camera kept in the hours around it goes: whoever came with a trigger may
have passed there before without being seen.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import WINDOW_S, Admission, CleanFace
from gateway.contract.exchange import MIN_CROP_PX
from gateway.daemon.sending import LOOK_EVERY_S, Road, Sending
from gateway.errors import StorageError
from gateway.screening import decide
from gateway.values import Quality, Screening, TrackedFace

MAX_OPEN_TRACKS = 256
MAX_WAITING = 64
MOST_ALERTS = 256
"""Alerts of which it is known where they were, and how they were judged; of older ones only the disk knows."""

FOLLOW_EVERY_S = 30.0
_MARKER = "alerts-of-clean-sets"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """What it takes to send what is collected, and the score of an environment's released base, None without one."""

    road: Road
    base_score: Callable[[str, CleanFace], Awaitable[float | None]]


@dataclass(slots=True)
class _Candidate:
    score: float
    pixels_YXC: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Alerted:
    """Where an alert was, and the largest face of its track where one is held."""

    camera: str
    time_s: float
    face: CleanFace | None


class _Spot(BaseModel):
    """Where an alert was."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    camera: str
    time_s: float


class _Notes(BaseModel):
    """What a restart needs: where the latest alerts were, and those confirmed ones that were not obeyed yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alerts: dict[str, _Spot] = {}
    voided: dict[str, _Spot | None] = {}


class Collecting:
    """Keeps one face of clean tracks; a `Witness` of screening, and one `run` for the daemon."""

    def __init__(
        self,
        sets: CleanSets,
        place: Place,
        sending: Sending,
    ) -> None:
        self._sets = sets
        self._place = place
        self._sending = sending
        self._admission = Admission()
        self._candidates: OrderedDict[tuple[str, int], _Candidate] = OrderedDict()
        self._waiting: deque[CleanFace] = deque(maxlen=MAX_WAITING)
        self._alerts: OrderedDict[str, _Alerted] = OrderedDict()
        self._judged: OrderedDict[str, bool] = OrderedDict()  # alerts under way: whether they were confirmed
        self._voided: deque[tuple[str, _Alerted | None]] = deque(maxlen=MOST_ALERTS)
        self._changed = asyncio.Event()
        self._noted = _Notes()
        self._is_loaded = False
        self.dropped = 0

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],  # noqa: ARG002  (a Protocol's)
        screenings: Sequence[Screening],
    ) -> None:
        """Hold the largest face of each track, and the highest score of all of them."""
        if not self._place.road.has_drifted(environment):
            return
        for face, screening in zip(faces, screenings, strict=True):
            pixels_YXC = face.crop.pixels_YXC
            if screening.quality is not Quality.USABLE or pixels_YXC.shape[0] < MIN_CROP_PX:
                continue
            key = face.crop.camera, face.track_id
            held = self._candidates.setdefault(key, _Candidate(screening.score, pixels_YXC))
            held.score = max(held.score, screening.score)
            if pixels_YXC.shape[0] > held.pixels_YXC.shape[0]:
                held.pixels_YXC = pixels_YXC
            if len(self._candidates) > MAX_OPEN_TRACKS:
                self._candidates.popitem(last=False)

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:  # noqa: ARG002
        """Let a clean track's face be kept, if no more were than may be; that of an alert waits for an operator."""
        held, alert_id = self._candidates.pop((camera, verdict.track_id), None), verdict.alert_id
        face = None if held is None else CleanFace(camera, verdict.end_time_s, held.score, held.pixels_YXC, alert_id)
        if verdict.label == "clean" and face is not None:
            self._admit(face)
        elif verdict.label == "triggered" and alert_id is not None:
            _remember(self._alerts, alert_id, _Alerted(camera, verdict.end_time_s, face))
            self._changed.set()
            if (is_confirmed := self._judged.pop(alert_id, None)) is not None:
                self.judge(alert_id, is_confirmed=is_confirmed)

    def judge(self, alert_id: str, *, is_confirmed: bool) -> None:
        """Take an operator's word on an alert, under way or over; never waits."""
        alerted = self._alerts.get(alert_id)
        if is_confirmed:
            self._voided.append((alert_id, alerted))
            self._changed.set()
        if alerted is None:
            _remember(self._judged, alert_id, is_confirmed)
            return
        if not is_confirmed and alerted.face is not None:
            self._admit(alerted.face)
        self._alerts[alert_id] = replace(alerted, face=None)

    def _admit(self, face: CleanFace) -> None:
        """Let a face be kept, if no more of its camera and time were than may be."""
        if self._admission.admits(face.camera, face.time_s):
            self.dropped += len(self._waiting) == MAX_WAITING
            self._waiting.append(face)
            self._changed.set()

    async def run(self) -> None:
        """Keep what comes, look every ten minutes whether it is enough, and follow jobs to their end, for ever."""
        await self.load()
        await self._sending.load()
        while True:
            try:
                async with asyncio.timeout(FOLLOW_EVERY_S if self._sending.open_jobs else LOOK_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            await self.settle()
            await self._sending.follow()

    async def settle(self) -> None:
        """Keep what waits; look for what is old or enough when it is time again."""
        await self.flush()
        while self._waiting:
            await self._keep(self._waiting.popleft())
        if not self._is_loaded:  # where alerts were is not known yet, nor what must not teach
            return
        if confirmed := tuple(self._voided):
            # They stay noted until they are obeyed: whoever obeys them may be cancelled, and a flush follows then.
            if await self._void(confirmed):
                obeyed = {id(word) for word in confirmed}
                self._voided = deque((word for word in self._voided if id(word) not in obeyed), maxlen=MOST_ALERTS)
            await self.flush()
        if not self._voided:  # nothing is sent before what must not teach is gone
            await self._sending.look()

    async def load(self) -> None:
        """Learn where alerts of earlier runs were, and which words on them are still to be obeyed.

        Nothing is sent or written down before; where the disk cannot be read, every `settle` and `flush` tries again.
        """
        try:
            text = (await self._place.road.markers.all()).get(_MARKER)
        except StorageError as error:
            _log.warning("alerts_not_taken_up", reason=f"{error}; it is tried again")
            return
        if self._is_loaded:  # by a stop, meanwhile
            return
        self._is_loaded = True
        try:
            notes = _Notes() if text is None else _Notes.model_validate_json(text)
        except ValidationError as error:
            _log.warning("alerts_not_taken_up", reason=f"{type(error).__name__}: clean faces around them stay")
            return
        self._noted = notes
        newer, self._alerts = self._alerts, OrderedDict()
        for alert_id, spot in notes.alerts.items():
            _remember(self._alerts, alert_id, _Alerted(spot.camera, spot.time_s, None))
        for alert_id, alerted in newer.items():
            _remember(self._alerts, alert_id, alerted)
        for alert_id, each in notes.voided.items():
            self._voided.append((alert_id, None if each is None else _Alerted(each.camera, each.time_s, None)))
        if notes.voided:
            self._changed.set()

    async def flush(self) -> None:
        """Write down what a restart needs, where that is new, beside what was noted before."""
        if not self._is_loaded:
            await self.load()
        if not self._is_loaded:
            return
        notes = _Notes(
            alerts={alert_id: _spot(alerted) for alert_id, alerted in self._alerts.items()},
            voided={alert_id: None if alerted is None else _spot(alerted) for alert_id, alerted in self._voided},
        )
        if notes == self._noted:
            return
        try:
            await self._place.road.markers.set(_MARKER, notes.model_dump_json())
        except StorageError as error:
            _log.warning("alerts_not_noted", reason=str(error))
        else:
            self._noted = notes

    async def _keep(self, face: CleanFace) -> None:
        environment = self._place.road.environment_of().get(face.camera)
        base = None if environment is None else await self._place.base_score(environment, face)
        if base is None:
            return
        try:
            if not await asyncio.to_thread(self._sets.add, replace(face, score=max(face.score, base))):
                _log.warning("clean_faces_full", camera=face.camera)
        except OSError as error:
            _log.warning("clean_face_not_kept", camera=face.camera, reason=error.strerror)

    async def _void(self, confirmed: Sequence[tuple[str, _Alerted | None]]) -> bool:
        """Erase what was kept because confirmed alerts were called false before, and what was kept around them.

        Returns whether all of it is gone; else it is tried again at the next look.
        """
        try:
            hours = await asyncio.to_thread(self._sets.forget_alerts, {alert_id for alert_id, _ in confirmed})
            for alert_id, word in confirmed:
                alerted = word or self._alerts.get(alert_id)  # a word may come before it was known where alerts were
                if alerted is None:
                    continue
                since_s, until_s = alerted.time_s - WINDOW_S, alerted.time_s + WINDOW_S
                hours += await asyncio.to_thread(
                    self._sets.forget, camera=alerted.camera, since_s=since_s, until_s=until_s
                )
        except OSError as error:
            _log.error("clean_hours_not_voided", reason=error.strerror)
            return False
        _log.info("clean_hours_voided", count=hours)
        return True


def _spot(alerted: _Alerted) -> _Spot:
    return _Spot(camera=alerted.camera, time_s=alerted.time_s)


_Kept = TypeVar("_Kept")


def _remember(what: OrderedDict[str, _Kept], alert_id: str, value: _Kept) -> None:
    what[alert_id] = value
    if len(what) > MOST_ALERTS:
        what.popitem(last=False)
