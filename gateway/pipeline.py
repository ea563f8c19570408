"""The frame path, top to bottom: the only file that knows the order.

A frame's faces get their tracks, the faces are gathered into batches and scored, each score moves its track's state,
and what the state announces becomes messages. The end of a track waits in line behind its last face, so that what is
said of a camera depends on its pictures alone and never on how fast anything was.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.errors import RuntimeFault, SourceError
from gateway.screening import decide
from gateway.screening.batcher import Batcher
from gateway.screening.screen import prepare
from gateway.screening.tracks import Tracker
from gateway.values import (
    ClockSource,
    FaceBox,
    FrameFaces,
    PictureRefused,
    Quality,
    Screening,
    SourceEnded,
    SourceEvent,
    SourceOpened,
    TrackedFace,
)

Outcome = Screening | messages.Alert | messages.Verdict
Deliver = Callable[[Outcome], Awaitable[None]]
"""Takes every scored face, alert and verdict of a camera, in order."""


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


class Naming(Protocol):
    """Gives messages their names; `source` is the CloudEvents attribute."""

    source: str
    replay: bool

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        """Return the name of a track's alert."""

    def event_id(self, camera: str, track_id: int, number: int) -> str:
        """Return the id of a message: `number` is 0 for the track's verdict, its alerts count from 1."""

    def next_seq(self) -> int:
        """Return the number of the next alert message of this box."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What screening needs beside the pictures."""

    bundle: Bundle
    detector: Detector
    calibration: Calibration
    naming: Naming
    batch_size: int = 32


@dataclass(slots=True)
class SourceSummary:
    """What was counted for one source; `failure` is why it ended early, `refused` why single pictures were left out."""

    camera: str
    opened: SourceOpened | None = None
    ended: SourceEnded | None = None
    failure: str | None = None
    refused: list[str] = field(default_factory=list)
    frames: int = 0
    faces: int = 0
    faces_dropped: int = 0
    faces_unusable: int = 0
    tracks: int = 0
    verdicts: Counter[decide.Label] = field(default_factory=Counter)
    unsure: Counter[decide.Reason] = field(default_factory=Counter)
    alert_messages: int = 0


async def screen_source(
    events: AsyncIterator[SourceEvent], parts: Parts, *, camera: str, environment: str, deliver: Deliver
) -> SourceSummary:
    """Screen one source from its first event to its last and return what was counted.

    Nothing is lost and batches depend on the pictures alone. A source that fails ends its tracks like one that is over;
    the summary says why.

    Raises:
        RuntimeFault: The detector fails.
        BaseException: Whatever `deliver` raises.
    """
    lane = _Lane(parts, camera=camera, environment=environment, deliver=deliver)
    batcher = Batcher(max_size=parts.batch_size, max_wait_s=None, max_waiting=4 * parts.batch_size)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_screen_batches(batcher, parts, lane), name=f"screen:{camera}")
            await _gather(events, batcher, lane)
    except BaseExceptionGroup as failures:
        raise _innermost(failures) from None
    return lane.summary


async def _gather(events: AsyncIterator[SourceEvent], batcher: Batcher, lane: "_Lane") -> None:
    """Put every face of the source into the batcher; a source that fails counts as over."""
    try:
        async for event in events:
            match event:
                case FrameFaces():
                    await _put_faces(event, batcher, lane)
                case SourceOpened():
                    lane.summary.opened = event
                case SourceEnded():
                    lane.summary.ended = event
                case PictureRefused():
                    lane.summary.refused.append(event.reason)
    except SourceError as error:
        lane.summary.failure = str(error)
    await lane.end_all()
    await batcher.flush()
    batcher.close()


async def _put_faces(frame: FrameFaces, batcher: Batcher, lane: "_Lane") -> None:
    faces, ended = lane.see(frame)
    # A track that ended with this frame has no face in it: its end stands before the frame's faces.
    await lane.end(ended)
    for face in faces:
        lane.wait_for(face, frame)
        await batcher.put(face)


