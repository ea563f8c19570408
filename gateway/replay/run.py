"""Replay: recordings through the frame path on their own clock, every frame, the same result every time.

Each recording is a camera of its own. All share one calibration store, as the cameras of an environment do live: a
track that ends teaches the tracks that come after it, whatever its score, unless the labels confirm that it was
triggered. With a trigger to inject, every recording passes twice, as it is and with the trigger on every face. The
second pass is judged against what was known before the recording began, and teaches nothing, so that the two differ by
the trigger alone.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.cameras.link import FaceSettings, Injection, RecordingJob, open_source
from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.errors import ConfigError
from gateway.lane import Detector, Outcome, Parts, SourceSummary
from gateway.pipeline import screen_source
from gateway.replay.labels import WHOLLY_CLEAN, WHOLLY_TRIGGERED, Truth, read_labels
from gateway.replay.recordings import INJECTED_SUFFIX, Recording, digest, name_recordings
from gateway.replay.results import Pass, PassResult, ReplayResult, TrackResult
from gateway.screening import decide
from gateway.screening.store import CalibrationStore
from gateway.values import FrameFaces, Screening, SourceEvent, SourceOpened

SOURCE = "spectragate/replay"


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What is replayed and how. `fps` None looks at every frame; `labels` is a CSV, see `labels`.

    `calibrate` names recordings of clean passages: their tracks fill every camera's calibration before the replay.
    """

    inputs: tuple[Path, ...]
    calibrate: tuple[Path, ...] = ()
    inject: Injection | None = None
    labels: Path | None = None
    environment: str = "default"
    asked_rate: float = 0.001
    faces: FaceSettings = field(default_factory=FaceSettings)
    fps: float | None = None
    batch_size: int = 32
    follow_clock: bool = False


@dataclass(frozen=True, slots=True)
class PassStarted:
    """A pass begins; `number` counts from 1 to `of`."""

    run: Pass
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A frame's faces have been found; `expected` is how many frames the recording says it has."""

    run: Pass
    frames: int
    expected: int | None


@dataclass(frozen=True, slots=True)
class PassEnded:
    """A pass is over, completely or with a failure in its summary."""

    run: Pass
    summary: SourceSummary


ReplayEvent = PassStarted | FrameSeen | messages.Alert | messages.Verdict | PassEnded
Listen = Callable[[ReplayEvent], Awaitable[None]]


async def replay(settings: ReplaySettings, *, bundle: Bundle, detector: Detector, listen: Listen) -> ReplayResult:
    """Screen the recordings in order; `listen` hears of everything while it happens.

    The order of the messages never changes; a `FrameSeen` may come earlier or later, and while `listen` waits with one.
    A recording that cannot be read is said in its summary, and the others go on.

    Raises:
        ConfigError: The labels, the trigger or the face model cannot be used.
        RuntimeFault: The detector fails.
        BaseException: Whatever `listen` raises.
    """
    if settings.inject is not None and not settings.inject.trigger.is_file():
        raise ConfigError(f"{settings.inject.trigger}: there is no such trigger picture")
    recordings = name_recordings(settings.inputs)
    truths = _truths(settings, recordings)
    return await _Replay(settings, bundle, detector, listen).run(recordings, truths)


def _truths(settings: ReplaySettings, recordings: Sequence[Recording]) -> Mapping[Path, Truth]:
    if settings.labels is not None:
        return read_labels(settings.labels, [recording.path for recording in recordings])
    return {recording.path: WHOLLY_CLEAN for recording in recordings} if settings.inject else {}


