"""How old a face is when its score is there, and what a camera costs, with real RTSP cameras of 1080p."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from fakes.daemon_process import descendants, processor_s
from fakes.daemons import Ages, running_daemon
from fakes.rtsp_camera import Mount, RtspCamera

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.link import open_source

pytestmark = [pytest.mark.bench, pytest.mark.long, pytest.mark.end_to_end, pytest.mark.timeout(300)]

AIM_MS = 150.0
MEASURED_S = 8.0
Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspCamera]:
    """Yield a server that shows one 1080p picture stream to any number of clients."""
    mount = Mount(fps=15, gop=15, frames=30, size=(1920, 1080))
    with RtspCamera(tmp_path_factory.mktemp("camera"), mount) as server:
        yield server


def configuration(url: str, cameras: int) -> str:
    """Return a configuration of so many cameras at one address, five looks a second each."""
    lines = (f'  c{number}: {{source: {{type: rtsp, url: "{url}"}}}}\n' for number in range(cameras))
    return "screening: {device: cpu}\ndetect: {fps: 5}\ncameras:\n" + "".join(lines)


async def measure(folder: Path, url: str, cameras: int) -> tuple[Ages, float, float, int]:
    """Return the ages, the processor time of a worker and of the daemon per camera and second, and the faces shed."""
    ages = Ages()
    async with AsyncExitStack() as stack:
        fork = await stack.enter_async_context(ForkServer())
        box = await stack.enter_async_context(
            running_daemon(folder, configuration(url, cameras), open_source=partial(open_source, start=fork), ages=ages)
        )
        while len(ages.of) < cameras:  # noqa: ASYNC110  (a machine under load may call its cameras degraded)
            await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)
        ages.of.clear()
        assert fork.pid is not None
        workers = descendants(fork.pid)
        began_s, own_s, theirs_s = time.monotonic(), processor_s(os.getpid()), sum(map(processor_s, workers))
        await asyncio.sleep(MEASURED_S)
        took_s = (time.monotonic() - began_s) * cameras
        theirs = (sum(map(processor_s, workers)) - theirs_s) / took_s
        own = (processor_s(os.getpid()) - own_s) / took_s
        shed = sum(camera.summary.faces_shed for camera in box.daemon.cameras.all)
    return ages, theirs, own, shed


@pytest.mark.parametrize("cameras", [1, 2, 4, 8])
async def test_age_of_a_face_at_its_score(tmp_path: Path, camera: RtspCamera, cameras: int, tell: Tell) -> None:
    """From the arrival of the frame at its worker to the score; and the processor time of worker and daemon."""
    ages, worker, daemon, shed = await measure(tmp_path, camera.url(), cameras)
    faces = sum(map(len, ages.of.values()))
    assert len(ages.of) == cameras
    tell(
        f"{cameras} cameras 1080p15 at 5 fps: capture to verdict p50 {ages.percentile(0.5):.0f} ms,"
        f" p99 {ages.percentile(0.99):.0f} ms (aim {AIM_MS:g} at 4), {faces} faces, {shed} shed;"
        f" processor per camera: worker {100 * worker:.0f} %, daemon {100 * daemon:.0f} % of a core"
    )
