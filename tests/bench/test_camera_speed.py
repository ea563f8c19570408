"""What a live camera costs, against a plain OpenCV loop with the same face model, within one run; CPU time."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from fakes.camera_clips import access_units
from fakes.rtsp_camera import Mount, RtspCamera
from numpy.typing import NDArray

from gateway.cameras.faces import FaceFinder, cut, open_finder
from gateway.cameras.forkserver import ForkServer
from gateway.cameras.jobs import CameraJob, FaceSettings, RtspSource
from gateway.cameras.link import open_source
from gateway.cameras.recording import Thinning
from gateway.cameras.stream import FFmpegLog, Stream, video_stream
from gateway.errors import SourceError
from gateway.values import FaceBox, SourceProgress

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

FPS, LOOKS_A_S, FRAMES = 25, 5.0, 50
SIZE = (1920, 1080)
MIDDLE = FaceBox(900.0, 480.0, 1020.0, 600.0, 1.0)
Tell = Callable[[str], None]
Find = Callable[[NDArray[np.uint8]], FaceBox]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two seconds of a camera's H.264 at 1080p25, as a bare stream."""
    path = tmp_path_factory.mktemp("clips") / "camera.h264"
    path.write_bytes(b"".join(access_units("h264", frames=FRAMES, fps=FPS, gop=FPS, width=SIZE[0], height=SIZE[1])))
    return path


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceFinder]:
    """Return the face model, on one thread as in a worker."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield open_finder(FaceSettings())
    cv2.setNumThreads(before)


def ours(clip: Path, find: Find) -> int:
    """Look at a clip as a live worker does; return the number of crops."""
    thinning, crops = Thinning(LOOKS_A_S), 0
    with FFmpegLog() as log:
        container: Any = av.open(str(clip))
        stream = Stream(
            container, video_stream(container, frozenset({"h264"}), max_pixels=1 << 23), max_pixels=1 << 23, log=log
        )
        try:
            for index, frame in enumerate(frame for frame in stream.frames() if frame is not None):
                if frame.picture is not None and thinning.takes(index / FPS):
                    picture_HWC = frame.picture()
                    cut(picture_HWC, find(picture_HWC), camera="door", seq=index, captured_at_s=0.0)
                    crops += 1
        except SourceError:
            stream.close()
    return crops


def plain(clip: Path, find: Find) -> int:
    """Look at a clip with OpenCV alone, as its manual shows it; return the number of crops."""
    thinning, crops = Thinning(LOOKS_A_S), 0
    capture = cv2.VideoCapture(str(clip))
    index = 0
    while True:
        is_there, picture_HWC = capture.read()
        if not is_there:
            break
        if thinning.takes(index / FPS):
            rgb_HWC = cv2.cvtColor(picture_HWC, cv2.COLOR_BGR2RGB)
            cut(rgb_HWC, find(rgb_HWC), camera="door", seq=index, captured_at_s=0.0)  # type: ignore[arg-type]
            crops += 1
        index += 1
    capture.release()
    return crops


def cpu_ms(work: Callable[[], int], *, repeats: int = 5) -> float:
    """Return the least CPU time per frame of a few runs: what else runs on the machine only adds."""
    assert work() == FRAMES * LOOKS_A_S / FPS
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times) / FRAMES * 1000


def test_decoding_to_crops_against_opencv(clip: Path, finder: FaceFinder, tell: Tell) -> None:
    """Both cut as many faces; only what is looked at becomes RGB here, everything there."""

    def nowhere(_picture_HWC: NDArray[np.uint8]) -> FaceBox:
        return MIDDLE

    def model(picture_HWC: NDArray[np.uint8]) -> FaceBox:
        return finder.find(picture_HWC)[0]

    for name, find, aim in (("decode to crop", nowhere, "0.80"), ("with the face model", model, "1.00")):
        our_ms, their_ms = cpu_ms(lambda: ours(clip, find)), cpu_ms(lambda: plain(clip, find))  # noqa: B023
        tell(
            f"camera, 1080p25 H.264 at {LOOKS_A_S:g} looks/s, {name}: {our_ms:.2f} ms CPU a frame against "
            f"{their_ms:.2f} of a plain OpenCV loop, ratio {our_ms / their_ms:.2f} (aim {aim})"
        )


@pytest.mark.parametrize("cameras", [1, 2, 4])
async def test_cpu_and_memory_of_live_cameras(tmp_path: Path, tell: Tell, cameras: int) -> None:
    """Each camera of 1080p15 is seen by a worker of its own; what one costs is told."""
    with RtspCamera(tmp_path, Mount(fps=15, gop=30, frames=30, size=SIZE)) as camera:
        async with AsyncExitStack() as stack, asyncio.timeout(120):
            server = await stack.enter_async_context(ForkServer())
            jobs = [CameraJob(f"camera-{number}", RtspSource(camera.url())) for number in range(cameras)]
            sources = [await stack.enter_async_context(open_source(job, start=server)) for job in jobs]
            counts = await asyncio.gather(*(measured(source, server) for source in sources))
            memory_mb = [private_mb(worker) for worker in workers(server)]
    cpu, looks = (float(np.mean(column)) for column in zip(*counts, strict=True))
    tell(
        f"live camera, 1080p15 H.264 at 5 looks/s, {cameras} at a time: {100 * cpu:.1f} % of a core each, "
        f"{looks:.1f} looks/s each, private memory {max(memory_mb):.0f} MB at most"
    )


async def measured(source: Any, server: ForkServer) -> tuple[float, float]:
    """Return the share of a core that a worker uses on average, and this one's looks per second, over four seconds."""
    first: tuple[float, float, int] | None = None
    async for event in source:
        if isinstance(event, SourceProgress):
            now_s, used_s = time.monotonic(), float(np.mean([cpu_s(worker) for worker in workers(server)]))
            if first is None and event.frames_received > 15:
                first = now_s, used_s, event.frames_looked_at
            elif first is not None and now_s > first[0] + 4.0:
                span_s = now_s - first[0]
                return (used_s - first[1]) / span_s, (event.frames_looked_at - first[2]) / span_s
    raise AssertionError("the camera ended")


def workers(server: ForkServer) -> list[int]:
    """Return the process ids of a server's workers."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [int(child) for child in children.split()]


def cpu_s(process: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def private_mb(process: int) -> float:
    """Return the memory that a process shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
