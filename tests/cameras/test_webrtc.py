"""A camera over WebRTC: a real publisher, a real confined worker between them only the parent's line."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fakes.webrtc import LOOPBACK, accept, offer_of, on_loopback, publisher

from gateway.cameras import wire
from gateway.cameras.jobs import CameraJob, PeerSource
from gateway.cameras.lines import Lines
from gateway.cameras.link import open_source
from gateway.values import FrameFaces, SourceEvent

__all__ = ["on_loopback"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("on_loopback")]

JOB = CameraJob("gate", PeerSource(LOOPBACK), connect_s=10.0, stall_s=5.0)


async def frames_of(events: AsyncIterator[SourceEvent], count: int) -> list[FrameFaces]:
    """Return the first frames."""
    found: list[FrameFaces] = []
    async for event in events:
        found += [event] if isinstance(event, FrameFaces) else []
        if len(found) == count:
            break
    return found


async def test_faces_are_found_when_a_clip_is_published() -> None:
    """From the offer to crops, in a worker that can neither connect nor write and run memory."""
    lines = Lines()
    async with publisher() as connection, open_source(JOB, lines=lines) as events, asyncio.TaskGroup() as group:
        looking = group.create_task(frames_of(events, 10), name="looking")
        answer = await lines.offer("gate", offer_of(connection))
        assert isinstance(answer, wire.Answered), answer
        await accept(connection, answer.sdp)
        frames = await asyncio.wait_for(looking, 40)
    assert (frames[0].frame_width_px, frames[0].frame_height_px) == (640, 360)
    assert sum(bool(frame.crops) for frame in frames) > 5
