"""Live cameras through forked and confined workers: a real RTSP server on the other side."""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from fakes.brokers import make_authority
from fakes.processes import children_of, is_running, private_bytes, wait_until
from fakes.rtsp_camera import Mount, RtspCamera

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.jobs import CameraJob, RtspSource
from gateway.cameras.link import open_source
from gateway.errors import SourceError, SourceReason
from gateway.values import FrameFaces, SourceOpened

pytestmark = pytest.mark.end_to_end

TENFOLD_S = 27.5  # ten times what a worker may be silent


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a CA and a server's certificate for localhost."""
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder)
    return folder


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspCamera]:
    """Yield a server with an ordinary and a full-size camera."""
    mounts = (Mount("/cam"), Mount("/full", fps=15, gop=15, frames=30, size=(1920, 1080)))
    with RtspCamera(tmp_path_factory.mktemp("camera"), *mounts) as server:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    """Return a fork server; nothing may be left of its workers."""
    async with ForkServer() as server:
        yield server
        await wait_until(lambda: children_of(server.pid or 0) == [])


async def first_frame(job: CameraJob, server: ForkServer) -> FrameFaces:
    """Return the first frame of a camera that was looked at."""
    async with asyncio.timeout(45), open_source(job, start=server) as events:
        assert isinstance(await anext(events), SourceOpened)
        async for event in events:
            if isinstance(event, FrameFaces):
                return event
    raise AssertionError(job)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_camera_is_seen_from_within_the_walls(
    camera: RtspCamera, server: ForkServer, transport: str, host: str
) -> None:
    """Connected, decoded and searched for faces, by number and by name, without a single file or socket more."""
    frame = await first_frame(CameraJob("door", RtspSource(camera.url(host=host), transport=transport)), server)
    assert len(frame.crops) == 1


async def test_a_cameras_certificate_is_checked_against_its_name(
    authority: Path, server: ForkServer, tmp_path: Path
) -> None:
    """The parent resolves the name, the worker connects to the number, and the certificate must be the name's."""
    source = {"username": "view", "password": "p@ss", "ca_file": authority / "ca.pem"}
    with RtspCamera(tmp_path, users={"view": "p@ss"}, tls=authority) as camera:
        frame = await first_frame(CameraJob("door", RtspSource(camera.url(host="localhost"), **source)), server)
        assert len(frame.crops) == 1
        wrong = RtspSource(camera.url(host="camera.example"), address="127.0.0.1", **source)
        with pytest.raises(SourceError) as caught:
            await first_frame(CameraJob("door", wrong), server)
    assert caught.value.reason is SourceReason.TLS


async def test_a_camera_is_told_when_its_worker_leaves(server: ForkServer, tmp_path: Path) -> None:
    """The server has no client left, and the worker is gone within its farewell."""
    with RtspCamera(tmp_path) as camera:
        job = CameraJob("door", RtspSource(camera.url()))
        async with open_source(job, start=server) as events:
            await anext(events)
            (worker,) = children_of(server.pid or 0)
            assert camera.clients() == 1
        assert not is_running(worker)
        await wait_until(lambda: camera.clients() == 0)


async def test_a_hung_worker_of_a_camera_is_offline_soon(
    camera: RtspCamera, server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """A stopped worker says nothing; its camera is given up after the stall time and a margin, and can come back."""
    job = CameraJob("door", RtspSource(camera.url()))
    async with open_source(job, start=server) as events:
        await anext(events)
        await anext(events)
        (worker,) = children_of(server.pid or 0)
        os.kill(worker, signal.SIGSTOP)
        since_s = time.monotonic()
        with pytest.raises(SourceError) as caught:
            async for _ in events:
                pass
        noticed_s = time.monotonic() - since_s
    left_s = time.monotonic() - since_s
    record_property("report", f"a hung worker: noticed after {noticed_s:.2f} s, gone after {left_s:.2f} s (aim: 3 s)")
    assert caught.value.reason is SourceReason.HUNG
    assert left_s < TENFOLD_S
    assert not is_running(worker)
    assert (await first_frame(job, server)).crops


@pytest.mark.bench
async def test_return_after_a_crash_and_memory_are_reported(
    camera: RtspCamera, server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """What a crash costs, from the kill to the next open source, and what a full-size camera's worker holds."""
    job = CameraJob("door", RtspSource(camera.url("/full")))
    respawns_s, privates = [], []
    for _ in range(10):
        async with open_source(job, start=server) as events:
            for _ in range(6):
                await anext(events)
            (worker,) = children_of(server.pid or 0)
            privates.append(private_bytes(worker)[0])
            os.kill(worker, signal.SIGSEGV)
            killed_s = time.monotonic()
            with pytest.raises(SourceError, match="SIGSEGV"):
                async for _ in events:
                    pass
        async with open_source(job, start=server) as events:
            await anext(events)
            respawns_s.append(time.monotonic() - killed_s)
    middle, late = 1000 * statistics.median(respawns_s), 1000 * max(respawns_s)
    record_property("report", f"1080p camera open again {middle:.0f} ms (worst {late:.0f}) after its worker crashed")
    record_property("report", f"1080p camera's worker holds {max(privates) / 1e6:.0f} MB of its own (aim: 80 MB)")
    assert max(privates) < 800e6
