"""A camera over WebRTC: a real publisher, a real confined worker between them only the parent's line."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fractions import Fraction

import aioice.ice
import aiortc
import av
import pytest
from aiortc.mediastreams import MediaStreamTrack
from fakes.camera_clips import access_units, walker
from fakes.live import Changes
from fakes.webrtc import LOOPBACK, ClipTrack, accept, offer_of, on_loopback, prefer_h264, publisher

from gateway.cameras import wire
from gateway.cameras.jobs import CameraJob, PeerSource
from gateway.cameras.lines import Called, Lines
from gateway.cameras.link import open_source
from gateway.cameras.webrtc import is_keyframe
from gateway.errors import SourceError, SourceReason
from gateway.values import FrameFaces, SourceEvent, SourceWaiting

__all__ = ["on_loopback"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(180), pytest.mark.usefixtures("on_loopback")]

JOB = CameraJob("gate", PeerSource(LOOPBACK), connect_s=60.0, stall_s=20.0)
WAIT_S = 50.0


@dataclass
class Watched:
    """A camera that is being watched: its lines, what it showed, and how it ended."""

    lines: Lines
    frames: list[FrameFaces]
    changes: Changes
    ended: "asyncio.Task[SourceReason | None]"

    async def until(self, count: int) -> None:
        """Wait for so many frames."""
        await self.changes.until(lambda: len(self.frames) >= count or self.ended.done(), within_s=WAIT_S)
        assert len(self.frames) >= count, self.ended.result()

    async def publish(self, connection: aiortc.RTCPeerConnection) -> None:
        """Let a publisher send."""
        answer = await self.lines.offer("gate", offer_of(connection))
        assert isinstance(answer, wire.Answered), answer
        await accept(connection, answer.sdp)


async def collect(
    events: AsyncIterator[SourceEvent], frames: list[FrameFaces], changes: Changes
) -> SourceReason | None:
    """Collect frames until the source fails; return why."""
    try:
        async for event in events:
            frames += [event] if isinstance(event, FrameFaces) else []
            changes.note()
    except SourceError as error:
        changes.note()
        return error.reason
    return None


@asynccontextmanager
async def watched(job: CameraJob = JOB, lines: Lines | None = None) -> AsyncIterator[Watched]:
    """Watch a camera for as long as the block lasts."""
    lines, frames, changes = lines or Lines(), list[FrameFaces](), Changes()
    async with open_source(job, lines=lines) as events, asyncio.TaskGroup() as group:
        camera = Watched(lines, frames, changes, group.create_task(collect(events, frames, changes), name="collect"))
        yield camera
        camera.ended.cancel()


async def test_faces_are_found_when_a_clip_is_published() -> None:
    """From the offer to crops, in a worker that can neither connect nor write and run memory."""
    async with publisher() as connection, watched() as camera:
        await camera.publish(connection)
        await camera.until(10)
    assert (camera.frames[0].frame_width_px, camera.frames[0].frame_height_px) == (640, 360)
    assert sum(bool(frame.crops) for frame in camera.frames) > 5


async def test_a_publisher_that_takes_its_leave_ends_the_source() -> None:
    """The next life of the worker waits for the next publisher."""
    async with publisher() as connection, watched() as camera:
        await camera.publish(connection)
        await camera.until(1)
        camera.lines.hang_up("gate")
        assert await asyncio.wait_for(camera.ended, WAIT_S) is SourceReason.ENDED


async def test_a_publisher_that_closes_its_connection_ends_the_source() -> None:
    """Without a word over HTTP, as a closed browser does."""
    async with watched() as camera:
        async with publisher() as connection:
            await camera.publish(connection)
            await camera.until(1)
        assert await asyncio.wait_for(camera.ended, WAIT_S) is SourceReason.ENDED


async def test_a_publisher_that_falls_silent_is_noticed_by_our_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would wait half a minute for a sign of life."""
    is_cut = asyncio.Event()
    send = aioice.ice.StunProtocol.send_data

    async def send_until_cut(self: aioice.ice.StunProtocol, data: bytes, addr: tuple[str, int]) -> None:
        if not is_cut.is_set():
            await send(self, data, addr)

    monkeypatch.setattr(aioice.ice.StunProtocol, "send_data", send_until_cut)
    async with publisher() as connection, watched(replace(JOB, stall_s=5.0)) as camera:
        await camera.publish(connection)
        await camera.until(5)
        is_cut.set()
        assert await asyncio.wait_for(camera.ended, 25.0) is SourceReason.STALLED


async def test_a_publisher_that_never_connects_is_given_up() -> None:
    """An answer was given, and then nothing came."""
    async with publisher() as connection, watched(replace(JOB, connect_s=5.0)) as camera:
        answer = await camera.lines.offer("gate", offer_of(connection))
        assert isinstance(answer, wire.Answered)
        assert await asyncio.wait_for(camera.ended, WAIT_S) is SourceReason.TIMEOUT