class _Replay:
    """One replay under way."""

    def __init__(self, settings: ReplaySettings, bundle: Bundle, detector: Detector, listen: Listen) -> None:
        self._settings = settings
        self._bundle = bundle
        self._detector = detector
        self._listen = listen
        self._store = CalibrationStore()
        self._started = 0
        self._seq = 0

    async def run(self, recordings: Sequence[Recording], truths: Mapping[Path, Truth]) -> ReplayResult:
        calibrating = name_recordings(self._settings.calibrate)
        self._of = len(calibrating) + len(recordings) * (2 if self._settings.inject else 1)
        calibration = [await self._calibrate(recording, recordings) for recording in calibrating]
        first = self._reference(recordings[0].camera) if recordings else None
        passes: list[PassResult] = []
        for recording in recordings:
            passes += await self._replay(recording, truths.get(recording.path))
        return ReplayResult(
            model=self._bundle.identity,
            environment=self._settings.environment,
            asked_rate=self._settings.asked_rate,
            reference=first,
            calibration=tuple(calibration),
            passes=tuple(passes),
        )

    async def _calibrate(self, recording: Recording, cameras: Sequence[Recording]) -> PassResult:
        """Let the tracks of a clean recording fill the calibration of every camera."""
        done = await self._screen(Pass(recording, "calibration", recording.camera), _Unchanging(None), None)
        for score in (track.score for track in done.tracks if track.score is not None):
            for camera in cameras:
                # An environment per camera: in the common one, one track would count once for each camera.
                self._store.add(score, camera=camera.camera, environment=f"calibration-{camera.camera}")
        return done

    async def _replay(self, recording: Recording, truth: Truth | None) -> list[PassResult]:
        before = self._reference(recording.camera)
        growing = _Growing(self._store, self._bundle, self._settings.asked_rate)
        done = [await self._screen(Pass(recording, "recorded", recording.camera), growing, truth)]
        if self._settings.inject is not None and done[0].summary.opened is not None:
            run = Pass(recording, "injected", recording.camera + INJECTED_SUFFIX)
            done.append(await self._screen(run, _Unchanging(before), WHOLLY_TRIGGERED))
        return done

    def _reference(self, camera: str) -> decide.Reference | None:
        growing = _Growing(self._store, self._bundle, self._settings.asked_rate)
        return growing.reference(camera, self._settings.environment)

    async def _screen(self, run: Pass, calibration: "_Growing | _Unchanging", truth: Truth | None) -> PassResult:
        settings = self._settings
        inject = settings.inject if run.kind == "injected" else None
        self._started += 1
        await self._listen(PassStarted(run, self._started, self._of))
        naming = _Naming(await asyncio.to_thread(_origin, run.recording.path, inject), self)
        watch = _Watch(run, truth, self._listen)
        parts = Parts(self._bundle, self._detector, _Confirmed(calibration, watch), naming, settings.batch_size)
        job = RecordingJob(run.camera, run.recording.path, settings.faces, settings.fps, inject)
        async with open_source(job) as events:
            watched = watch.events(paced(events) if settings.follow_clock else events)
            summary = await screen_source(
                watched, parts, camera=run.camera, environment=settings.environment, deliver=watch.deliver
            )
        done = replace(watch.result, summary=summary)
        await self._listen(PassEnded(run, summary))
        return done

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq


def _origin(path: Path, inject: Injection | None) -> str:
    """Return what the ids of a pass derive from: the recording's content, and the trigger's where one is drawn."""
    if inject is None:
        return digest(path)
    how = replace(inject, trigger=Path(inject.trigger.name))
    return digest(path, digest(inject.trigger), repr(how))


async def paced(events: AsyncIterator[SourceEvent]) -> AsyncIterator[SourceEvent]:
    """Hold every frame back until as much time has passed as its clock says."""
    loop = asyncio.get_running_loop()
    ahead_s: float | None = None
    async for event in events:
        if isinstance(event, FrameFaces):
            if ahead_s is None:
                ahead_s = loop.time() - event.captured_at_s
            await asyncio.sleep(max(0.0, event.captured_at_s + ahead_s - loop.time()))
        yield event


