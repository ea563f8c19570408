"""Watching a camera over WebRTC: a real viewer, a real confined worker, between them only the parent's line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiortc
import numpy as np
import pytest
from fakes.camera_clips import access_units
from fakes.webrtc import LOOPBACK, accept, offer_of, on_loopback, publisher, viewer

from gateway.cameras import wire
from gateway.cameras.jobs import CameraJob, FileSource, PeerSource, Viewing
from gateway.cameras.lines import Lines
from gateway.cameras.link import open_source
from gateway.cameras.viewing import FULL
from gateway.values import FrameFaces, SourceEvent

__all__ = ["on_loopback"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(180), pytest.mark.usefixtures("on_loopback")]

WAIT_S = 60.0
VIEWING = Viewing(LOOPBACK, 2)


async def pictures(connection: aiortc.RTCPeerConnection, count: int) -> list[Any]:
    """Return the next pictures that a viewer sees; RGB, H W C."""
    track = connection.getTransceivers()[0].receiver.track
    return [(await asyncio.wait_for(track.recv(), WAIT_S)).to_ndarray(format="rgb24") for _ in range(count)]


def clip_job(folder: Path, viewing: Viewing | None = VIEWING) -> CameraJob:
    """Return the job of a clip that plays for ever."""
    clip = folder / "walker.h264"
    clip.write_bytes(b"".join(access_units()))
    return CameraJob("gate", FileSource(clip, loop=True), fps=10.0, viewing=viewing)


@asynccontextmanager
async def watched(job: CameraJob) -> AsyncIterator[tuple[Lines, asyncio.Queue[FrameFaces]]]:
    """Watch a camera; the newest of its frames wait in the queue."""
    lines, frames = Lines(), asyncio.Queue[FrameFaces]()

    async def collect(events: AsyncIterator[SourceEvent]) -> None:
        async for event in events:
            if isinstance(event, FrameFaces):
                frames.put_nowait(event)

    async with open_source(job, lines=lines) as events, asyncio.TaskGroup() as group:
        collecting = group.create_task(collect(events), name="collect")
        yield lines, frames
        assert not collecting.done()
        collecting.cancel()


async def test_a_viewer_sees_the_camera_and_leaves(tmp_path: Path) -> None:
    """Pictures that change, small ones, from a worker that plays a file."""
    async with watched(clip_job(tmp_path)) as (lines, _), viewer() as connection:
        answer, leave = await lines.view("gate", offer_of(connection))
        assert isinstance(answer, wire.Answered), answer
        await accept(connection, answer.sdp)
        first, *_, last = await pictures(connection, 8)
        assert first.shape == (360, 640, 3)
        assert 20 < first.mean() < 235
        assert np.abs(first.astype(int) - last).max() > 40
        leave()
        with pytest.raises(aiortc.mediastreams.MediaStreamError):
            await pictures(connection, 200)


async def test_as_many_watch_as_may_and_a_place_is_free_again(tmp_path: Path) -> None:
    """The next one is told; when one has gone there is room."""
    async with watched(clip_job(tmp_path)) as (lines, _), viewer() as first, viewer() as second, viewer() as third:
        leaves = []
        for connection in (first, second):
            answer, leave = await lines.view("gate", offer_of(connection))
            assert isinstance(answer, wire.Answered), answer
            await accept(connection, answer.sdp)
            leaves.append(leave)
        refused, _ = await lines.view("gate", offer_of(third))
        assert isinstance(refused, wire.Declined)
        assert refused.status == FULL
        assert len(await pictures(second, 2)) == 2
        leaves[0]()
        for _ in range(600):
            answer, _ = await lines.view("gate", offer_of(third))
            if isinstance(answer, wire.Answered):
                break
            await asyncio.sleep(0.1)
        assert isinstance(answer, wire.Answered)
        await accept(third, answer.sdp)
        assert len(await pictures(third, 2)) == 2


async def test_what_is_no_offer_to_receive_is_declined_and_the_camera_goes_on(tmp_path: Path) -> None:
    """Garbage and an offer to send."""
    async with watched(clip_job(tmp_path)) as (lines, frames), viewer() as good, publisher() as sending:
        for bad in (b"", b"v=0", offer_of(sending), offer_of(good).replace(b"a=rtcp-mux", b"a=x")):
            answer, _ = await lines.view("gate", bad)
            assert isinstance(answer, wire.Declined)
            assert 400 <= answer.status < 500
        answer, _ = await lines.view("gate", offer_of(good))
        assert isinstance(answer, wire.Answered)
        while not frames.empty():
            frames.get_nowait()
        for _ in range(3):
            await asyncio.wait_for(frames.get(), WAIT_S)


async def test_a_camera_that_nobody_may_watch_declines(tmp_path: Path) -> None:
    """Its worker has no network for it either."""
    async with watched(clip_job(tmp_path, None)) as (lines, _), viewer() as connection:
        answer, _ = await lines.view("gate", offer_of(connection))
    assert isinstance(answer, wire.Declined)
    assert answer.status == 422


async def test_a_camera_that_publishes_is_watched_at_the_same_time() -> None:
    """Two peers in one worker: one receives, the other sends."""
    job = CameraJob("gate", PeerSource(LOOPBACK), connect_s=60.0, stall_s=20.0, viewing=replace(VIEWING, most=1))
    # The publisher outlives the watching, which would end with an error when it goes first.
    async with publisher() as camera, watched(job) as (lines, _), viewer() as connection:
        answer = await lines.offer("gate", offer_of(camera))
        assert isinstance(answer, wire.Answered)
        await accept(camera, answer.sdp)
        answer, _ = await lines.view("gate", offer_of(connection))
        assert isinstance(answer, wire.Answered)
        await accept(connection, answer.sdp)
        assert (await pictures(connection, 3))[0].shape == (360, 640, 3)