async def test_a_camera_waits_for_its_publisher_for_as_long_as_it_takes() -> None:
    """No deadline runs before anybody calls, and it says that it waits."""
    job = replace(JOB, connect_s=0.2, stall_s=0.2)
    async with open_source(job, lines=Lines()) as events:
        assert await asyncio.wait_for(anext(events), WAIT_S) == SourceWaiting("gate")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 4.0)


async def test_a_second_publisher_is_told_that_there_is_one() -> None:
    """The first goes on."""
    async with publisher() as first, publisher() as second, watched() as camera:
        await camera.publish(first)
        await camera.until(1)
        answer = await camera.lines.offer("gate", offer_of(second))
        assert isinstance(answer, wire.Declined)
        assert answer.status == 409
        await camera.until(len(camera.frames) + 3)


async def test_a_good_offer_is_taken_after_bad_ones() -> None:
    """What is declined leaves nothing behind."""
    async with publisher() as connection, watched() as camera:
        for bad in (b"", b"v=0", offer_of(connection).replace(b"a=rtcp-mux", b"a=x"), b"v=0\r\nm=video 9 X 1\r\n"):
            answer = await camera.lines.offer("gate", bad)
            assert isinstance(answer, wire.Declined)
            assert 400 <= answer.status < 500
        await camera.publish(connection)
        await camera.until(1)


async def test_pictures_are_shown_while_somebody_watches_them() -> None:
    """As JPEGs that the parent never opens."""
    async with publisher() as connection, watched() as camera:
        await camera.publish(connection)
        async with contextlib.aclosing(camera.lines.watch("gate")) as pictures:
            shown = [await asyncio.wait_for(anext(pictures), WAIT_S) for _ in range(3)]
    assert all(each.jpeg.startswith(b"\xff\xd8\xff") and each.jpeg.endswith(b"\xff\xd9") for each in shown)


async def test_frames_go_on_when_every_twentieth_packet_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost is sent again; what was not mended is not looked at."""
    chance, send = random.Random(7), aioice.ice.StunProtocol.send_data

    async def send_most(self: aioice.ice.StunProtocol, data: bytes, addr: tuple[str, int]) -> None:
        if chance.random() >= 0.05:
            await send(self, data, addr)

    monkeypatch.setattr(aioice.ice.StunProtocol, "send_data", send_most)
    async with publisher() as connection, watched() as camera:
        await camera.publish(connection)
        await camera.until(30)
    assert sum(bool(frame.crops) for frame in camera.frames) > 15


async def test_a_stream_is_pulled_when_we_call_its_server() -> None:
    """The worker offers, the parent carries, the server's answer comes back: faces are found as before."""
    server = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    server.addTrack(ClipTrack())
    prefer_h264(server)

    left = []

    async def leave() -> None:
        left.append("hall")

    async def call(source: PeerSource, sdp: bytes) -> Called:
        assert source.token == "secret"
        await server.setRemoteDescription(aiortc.RTCSessionDescription(sdp.decode(), "offer"))
        await server.setLocalDescription(await server.createAnswer())
        return Called(server.localDescription.sdp.encode(), leave)

    job = replace(JOB, source=PeerSource(LOOPBACK, "http://media/whep", "secret"))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        camera = await stack.enter_async_context(watched(job, Lines(call)))
        await camera.until(5)
        assert left == []
    assert any(frame.crops for frame in camera.frames)
    assert left == ["hall"]


class DrawnTrack(MediaStreamTrack):
    """Pictures that the library encodes itself, as VP8."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._drawn = itertools.cycle([walker(index, frames=20) for index in range(20)])
        self._sent = 0

    async def recv(self) -> av.VideoFrame:
        """Return the next picture in its time."""
        await asyncio.sleep(0.1)
        frame = av.VideoFrame.from_ndarray(next(self._drawn), format="rgb24")
        frame.pts, frame.time_base = self._sent * 9000, Fraction(1, 90_000)
        self._sent += 1
        return frame


async def test_faces_are_found_when_a_publisher_sends_vp8() -> None:
    """What browsers send first."""
    async with publisher(DrawnTrack()) as connection, watched() as camera:
        await camera.publish(connection)
        await camera.until(5)
    assert any(frame.crops for frame in camera.frames)


def test_a_keyframe_is_told_before_it_is_decoded() -> None:
    """H.264 by a slice of type 5, VP8 by the first bit."""
    first, second, *_ = access_units("h264")
    assert is_keyframe("H264", first)
    assert not is_keyframe("H264", second)
    assert is_keyframe("VP8", b"\x10")
    assert not is_keyframe("VP8", b"\x11")
    assert not is_keyframe("VP8", b"")