async def _screen_batches(batcher: Batcher, parts: Parts, lane: "_Lane") -> None:
    async for batch in batcher:
        for screening in await _score(batch, parts):
            await lane.take(screening)


async def _score(batch: Sequence[TrackedFace], parts: Parts) -> list[Screening]:
    """Return what the detector says of each face, in the order of the batch."""
    pixels_NYXC, qualities = prepare([face.crop for face in batch], parts.bundle.profile)
    scores_N = await parts.detector.screen(pixels_NYXC)
    return [
        Screening(
            camera=face.crop.camera,
            track_id=face.track_id,
            seq=face.crop.seq,
            frame_time_s=face.crop.captured_at_s,
            box=face.crop.box,
            score=float(score),
            quality=quality,
        )
        for face, score, quality in zip(batch, scores_N, qualities, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Frame:
    """What messages say of a frame; unlike `FrameFaces` it keeps no pixels alive."""

    width_px: int
    height_px: int
    clock_source: ClockSource


@dataclass(slots=True)
class _Running:
    """A track under way: its state, its newest frame, and how many alert messages it has sent."""

    state: decide.TrackState
    frame: _Frame
    messages: int = 0


class _Lane:
    """One camera's tracks and what waits in line for each: faces that are being scored, and ends of tracks.

    `_line` holds a frame for a face and a track id for an end. The batcher bounds the faces; ends never stand first.
    """

    def __init__(self, parts: Parts, *, camera: str, environment: str, deliver: Deliver) -> None:
        self.summary = SourceSummary(camera)
        self._parts = parts
        self._camera = camera
        self._environment = environment
        self._deliver = deliver
        self._tracker = Tracker()
        self._line: deque[_Frame | int] = deque()
        self._running: dict[int, _Running] = {}
        self._turn = asyncio.Lock()

    def see(self, frame: FrameFaces) -> tuple[tuple[TrackedFace, ...], tuple[int, ...]]:
        """Return the frame's faces with their tracks, and the tracks that ended."""
        self.summary.frames += 1
        self.summary.faces += len(frame.crops)
        self.summary.faces_dropped += frame.faces_dropped
        return self._tracker.advance(frame)

    def wait_for(self, face: TrackedFace, frame: FrameFaces) -> None:
        """Let a face stand in line for its score."""
        if face.crop.camera != self._camera:
            raise RuntimeFault(f"a face of camera {face.crop.camera} came from the source of {self._camera}")
        self._line.append(_Frame(frame.frame_width_px, frame.frame_height_px, frame.clock_source))

    async def end_all(self) -> None:
        """End every track, now that no more frames come."""
        await self.end(self._tracker.close())

    async def end(self, track_ids: Sequence[int]) -> None:
        """Let the ends of tracks stand in line behind their faces; at once where no face waits."""
        self._line.extend(track_ids)
        async with self._turn:
            await self._finish_first()

    async def take(self, screening: Screening) -> None:
        """Take the score of the face that stands first, and finish the tracks whose ends follow it."""
        async with self._turn:
            frame = self._line.popleft()
            if isinstance(frame, int):
                raise RuntimeFault(f"camera {self._camera}: a score came for a track that has ended")
            await self._advance(screening, frame)
            await self._finish_first()

    async def _advance(self, screening: Screening, frame: _Frame) -> None:
        self.summary.faces_unusable += screening.quality is not Quality.USABLE
        await self._deliver(screening)
        running = self._running.get(screening.track_id) or self._open(screening, frame)
        running.frame = frame
        running.state, announcements = decide.advance(running.state, screening)
        await self._announce(running, announcements)

    def _open(self, screening: Screening, frame: _Frame) -> _Running:
        self.summary.tracks += 1
        parts, track_id = self._parts, screening.track_id
        state = decide.open_track(
            screening,
            rule=parts.bundle.calibration.rule,
            reference=parts.calibration.reference(self._camera, self._environment),
            alert_id=parts.naming.alert_id(self._camera, track_id, screening.frame_time_s),
        )
        self._running[track_id] = _Running(state, frame)
        return self._running[track_id]

    async def _finish_first(self) -> None:
        while self._line and isinstance(track_id := self._line[0], int):
            self._line.popleft()
            running = self._running.pop(track_id)
            verdict, announcements = decide.finish(running.state)
            self.summary.verdicts[verdict.label] += 1
            if verdict.reason is not None:
                self.summary.unsure[verdict.reason] += 1
            await self._announce(running, announcements)
            await self._deliver(_verdict_message(verdict, running.frame, self._environment, self._parts))
            self._parts.calibration.learn(verdict, self._environment)

    async def _announce(self, running: _Running, announcements: Sequence[decide.Announcement]) -> None:
        for announcement in announcements:
            running.messages += 1
            self.summary.alert_messages += 1
            await self._deliver(_alert_message(announcement, running, self._environment, self._parts))


def _alert_message(said: decide.Announcement, running: _Running, environment: str, parts: Parts) -> messages.Alert:
    face, frame = said.face, running.frame
    data = messages.AlertData(
        alert_id=said.alert_id,
        seq=parts.naming.next_seq(),
        type=said.type,
        severity=said.severity,
        camera=face.camera,
        environment=environment,
        track_id=face.track_id,
        frame_time=_epoch(face.frame_time_s),
        frame_time_source=_clock(frame),
        start_time=_epoch(said.start_time_s),
        end_time=None if said.end_time_s is None else _epoch(said.end_time_s),
        score=said.statistic,
        top_score=said.top.score,
        p_value=said.p_value,
        threshold=said.threshold,
        box=_corners(face.box),
        frame_width=frame.width_px,
        frame_height=frame.height_px,
        area=face.box.area_px,
        frames_seen=said.faces_seen,
        calibration=said.reference.level,
        model=parts.bundle.identity,
        replay=parts.naming.replay,
    )
    event_id = parts.naming.event_id(face.camera, face.track_id, running.messages)
    return messages.Alert.of(data, event_id=event_id, source=parts.naming.source)


def _verdict_message(verdict: decide.Verdict, frame: _Frame, environment: str, parts: Parts) -> messages.Verdict:
    data = messages.VerdictData(
        camera=verdict.camera,
        environment=environment,
        track_id=verdict.track_id,
        verdict=verdict.label,
        reason=verdict.reason,
        alert_id=verdict.alert_id,
        score=verdict.statistic,
        top_score=verdict.top.score,
        p_value=verdict.p_value,
        threshold=verdict.threshold,
        start_time=_epoch(verdict.start_time_s),
        end_time=_epoch(verdict.end_time_s),
        frame_time_source=_clock(frame),
        frames_seen=verdict.faces_seen,
        faces_usable=verdict.faces_usable,
        box=_corners(verdict.top.box),
        frame_width=frame.width_px,
        frame_height=frame.height_px,
        calibration=None if verdict.reference is None else verdict.reference.level,
        promise=None if verdict.reference is None else promise_of(verdict.reference),
        model=parts.bundle.identity,
        replay=parts.naming.replay,
    )
    event_id = parts.naming.event_id(verdict.camera, verdict.track_id, 0)
    return messages.Verdict.of(data, event_id=event_id, source=parts.naming.source)


def promise_of(reference: decide.Reference) -> messages.Promise:
    """Return what a reference can hold, as messages say it."""
    return messages.Promise(
        asked_rate=reference.asked_rate,
        attainable_rate=reference.false_alarm_rate,
        tracks_missing=reference.tracks_missing,
    )


def _corners(box: FaceBox) -> tuple[float, float, float, float]:
    return box.x1, box.y1, box.x2, box.y2


def _epoch(time_s: float) -> float:
    # A recording may claim to be older than 1970, or begin before its own zero.
    return max(0.0, time_s)


def _clock(frame: _Frame) -> Literal["rtcp_ntp", "arrival", "file_pts"]:
    return frame.clock_source.value


def _innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first failure of a task group, so that callers see the error itself."""
    first = group.exceptions[0]
    return _innermost(first) if isinstance(first, BaseExceptionGroup) else first
