"""What a replay found: values that the report and the metrics are made of."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from gateway.contract import messages
from gateway.lane import SourceSummary
from gateway.replay.metrics import Judged
from gateway.replay.recordings import Recording
from gateway.screening import decide

Kind = Literal["calibration", "recorded", "injected"]
TRACE_POINTS = 2048


@dataclass(frozen=True, slots=True)
class Pass:
    """One recording, once through; `camera` is the name that its messages carry."""

    recording: Recording
    kind: Kind
    camera: str


class Trace:
    """Scores over time for a picture: all of them while they are few, then the highest of each stretch."""

    def __init__(self, points: int = TRACE_POINTS) -> None:
        self._points = points
        self._times_s = array("d")
        self._scores = array("d")
        self._stretch = 1
        self._held = 0

    def add(self, time_s: float, score: float) -> None:
        """Add the next score."""
        if self._held:
            if score > self._scores[-1]:
                self._times_s[-1], self._scores[-1] = time_s, score
        else:
            self._times_s.append(time_s)
            self._scores.append(score)
        self._held = (self._held + 1) % self._stretch
        if len(self._scores) >= self._points and not self._held:
            self._halve()

    def points(self) -> list[tuple[float, float]]:
        """Return (time, score) in order."""
        return list(zip(self._times_s, self._scores, strict=True))

    def _halve(self) -> None:
        kept = [
            max(pair, key=lambda point: point[1]) for pair in zip(self.points()[::2], self.points()[1::2], strict=False)
        ]
        self._times_s, self._scores = array("d", [p[0] for p in kept]), array("d", [p[1] for p in kept])
        self._stretch *= 2


@dataclass(frozen=True, slots=True)
class TrackResult:
    """A finished track as the report needs it; times in seconds since the recording's start."""

    track_id: int
    start_s: float
    end_s: float
    label: decide.Label
    reason: decide.Reason | None
    score: float | None
    threshold: float | None
    level: messages.CalibrationLevel | None
    is_triggered: bool | None


@dataclass(slots=True)
class PassResult:
    """What came of one pass."""

    run: Pass
    summary: SourceSummary
    tracks: list[TrackResult] = field(default_factory=list)
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came of a replay; `reference` is what its first track was judged against."""

    model: messages.ModelIdentity
    environment: str
    asked_rate: float
    reference: decide.Reference | None
    calibration: tuple[PassResult, ...]
    passes: tuple[PassResult, ...]

    @property
    def judged(self) -> list[Judged]:
        """The tracks whose truth is known."""
        return [
            Judged(done.run.recording.camera, track.is_triggered, track.label, track.reason, track.score)
            for done in self.passes
            for track in done.tracks
            if track.is_triggered is not None
        ]

    @property
    def failures(self) -> list[str]:
        """One line for each recording that could not be read to its end."""
        return list(dict.fromkeys(done.summary.failure for done in self._all if done.summary.failure is not None))

    @property
    def refused(self) -> list[str]:
        """One line for each picture of a folder that was left out."""
        return list(dict.fromkeys(line for done in self._all for line in done.summary.refused))

    @property
    def _all(self) -> Iterator[PassResult]:
        yield from self.calibration
        yield from self.passes
