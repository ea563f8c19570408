"""Clean faces of a drifted place: kept encrypted while there is drift, brought to the trainer when there are enough.

Only where `adaptation.upload: crops` says so, and only under weights that were released and are no adaptation: those
judge by what nobody before a camera has had a hand in.

An operator's word counts here as well. The face of an alert that is called false waits with the others, and keeps where
it came from. Where one is confirmed, what that camera kept in the hours around it goes: whoever came with a trigger may
have passed there before without being seen.
"""

import asyncio
import ssl
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import httpx2
import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import WINDOW_S, Admission, CleanFace, choose, missing, ripe_of, spread
from gateway.adaptation.upload import job, pack, upload
from gateway.contract import messages
from gateway.contract.exchange import MIN_CROP_PX, JobView
from gateway.errors import ExchangeError, ExchangeReason
from gateway.screening import decide
from gateway.settings import AdaptationSettings
from gateway.values import Quality, Screening, TrackedFace

MAX_OPEN_TRACKS = 256
MAX_WAITING = 64
MOST_ALERTS = 256
"""Alerts of which it is known where they were, and how they were judged; of older ones only the disk knows."""

LOOK_EVERY_S = 600.0
FOLLOW_EVERY_S = 30.0
MOST_WORDS = 500
TIMEOUT_S = 30.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Who is where, where there is drift, whose weights are a base's, and who is told how the trainer stands."""

    environment_of: Callable[[], Mapping[str, str]]
    has_drifted: Callable[[str], bool]
    is_base: Callable[[str], bool]
    show: Callable[[messages.TrainerState], None]


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