class _Watch:
    """Notes what a pass yields on its way by: progress, scores over time, finished tracks and their truth."""

    def __init__(self, run: Pass, truth: Truth | None, listen: Listen) -> None:
        self.result = PassResult(run, SourceSummary(run.camera))
        self._truth = truth
        self._listen = listen
        self._opened: SourceOpened | None = None
        self._origin_s: float | None = None
        self._frames = 0

    async def events(self, events: AsyncIterator[SourceEvent]) -> AsyncIterator[SourceEvent]:
        async for event in events:
            if isinstance(event, SourceOpened):
                self._opened = event
            elif isinstance(event, FrameFaces):
                self._frames += 1
                if self._origin_s is None:
                    fps = self._opened.fps if self._opened else 25.0
                    self._origin_s = event.captured_at_s - event.seq / fps
                expected = self._opened.frames_expected if self._opened else None
                await self._listen(FrameSeen(self.result.run, self._frames, expected))
            yield event

    async def deliver(self, outcome: Outcome) -> None:
        origin_s = self._origin_s or 0.0
        match outcome:
            case Screening():
                self.result.trace.add(outcome.frame_time_s - origin_s, outcome.score)
                return
            case messages.Verdict():
                self.result.tracks.append(_track_of(outcome.data, origin_s, self._truth))
        if self.result.run.kind != "calibration":
            await self._listen(outcome)


def _track_of(data: messages.VerdictData, origin_s: float, truth: Truth | None) -> TrackResult:
    start_s, end_s = data.start_time - origin_s, data.end_time - origin_s
    return TrackResult(
        track_id=data.track_id,
        start_s=start_s,
        end_s=end_s,
        label=data.verdict,
        reason=data.reason,
        score=data.score,
        threshold=data.threshold,
        level=data.calibration,
        is_triggered=None if truth is None else truth.is_triggered(start_s, end_s),
    )


@dataclass(frozen=True, slots=True)
class _Growing:
    """The store as cameras use it: the newest clean tracks decide, and every finished track enters."""

    store: CalibrationStore
    bundle: Bundle
    asked_rate: float

    def reference(self, camera: str, environment: str) -> decide.Reference | None:
        return decide.choose_reference(
            asked_rate=self.asked_rate,
            camera=self.store.camera(camera),
            environment=self.store.environment(environment),
            factory=self.bundle.calibration.clean_tracks,
        )

    def learn(self, verdict: decide.Verdict, environment: str) -> None:
        if verdict.statistic is not None:
            self.store.add(verdict.statistic, camera=verdict.camera, environment=environment, alert_id=verdict.alert_id)


@dataclass(frozen=True, slots=True)
class _Unchanging:
    """One reference for a whole pass, and nothing is learnt."""

    fixed: decide.Reference | None

    def reference(self, camera: str, environment: str) -> decide.Reference | None:  # noqa: ARG002  (a Protocol's)
        return self.fixed

    def learn(self, verdict: decide.Verdict, environment: str) -> None:
        """Learn nothing."""


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """A calibration that tracks known to be triggered do not teach: labels are an operator's confirmation."""

    inner: "_Growing | _Unchanging"
    watch: _Watch

    def reference(self, camera: str, environment: str) -> decide.Reference | None:
        return self.inner.reference(camera, environment)

    def learn(self, verdict: decide.Verdict, environment: str) -> None:
        # The pipeline delivers a verdict before it learns from it, so the watch has it last.
        if not self.watch.result.tracks[-1].is_triggered:
            self.inner.learn(verdict, environment)


class _Naming:
    """Names that derive from the recording's content, so that they are the same on every machine."""

    source = SOURCE
    replay = True

    def __init__(self, origin: str, counter: _Replay) -> None:
        self._origin = origin
        self.next_seq = counter.next_seq

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        return messages.alert_id(self._origin, camera=camera, track_id=track_id, start_time=start_time_s)

    def alert_event_id(self, said: decide.Announcement, *, number: int, seq: int) -> str:  # noqa: ARG002  (a Protocol's)
        face = said.face
        return messages.replay_event_id(self._origin, camera=face.camera, track_id=face.track_id, number=number)

    def verdict_event_id(self, verdict: decide.Verdict) -> str:
        return messages.replay_event_id(self._origin, camera=verdict.camera, track_id=verdict.track_id, number=0)
