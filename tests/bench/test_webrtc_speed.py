"""What a camera costs over WebRTC, against the same clip over RTSP: processor time of the worker alone."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import aioice.ice
import pytest
from fakes.camera_clips import access_units
from fakes.daemon_process import processor_s
from fakes.rtsp_camera import Mount, RtspCamera
from fakes.webrtc import LOOPBACK, ClipTrack, accept, offer_of, prefer_h264, publisher

from gateway.cameras import wire
from gateway.cameras.jobs import CameraJob, PeerSource, RtspSource
from gateway.cameras.lines import Lines
from gateway.cameras.link import open_source
from gateway.values import FrameFaces, SourceEvent

pytestmark = [pytest.mark.bench, pytest.mark.long, pytest.mark.timeout(180)]

WATCHED_S = 15.0
CLIP = partial(access_units, "h264", width=1280, height=720, frames=100, gop=50)


def worker_pid() -> int:
    """Return the only camera worker of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    (worker,) = [pid for pid in children if b"cameras.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(worker)


async def share(events: "asyncio.Queue[SourceEvent]") -> float:
    """Return the share of a core that the worker uses from its first frame on."""
    while not isinstance(await events.get(), FrameFaces):
        pass
    before_s = processor_s(worker_pid())
    await asyncio.sleep(WATCHED_S)
    return (processor_s(worker_pid()) - before_s) / WATCHED_S


async def watch(job: CameraJob, lines: Lines, events: "asyncio.Queue[SourceEvent]") -> None:
    """Watch a camera until cancelled."""
    async with open_source(job, lines=lines) as source:
        async for event in source:
            events.put_nowait(event)


async def cost_over_webrtc() -> float:
    """Return the share of a core over WebRTC."""
    lines, events = Lines(), asyncio.Queue[SourceEvent]()
    track = ClipTrack(units=CLIP())
    async with publisher(track) as connection, asyncio.TaskGroup() as group:
        prefer_h264(connection)
        await connection.setLocalDescription(await connection.createOffer())
        job = CameraJob("gate", PeerSource(LOOPBACK), fps=1.0, connect_s=10.0, stall_s=5.0)
        watching = group.create_task(watch(job, lines, events), name="watch")
        answer = await lines.offer("gate", offer_of(connection))
        assert isinstance(answer, wire.Answered)
        await accept(connection, answer.sdp)
        used = await share(events)
        watching.cancel()
    return used


async def cost_over_rtsp(url: str) -> float:
    """Return the share of a core over RTSP."""
    events = asyncio.Queue[SourceEvent]()
    async with asyncio.TaskGroup() as group:
        job = CameraJob("gate", RtspSource(url), fps=1.0)
        watching = group.create_task(watch(job, Lines(), events), name="watch")
        used = await share(events)
        watching.cancel()
    return used


async def test_webrtc_costs_little_more_than_rtsp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """The same clip, 720p25, one frame a second looked at."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    over_webrtc = await cost_over_webrtc()
    with RtspCamera(tmp_path, Mount(size=(1280, 720), frames=100, gop=50)) as camera:
        over_rtsp = await cost_over_rtsp(camera.url())
    record_property(
        "report",
        f"720p25: {over_webrtc:.1%} of a core over WebRTC, {over_rtsp:.1%} over RTSP, "
        f"{over_webrtc / over_rtsp:.2f} times (aim 1.3)",
    )
    assert over_webrtc < 10 * over_rtsp