class Collecting:
    """Keeps one face of clean tracks; a `Witness` of screening, and one `run` for the daemon."""

    def __init__(
        self,
        sets: CleanSets,
        settings: AdaptationSettings,
        place: Place,
        *,
        client_id: str,
        clock: Callable[[], float],
    ) -> None:
        self._sets = sets
        self._settings = settings
        self._place = place
        self._client_id = client_id
        self._clock = clock
        self._admission = Admission()
        self._candidates: OrderedDict[tuple[str, int], _Candidate] = OrderedDict()
        self._waiting: deque[CleanFace] = deque(maxlen=MAX_WAITING)
        self._alerts: OrderedDict[str, _Alerted] = OrderedDict()
        self._judged: OrderedDict[str, bool] = OrderedDict()  # alerts under way: whether they were confirmed
        self._voided: deque[tuple[str, _Alerted | None]] = deque(maxlen=MOST_ALERTS)
        self._changed = asyncio.Event()
        self._looked_at_s: float | None = None
        self._jobs: dict[str, JobView] = {}
        self._said: messages.TrainerState | None = None
        self.dropped = 0

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],  # noqa: ARG002  (a Protocol's)
        screenings: Sequence[Screening],
    ) -> None:
        """Hold the largest face of each track, and the highest score of all of them."""
        if not (self._place.has_drifted(environment) and self._place.is_base(environment)):
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
        self._show("idle")
        while True:
            try:
                async with asyncio.timeout(FOLLOW_EVERY_S if self._open_jobs() else LOOK_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            await self.settle()
            await self.follow()

    async def settle(self) -> None:
        """Keep what waits; look for what is old or enough when it is time again."""
        while self._waiting:
            await self._keep(self._waiting.popleft())
        if self._voided:
            voided = tuple(self._voided)
            self._voided.clear()
            await self._void(voided)
        now_s = self._clock()
        if self._looked_at_s is None or now_s - self._looked_at_s >= LOOK_EVERY_S:
            self._looked_at_s = now_s
            await self._look(now_s)

    async def follow(self) -> None:
        """Ask the trainer for every job that has not ended, and tell how they stand."""
        for environment in self._open_jobs():
            try:
                async with self._trainer() as client:
                    view = await job(client, self._jobs[environment].job)
            except ExchangeError:
                return  # what is wrong was told
            if view.state is not self._jobs[environment].state:
                words = None if view.reason is None else view.reason[:MOST_WORDS]
                _log.info("job_state", environment=environment, job=view.job, state=view.state.value, reason=words)
            self._jobs[environment] = view
            self._show("online")

    def _open_jobs(self) -> list[str]:
        return sorted(environment for environment, view in self._jobs.items() if not view.state.is_final)

    @asynccontextmanager
    async def _trainer(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Return a client; what goes wrong is told before it is raised."""
        try:
            async with client_of(self._settings) as client:
                yield client
        except ExchangeError as error:
            self._show("refused" if error.reason is ExchangeReason.REFUSED else "away", str(error))
            raise
        except OSError as error:
            self._show("away", "adaptation.ca_file cannot be read")
            text = f"adaptation.ca_file cannot be read: {error.strerror}"
            raise ExchangeError(text, ExchangeReason.UNREACHABLE) from None

    def _show(self, state: Literal["idle", "online", "away", "refused"], reason: str | None = None) -> None:
        """Tell how the trainer was reached and what becomes of its jobs, when that is new."""
        jobs = tuple(_job_of(environment, view) for environment, view in sorted(self._jobs.items()))
        said = self._said
        words = None if reason is None else reason[:MOST_WORDS]
        if said is None or (said.state, said.reason, said.jobs) != (state, words, jobs):
            self._said = messages.TrainerState(time=self._clock(), state=state, reason=words, jobs=jobs)
            self._place.show(self._said)

    async def _keep(self, face: CleanFace) -> None:
        try:
            if not await asyncio.to_thread(self._sets.add, face):
                _log.warning("clean_faces_full", camera=face.camera)
        except OSError as error:
            _log.warning("clean_face_not_kept", camera=face.camera, reason=error.strerror)

    async def _void(self, confirmed: Sequence[tuple[str, _Alerted | None]]) -> None:
        """Erase what was kept because confirmed alerts were called false before, and what was kept around them."""
        try:
            hours = await asyncio.to_thread(self._sets.forget_alerts, {alert_id for alert_id, _ in confirmed})
            for alerted in (each for _, each in confirmed if each is not None):
                since_s, until_s = alerted.time_s - WINDOW_S, alerted.time_s + WINDOW_S
                hours += await asyncio.to_thread(
                    self._sets.forget, camera=alerted.camera, since_s=since_s, until_s=until_s
                )
        except OSError as error:
            _log.error("clean_hours_not_voided", reason=error.strerror)
            return
        _log.info("clean_hours_voided", count=hours)

    async def _look(self, now_s: float) -> None:
        try:
            await asyncio.to_thread(self._sets.sweep, now_s)
            cameras = self._place.environment_of()
            for environment in sorted(set(cameras.values())):
                here = frozenset(name for name, where in cameras.items() if where == environment)
                if self._place.has_drifted(environment):
                    await self._send(environment, here, now_s)
        except OSError as error:
            _log.warning("clean_faces_not_read", reason=error.strerror)

    async def _send(self, environment: str, cameras: frozenset[str], now_s: float) -> None:
        kept = await asyncio.to_thread(self._sets.sightings, cameras)
        lacks = missing(kept, now_s)
        if lacks is not None:
            _log.info("clean_faces", environment=environment, reason=lacks)
            return
        ripe = await asyncio.to_thread(self._sets.faces, spread(ripe_of(kept, now_s)))
        choice = await asyncio.to_thread(choose, ripe)
        clean_set, contents = await asyncio.to_thread(
            pack, ripe, choice, gateway=self._client_id, environment=environment
        )
        try:
            async with self._trainer() as client:
                view = await upload(client, clean_set, contents)
        except ExchangeError as error:
            _log.warning("clean_faces_not_sent", environment=environment, reason=str(error))
            return
        count = len(choice.clean) + len(choice.operator)
        _log.info("clean_faces_sent", environment=environment, count=count, state=view.state.value)
        self._jobs[environment] = view
        self._show("online")
        for camera in cameras:
            await asyncio.to_thread(self._sets.forget, camera=camera, until_s=ripe[-1].time_s)


def _job_of(environment: str, view: JobView) -> messages.TrainerJob:
    reason = None if view.reason is None else view.reason[:MOST_WORDS]
    return messages.TrainerJob(
        environment=environment, job=view.job, state=view.state.value, reason=reason, version=view.version
    )


_Kept = TypeVar("_Kept")


def _remember(what: OrderedDict[str, _Kept], alert_id: str, value: _Kept) -> None:
    what[alert_id] = value
    if len(what) > MOST_ALERTS:
        what.popitem(last=False)


def client_of(settings: AdaptationSettings) -> httpx2.AsyncClient:
    """Return a client that shows the trainer the token, and trusts the authority that is configured."""
    context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
    token = "" if settings.token is None else settings.token.get_secret_value()
    return httpx2.AsyncClient(
        base_url=settings.trainer or "",
        headers={"authorization": f"Bearer {token}"},
        verify=context,
        timeout=TIMEOUT_S,
        trust_env=False,
    )
