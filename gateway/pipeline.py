"""The frame path, top to bottom: the only file that knows the order.

A frame's faces get their tracks, the faces are gathered into batches and scored, each score moves its track's state,
and what the state announces becomes messages. The end of a track waits in line behind its last face, so that what is
said of a camera depends on its pictures alone and never on how fast anything was.

A recording has a batcher of its own and loses nothing. The live cameras of an environment share one: a batch goes out
when it is full or its oldest face has waited long enough, and with too many faces waiting the camera that has the most
of them loses its oldest. Only faces are lost, counted for each camera; an alert never is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np

from gateway.errors import SourceError, innermost
from gateway.lane import Deliver, Lane, Parts, Scored, SourceSummary, Standing
from gateway.screening.batcher import Batcher
from gateway.screening.screen import prepare
from gateway.values import (
    FrameFaces,
    PictureRefused,
    Quality,
    Screening,
    SourceEnded,
    SourceEvent,
    SourceOpened,
    TrackedFace,
)

LIVE_BATCHES_WAITING = 4
"""How many batches of faces may wait for the detector before faces are shed."""


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
    lane = Lane(parts, camera=camera, environment=environment, deliver=deliver)
    batcher = Batcher(max_size=parts.batch_size, max_wait_s=None, max_waiting=4 * parts.batch_size)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_screen_batches(batcher, parts, lane, environment), name=f"screen:{camera}")
            await _gather(events, batcher, lane)
    except BaseExceptionGroup as failures:
        raise innermost(failures) from None
    return lane.summary


async def _gather(events: AsyncIterator[SourceEvent], batcher: Batcher, lane: Lane) -> None:
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


async def _put_faces(frame: FrameFaces, batcher: Batcher, lane: Lane) -> None:
    faces, ended = lane.see(frame)
    # A track that ended with this frame has no face in it: its end stands before the frame's faces.
    await lane.end(ended)
    for face in faces:
        lane.wait_for(face, frame)
        await batcher.put(face)


async def _screen_batches(batcher: Batcher, parts: Parts, lane: Lane, environment: str) -> None:
    async for batch in batcher:
        for screening in await _score(batch, parts, environment):
            await lane.take(screening)


class LiveScreening:
    """The frame path of an environment's cameras, which come and go; one `run` takes their faces until `close`.

    What is counted for a camera goes on in `summaries`, which its owner may hand to the next one.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        environment: str,
        deliver: Deliver,
        max_wait_s: float,
        summaries: dict[str, SourceSummary] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._environment = environment
        self._deliver = deliver
        self._clock = clock
        self.summaries = {} if summaries is None else summaries
        self._lanes: dict[str, Lane] = {}
        self._leaving: set[str] = set()
        waiting = LIVE_BATCHES_WAITING * parts.batch_size
        self._batcher = Batcher(max_size=parts.batch_size, max_wait_s=max_wait_s, max_waiting=waiting)
        self._is_closed = False
        self.batches = self._asked = 0

    @property
    def cameras(self) -> frozenset[str]:
        """The cameras whose faces or tracks are on their way."""
        return frozenset(self._lanes)

    @property
    def waiting(self) -> int:
        """How many faces wait for the detector."""
        return self._batcher.waiting

    @property
    def is_busy(self) -> bool:
        """Whether a batch is under way or could be."""
        return self._asked > self.batches or self.waiting >= self._parts.batch_size

    async def run(self) -> None:
        """Screen whatever comes until `close`, then what still waits.

        Raises:
            RuntimeFault: The detector fails.
            BaseException: Whatever `deliver` raises.
        """
        async for batch in self._batcher:
            asked_at_s = self._clock()
            self._asked += 1
            screenings = await _score(batch, self._parts, self._environment)
            scored = Scored(asked_at_s, self._clock())
            for screening in screenings:
                await self._lanes[screening.camera].take(screening, scored)
            self.batches += 1
            self._let_go()

    async def see(self, frame: FrameFaces) -> tuple[TrackedFace, ...]:
        """Take a camera's frame and return its faces with their tracks; never waits for the detector.

        After `close` none is screened.
        """
        lane = self._lane(frame.camera)
        faces, ended = lane.see(frame)
        await lane.end(ended)
        for face in faces:
            if self._is_closed:
                break
            lane.wait_for(face, frame)
            shed = await self._batcher.put(face)
            if shed is not None:
                await self._lanes[shed.crop.camera].shed(shed)
        return faces

    def standing(self, camera: str, track_id: int) -> Standing:
        """Return how a camera's track stands; `judging` also where none of this id is under way."""
        return self._lanes[camera].standing(track_id) if camera in self._lanes else "judging"

    async def end_tracks(self, camera: str) -> None:
        """End a camera's tracks because it went away; the ids of later ones go on counting."""
        if camera in self._lanes:
            await self._lanes[camera].end_all()

    async def leave(self, camera: str) -> None:
        """End a camera's tracks and forget it once its last face has been scored."""
        await self.end_tracks(camera)
        self._leaving.add(camera)
        self._let_go()

    async def close(self) -> None:
        """Take no more frames and end all tracks; `run` ends when what waits is through."""
        self._is_closed = True
        for lane in tuple(self._lanes.values()):
            await lane.end_all()
        self._batcher.close()

    def _lane(self, camera: str) -> Lane:
        self._leaving.discard(camera)
        if camera not in self._lanes:
            self._lanes[camera] = Lane(
                self._parts,
                camera=camera,
                environment=self._environment,
                deliver=self._deliver,
                clock=self._clock,
                summary=self.summaries.setdefault(camera, SourceSummary(camera)),
            )
        return self._lanes[camera]

    def _let_go(self) -> None:
        for camera in [camera for camera in self._leaving if camera in self._lanes and self._lanes[camera].is_idle]:
            del self._lanes[camera]
            self._leaving.discard(camera)


async def _score(batch: Sequence[TrackedFace], parts: Parts, environment: str) -> list[Screening]:
    """Return what the detector says of each face, in the order of the batch, when the witnesses have taken note."""
    pixels_NYXC, qualities = prepare([face.crop for face in batch], parts.bundle.profile)
    scores_N = await parts.detector.screen(pixels_NYXC)
    screenings = [
        Screening(
            camera=face.crop.camera,
            track_id=face.track_id,
            seq=face.crop.seq,
            frame_time_s=face.crop.captured_at_s,
            box=face.crop.box,
            score=float(score) if np.isfinite(score) else 0.0,
            quality=quality if np.isfinite(score) else Quality.UNSCORED,
        )
        for face, score, quality in zip(batch, scores_N, qualities, strict=True)
    ]
    # Before the tracks take their scores, so that no track is over before its last face was seen.
    for witness in parts.witnesses:
        witness.on_scored(environment, batch, pixels_NYXC, screenings)
    return screenings
