"""The demo's recordings through the product's frame path: the clean ones calibrate, those at the gate are judged.

What is the demo's own: it holds the calibration still after the clean passages. A camera in service goes on learning
from every track; but half of what this gate sees carries a trigger, and a store that is filled with those takes them
for normal.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.cameras.link import RecordingJob, open_source
from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.demo.events import AlertPublished, Calibrated, Listen, Progress, TrackJudged
from gateway.demo.passages import DemoSettings, Passage, frame_count, passage_at, plan
from gateway.errors import RuntimeFault
from gateway.lane import Detector, Outcome, Parts, SourceSummary
from gateway.pipeline import screen_source
from gateway.screening import decide
from gateway.values import FrameFaces, Screening, SourceEvent

CAMERA = "gate"
ENVIRONMENT = "demo"
SOURCE = "spectragate/demo"

BATCH_SIZE = 8  # small, so that what is told comes soon after what was seen

Doing = Literal["calibrating", "screening"]
Publish = Callable[[messages.Alert], Awaitable[None]]


@dataclass(slots=True)
class Screened:
    """What the gateway said of one recording, in order; `scores` are (second of the recording, score of a face)."""

    summary: SourceSummary = field(default_factory=lambda: SourceSummary(CAMERA))
    alerts: list[messages.Alert] = field(default_factory=list)
    verdicts: list[messages.Verdict] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)


class Stage:
    """Screens the demo's recordings; the ids of its messages derive from `run_id`, 16 characters."""

    def __init__(
        self, settings: DemoSettings, bundle: Bundle, detector: Detector, *, run_id: str, listen: Listen
    ) -> None:
        self._settings = settings
        self._bundle = bundle
        self._detector = detector
        self._naming = _Naming(run_id)
        self._listen = listen

    async def calibrate(self, recording: Path) -> tuple[decide.Reference | None, Screened]:
        """Return what the clean passages of a recording give to judge by.

        Raises:
            RuntimeFault: The detector fails, or the recording cannot be read.
        """
        passages = plan(self._settings, "calibration")
        clean = await self._screen(recording, None, passages, _ignore, doing="calibrating")
        statistics = tuple(sorted(verdict.data.score for verdict in clean.verdicts if verdict.data.score is not None))
        reference = decide.choose_reference(
            asked_rate=self._settings.asked_rate,
            camera=statistics,
            environment=(),
            factory=self._bundle.calibration.clean_tracks,
        )
        self._listen(Calibrated(len(statistics), len(passages), reference))
        return reference, clean

    async def watch(self, recording: Path, reference: decide.Reference | None, publish: Publish) -> Screened:
        """Judge the passages of a recording against `reference`, publishing every alert before the next face.

        Raises:
            RuntimeFault: The detector fails, or the recording cannot be read.
            DeliveryError: The broker refuses an alert, or does not confirm it.
        """
        passages = plan(self._settings, "gate")

        async def say(message: messages.Alert | messages.Verdict) -> None:
            match message:
                case messages.Alert(data=alert):
                    await publish(message)
                    self._listen(AlertPublished(message, passage_at(passages, alert.start_time, alert.frame_time)))
                case messages.Verdict(data=verdict):
                    self._listen(TrackJudged(verdict, passage_at(passages, verdict.start_time, verdict.end_time)))

        return await self._screen(recording, reference, passages, say, doing="screening")

    async def _screen(
        self,
        recording: Path,
        reference: decide.Reference | None,
        passages: Sequence[Passage],
        say: Callable[[messages.Alert | messages.Verdict], Awaitable[None]],
        *,
        doing: Doing,
    ) -> Screened:
        screened, frames = Screened(), frame_count(self._settings, passages)

        async def deliver(outcome: Outcome) -> None:
            match outcome:
                case Screening():
                    screened.scores.append((outcome.frame_time_s, outcome.score))
                    return
                case messages.Alert():
                    screened.alerts.append(outcome)
                case messages.Verdict():
                    screened.verdicts.append(outcome)
            await say(outcome)

        parts = Parts(self._bundle, self._detector, _Held(reference), self._naming, batch_size=BATCH_SIZE)
        async with open_source(RecordingJob(CAMERA, recording)) as events:
            counted = self._counted(events, doing, frames)
            summary = await screen_source(counted, parts, camera=CAMERA, environment=ENVIRONMENT, deliver=deliver)
        screened.summary = summary
        if summary.failure is not None:
            raise RuntimeFault(f"the demo cannot read what it has drawn: {summary.failure}")
        if summary.frames != frames:
            raise RuntimeFault(f"{recording}: {summary.frames} frames were read, {frames} were drawn")
        return screened

    async def _counted(self, events: AsyncIterator[SourceEvent], doing: Doing, of: int) -> AsyncIterator[SourceEvent]:
        done = 0
        async for event in events:
            if isinstance(event, FrameFaces):
                done += 1
                self._listen(Progress(doing, done, of))
            yield event


async def _ignore(_message: messages.Alert | messages.Verdict) -> None:
    """Clean passages raise no alerts, and their verdicts are `unsure` while they calibrate."""


@dataclass(frozen=True, slots=True)
class _Held:
    """One reference for every track, none while calibrating; nothing is learnt from what passes."""

    held: decide.Reference | None

    def reference(self, camera: str, environment: str) -> decide.Reference | None:  # noqa: ARG002  (a Protocol's)
        return self.held

    def learn(self, verdict: decide.Verdict, environment: str) -> None:
        """Learn nothing."""


class _Naming:
    """Names as a box in service gives them, so that subscribers never take a second demo for a repetition."""

    source = SOURCE
    replay = True

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._seq = 0

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        return messages.alert_id(self._run_id, camera=camera, track_id=track_id, start_time=start_time_s)

    def alert_event_id(self, said: decide.Announcement, *, number: int, seq: int) -> str:  # noqa: ARG002  (a Protocol's)
        face = said.face
        return messages.replay_event_id(self._run_id, camera=face.camera, track_id=face.track_id, number=number)

    def verdict_event_id(self, verdict: decide.Verdict) -> str:
        return messages.replay_event_id(self._run_id, camera=verdict.camera, track_id=verdict.track_id, number=0)

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq
