"""One camera's tracks on their way through screening: what waits in line, and what is said when a score comes back."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.errors import RuntimeFault
from gateway.screening import decide
from gateway.screening.tracks import Tracker
from gateway.values import FrameFaces, Quality, Screening, SourceEnded, SourceOpened, TrackedFace
from gateway.wording import FrameFacts, Naming, Speaker, alert_message, verdict_message

Outcome = Screening | messages.Alert | messages.Verdict
Deliver = Callable[[Outcome], Awaitable[None]]
"""Takes every scored face, alert and verdict of a camera, in order."""


Standing = Literal["judging", "clean", "triggered", "unsure"]
"""How a track under way stands: what it would be if it ended now; `judging` before it has the faces for a verdict."""


class Detector(Protocol):
    """Scores faces; `screening.runtime.BundleDetector` is one."""

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores, float32 (N,), of uint8 faces (N, S, S, 3)."""


class Calibration(Protocol):
    """The clean tracks that a camera's tracks are judged against."""

    def reference(self, camera: str, environment: str) -> decide.Reference | None:
        """Return what a track that opens now is judged against."""

    def learn(self, verdict: decide.Verdict, environment: str) -> None:
        """Take in a finished track."""


class Witness(Protocol):
    """Looks on. It is called in the frame path and so only enqueues, into a line that is bounded, and raises nothing.

    The arrays are what the detector saw; they are kept as they are.
    """

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """See a batch: its faces, the detector's input and its scores, all in one order."""

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """See that a track is over; all its faces came before, and its verdict and alerts were handed on."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What screening needs beside the pictures."""

    bundle: Bundle
    detector: Detector
    calibration: Calibration
    naming: Naming
    batch_size: int = 32
    witnesses: tuple[Witness, ...] = ()


@dataclass(slots=True)
class SourceSummary:
    """What was counted for one source; `failure` is why it ended early, `refused` why single pictures were left out.

    `faces_shed` were found but never scored because there was no time, `tracks_shed` had none but such faces.
    `newest_age_ms` is the time from the arrival of the newest scored frame to its scores; a recording has none.
    `next_track_id` is that of the next passage: another detector goes on counting, while tracks of the one before end.
    """

    camera: str
    opened: SourceOpened | None = None
    ended: SourceEnded | None = None
    failure: str | None = None
    refused: list[str] = field(default_factory=list)
    frames: int = 0
    faces: int = 0
    faces_dropped: int = 0
    faces_shed: int = 0
    faces_unusable: int = 0
    tracks: int = 0
    tracks_shed: int = 0
    verdicts: Counter[decide.Label] = field(default_factory=Counter)
    unsure: Counter[decide.Reason] = field(default_factory=Counter)
    alert_messages: int = 0
    newest_age_ms: float | None = None
    next_track_id: int = 1


@dataclass(frozen=True, slots=True)
class Scored:
    """When a live batch went to the detector and when its scores were there, on the monotonic clock."""

    asked_at_s: float
    scored_at_s: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A face in line for its score; track and number of the frame are its name within the camera."""

    track_id: int
    seq: int
    frame: FrameFacts
    arrived_at_s: float | None
    found_at_s: float | None


@dataclass(slots=True)
class _Running:
    """A track under way: its state, its newest frame, how long that took, and how many messages it has sent."""

    state: decide.TrackState
    frame: FrameFacts
    stages_ms: tuple[float, float, float] | None = None  # decode, queue, infer
    messages: int = 0


class Lane:
    """One camera's tracks and what waits in line for each: faces that are being scored, and ends of tracks.

    A number in `_line` is the end of the track of that id. The batcher bounds the faces; ends never stand first.
    Live, `clock` is the monotonic clock of `FrameFaces.arrived_at_s`, and alerts say where the time went.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        camera: str,
        environment: str,
        deliver: Deliver,
        clock: Callable[[], float] | None = None,
        summary: SourceSummary | None = None,
    ) -> None:
        self.summary = summary or SourceSummary(camera)
        self._parts = parts
        self._camera = camera
        self._speaker = Speaker(environment, parts.bundle.identity, parts.naming)
        self._deliver = deliver
        self._clock = clock
        self._tracker = Tracker(first_id=self.summary.next_track_id)
        self._line: deque[_Waiting | int] = deque()
        self._running: dict[int, _Running] = {}
        self._turn = asyncio.Lock()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and no track is under way."""
        return not self._line and not self._running

    def standing(self, track_id: int) -> Standing:
        """Return how a track stands; `judging` also where none of this id is under way."""
        running = self._running.get(track_id)
        if running is None or running.state.faces_seen < running.state.rule.first_face:
            return "judging"
        return decide.label_of(running.state)[0]

    def see(self, frame: FrameFaces) -> tuple[tuple[TrackedFace, ...], tuple[int, ...]]:
        """Return the frame's faces with their tracks, and the tracks that ended."""
        self.summary.frames += 1
        self.summary.faces += len(frame.crops)
        self.summary.faces_dropped += frame.faces_dropped
        seen = self._tracker.advance(frame)
        self.summary.next_track_id = self._tracker.next_id
        return seen

    def wait_for(self, face: TrackedFace, frame: FrameFaces) -> None:
        """Let a face stand in line for its score."""
        if face.crop.camera != self._camera:
            raise RuntimeFault(f"a face of camera {face.crop.camera} came from the source of {self._camera}")
        facts = FrameFacts(frame.frame_width_px, frame.frame_height_px, frame.clock_source)
        self._line.append(_Waiting(face.track_id, face.crop.seq, facts, frame.arrived_at_s, frame.found_at_s))

    async def shed(self, face: TrackedFace) -> None:
        """Let a face that will never be scored leave the line; others of the camera may be with the detector."""
        self.summary.faces_shed += 1
        # At once and not in turn: a later face must never find this one still in line before it.
        del self._line[next(place for place, waiting in enumerate(self._line) if _is_face(waiting, face))]
        async with self._turn:
            await self._finish_first()

    async def end_all(self) -> None:
        """End every track, now that no more frames come."""
        await self.end(self._tracker.close())

    async def end(self, track_ids: Sequence[int]) -> None:
        """Let the ends of tracks stand in line behind their faces; at once where no face waits."""
        self._line.extend(track_ids)
        async with self._turn:
            await self._finish_first()

    async def take(self, screening: Screening, scored: Scored | None = None) -> None:
        """Take the score of the face that stands first, and finish the tracks whose ends follow it."""
        async with self._turn:
            waiting = self._line.popleft()
            if isinstance(waiting, int):
                raise RuntimeFault(f"camera {self._camera}: a score came for a track that has ended")
            if (waiting.track_id, waiting.seq) != (screening.track_id, screening.seq):
                raise RuntimeFault(f"camera {self._camera}: a score came out of turn")
            await self._advance(screening, waiting, scored)
            await self._finish_first()

    async def _advance(self, screening: Screening, waiting: _Waiting, scored: Scored | None) -> None:
        self.summary.faces_unusable += screening.quality is not Quality.USABLE
        if scored is not None and waiting.arrived_at_s is not None:
            self.summary.newest_age_ms = _ms(waiting.arrived_at_s, scored.scored_at_s)
        await self._deliver(screening)
        running = self._running.get(screening.track_id) or self._open(screening, waiting.frame)
        running.frame = waiting.frame
        running.stages_ms = _stages_ms(waiting, scored)
        running.state, announcements = decide.advance(running.state, screening)
        await self._announce(running, announcements, None if scored is None else scored.scored_at_s)

    def _open(self, screening: Screening, frame: FrameFacts) -> _Running:
        self.summary.tracks += 1
        parts, track_id = self._parts, screening.track_id
        state = decide.open_track(
            screening,
            rule=parts.bundle.calibration.rule,
            reference=parts.calibration.reference(self._camera, self._speaker.environment),
            alert_id=parts.naming.alert_id(self._camera, track_id, screening.frame_time_s),
        )
        self._running[track_id] = _Running(state, frame)
        return self._running[track_id]

    async def _finish_first(self) -> None:
        while self._line and isinstance(track_id := self._line[0], int):
            self._line.popleft()
            running = self._running.pop(track_id, None)
            if running is None:
                self.summary.tracks_shed += 1
                continue
            await self._finish(running)

    async def _finish(self, running: _Running) -> None:
        verdict, announcements = decide.finish(running.state)
        self.summary.verdicts[verdict.label] += 1
        if verdict.reason is not None:
            self.summary.unsure[verdict.reason] += 1
        await self._announce(running, announcements, None if self._clock is None else self._clock())
        await self._deliver(verdict_message(verdict, running.frame, self._speaker))
        self._parts.calibration.learn(verdict, self._speaker.environment)
        for witness in self._parts.witnesses:
            witness.on_finished(self._camera, self._speaker.environment, verdict)

    async def _announce(
        self, running: _Running, announcements: Sequence[decide.Announcement], known_at_s: float | None
    ) -> None:
        for said in announcements:
            running.messages += 1
            self.summary.alert_messages += 1
            latency = self._latency(running, known_at_s)
            message = alert_message(said, running.frame, self._speaker, number=running.messages, latency=latency)
            await self._deliver(message)

    def _latency(self, running: _Running, known_at_s: float | None) -> messages.LatencyMs | None:
        """Return where the time of the newest face went; an end waits for its track, which is not counted as time."""
        if self._clock is None or running.stages_ms is None or known_at_s is None:
            return None
        decode, queue, infer = running.stages_ms
        publish = _ms(known_at_s, self._clock())
        return messages.LatencyMs(decode=decode, queue=queue, infer=infer, publish=publish)


def _is_face(waiting: _Waiting | int, face: TrackedFace) -> bool:
    return not isinstance(waiting, int) and (waiting.track_id, waiting.seq) == (face.track_id, face.crop.seq)


def _stages_ms(waiting: _Waiting, scored: Scored | None) -> tuple[float, float, float] | None:
    if scored is None or waiting.arrived_at_s is None or waiting.found_at_s is None:
        return None
    decode = _ms(waiting.arrived_at_s, waiting.found_at_s)
    return decode, _ms(waiting.found_at_s, scored.asked_at_s), _ms(scored.asked_at_s, scored.scored_at_s)


def _ms(since_s: float, until_s: float) -> float:
    # What the worker says of its own times is not trusted to lie before ours.
    return max(0.0, 1000.0 * (until_s - since_s))
