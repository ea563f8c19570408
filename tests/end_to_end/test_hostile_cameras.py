"""Hostile bytes against real workers, and hostile workers against their parent: a source ends, and nothing else does.

Quick runs feed 2,000 changed messages of cameras, the long one 100,000; each is counted when it was read, not when it
was sent.
"""

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from fakes.hostile_rtsp import HostileCamera, Mutator
from fakes.processes import children_of, peak_bytes, wait_until
from fakes.recordings import background, make_clip
from fakes.workers import Speaking

from gateway.cameras import wire
from gateway.cameras.forkserver import ForkServer
from gateway.cameras.jobs import CameraJob, FileSource, Job, RecordingJob, RtspSource
from gateway.cameras.link import open_source
from gateway.cameras.starting import StartWorker
from gateway.errors import SourceError, SourceReason
from gateway.values import ClockSource, FaceBox, FaceCrop, FrameFaces, SourceEnded, SourceOpened, SourceProgress

pytestmark = pytest.mark.end_to_end

_TALKERS, _LIARS = 3, 5


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    """Return a fork server that nothing a worker was sent may end."""
    async with ForkServer() as server:
        yield server
        await wait_until(lambda: children_of(server.pid or 0) == [])
        assert server.restarts == 0


class Lag:
    """Measures how late the loop is: what the daemon notices of all this."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def measure(self) -> None:
        """Look fifty times a second, for ever."""
        while True:
            due_s = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.worst_s = max(self.worst_s, time.monotonic() - due_s)


async def fate_of(job: Job, start: StartWorker) -> str:
    """Follow a source to its end; return how it ended. Any other error than a source's own fails the test."""
    try:
        async with open_source(job, start=start) as events:
            async for _ in events:
                pass
    except SourceError as error:
        signalled = re.search(r"ended by (\w+)", str(error))
        return signalled[1] if signalled else error.reason
    return "ended"


async def hammer(
    server: ForkServer, *, media: int, handshakes: int, seed: int
) -> tuple[Counter[str], Counter[str], float]:
    """Let workers look at hostile cameras until they have read so many inputs; return inputs, fates and lag."""
    fates: Counter[str] = Counter()
    lag = Lag()

    async def look(camera: HostileCamera, inputs: int) -> None:
        while camera.inputs.total() < inputs:
            source = RtspSource(f"rtsp://127.0.0.1:{camera.port}/cam")
            job = CameraJob("lobby", source, fps=1.0, connect_s=0.5, stall_s=0.5)
            fates[await fate_of(job, server)] += 1

    async with (
        HostileCamera(seed=seed, media=1000, foul=False) as talker,
        HostileCamera(seed=seed, media=10, foul=True) as liar,
        asyncio.TaskGroup() as group,
    ):
        clock = group.create_task(lag.measure(), name="lag")
        targets = [(talker, media)] * _TALKERS + [(liar, handshakes)] * _LIARS
        looks = [group.create_task(look(*target), name=f"look-{index}") for index, target in enumerate(targets)]
        await asyncio.wait(looks)
        clock.cancel()
    return talker.inputs + liar.inputs, fates, lag.worst_s


def told(inputs: Counter[str], fates: Counter[str], lag_s: float) -> str:
    """Return the line for the report."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(inputs.items()))
    ends = ", ".join(f"{count} {end}" for end, count in fates.most_common())
    late = f"loop late by {lag_s * 1000:.0f} ms"
    return f"{inputs.total()} hostile inputs ({kinds}) to {fates.total()} workers: {ends}; {late}"


async def test_two_thousand_changed_messages_end_sources_and_nothing_else(
    server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """RTSP, SDP, RTP and RTCP: no error but a source's, no lag that a watchdog would see, no process left."""
    inputs, fates, lag_s = await hammer(server, media=1_800, handshakes=200, seed=1)
    record_property("report", told(inputs, fates, lag_s))
    assert inputs.total() >= 2_000
    assert min(inputs[kind] for kind in ("rtsp", "sdp", "rtp", "rtcp")) > 0
    assert lag_s < 5.0


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_changed_messages_end_sources_and_nothing_else(
    server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """The same for as long as it takes."""
    inputs, fates, lag_s = await hammer(server, media=90_000, handshakes=10_000, seed=2)
    record_property("report", told(inputs, fates, lag_s))
    assert inputs.total() >= 100_000
    assert lag_s < 5.0


def spoken() -> list[bytes]:
    """Return what a camera's worker says in its life, message by message."""
    pixels_YXC = np.full((24, 24, 3), 128, np.uint8)
    crop = FaceCrop("lobby", 3, 10.0, FaceBox(1.0, 2.0, 17.0, 18.0, 0.9), pixels_YXC, 24)
    frame = FrameFaces("lobby", 3, 10.0, ClockSource.ARRIVAL, 64, 36, (crop, crop), 1, 1.0, 2.0)
    opened = SourceOpened("lobby", 64, 36, 25.0, "h264", None)
    progress, ended = SourceProgress("lobby", 5, 1, 4, 0, 0), SourceEnded("lobby", 1, 4, 0)
    failed = wire.Failed("source", "gone", SourceReason.ENDED)
    return [wire.pack(message) for message in (wire.Alive(), opened, frame, progress, failed, ended)]


def lie(mutator: Mutator, rng: random.Random, messages: list[bytes]) -> bytes:
    """Return a worker's life with one message changed: as bytes, or as another header of the right length."""
    told = list(messages)
    row = rng.randrange(len(told))
    if rng.random() < 0.4:
        told[row] = mutator.changed(told[row])
    else:
        prefix, rest = told[row][: wire.PREFIX.size], told[row][wire.PREFIX.size :]
        magic, header_bytes, _ = wire.PREFIX.unpack(prefix)
        header, payload = mutator.changed_header(rest[:header_bytes]), rest[header_bytes:]
        told[row] = wire.PREFIX.pack(magic, len(header), len(payload)) + header + payload
    return b"".join(told)


@pytest.mark.parametrize("lies", [500, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_a_worker_that_lies_ends_its_source_and_nothing_else(
    lies: int, record_property: Callable[[str, str], None]
) -> None:
    """The parent takes a changed message for a good one or ends the source; it never fails in any other way."""
    rng = random.Random(4)
    mutator, messages, fates = Mutator(rng), spoken(), Counter[str]()
    job = CameraJob("lobby", RtspSource("rtsp://127.0.0.1/cam"))
    for _ in range(lies):
        fates[await fate_of(job, Speaking(lie(mutator, rng, messages)))] += 1
    ends = ", ".join(f"{count} {end}" for end, count in fates.most_common())
    record_property("report", f"{lies} changed messages of workers: {ends}")
    assert fates.total() == lies
    assert fates[SourceReason.CRASHED] > lies // 3


def recordings(folder: Path) -> list[bytes]:
    """Return small recordings of several kinds."""
    pictures = [background(160, 90, seed=index) for index in range(8)]
    kinds = {"mp4": "libx264", "mkv": "libx264", "ts": "libx264", "avi": "mjpeg", "h264": "libx264", "mov": "libx265"}
    quiet = {"libx265": {"x265-params": "log-level=none:pools=1"}}
    formats = {"mjpeg": "yuvj420p"}
    return [
        make_clip(
            folder / f"clip.{name}",
            pictures,
            codec=codec,
            pixel_format=formats.get(codec, "yuv420p"),
            options=quiet.get(codec),
        ).read_bytes()
        for name, codec in kinds.items()
    ]


@pytest.mark.parametrize("files", [24, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_a_changed_recording_ends_its_source_and_nothing_else(
    files: int, server: ForkServer, tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    """What a container or a codec is made of, changed in one place to a few dozen."""
    rng = random.Random(5)
    mutator, clips, fates = Mutator(rng), recordings(tmp_path), Counter[str]()

    async def look(number: int) -> None:
        path = tmp_path / f"{number}.bin"
        for _ in range(files // 4):
            path.write_bytes(mutator.changed(rng.choice(clips)))
            fates[await fate_of(RecordingJob("lobby", path, fps=1.0), server)] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(look(number), name=f"look-{number}")
    ends = ", ".join(f"{count} {end}" for end, count in fates.most_common())
    record_property("report", f"{files} changed recordings: {ends}")
    assert fates.total() == files


async def test_a_giant_picture_is_refused_before_it_is_decoded(server: ForkServer, tmp_path: Path) -> None:
    """A few kilobytes of H.264 that unfold to 16 megapixels: more than a camera may send."""
    path = make_clip(tmp_path / "giant.mp4", [np.zeros((4096, 4096, 3), np.uint8)], options={"preset": "ultrafast"})
    peaks: list[int] = []
    fates = set()

    async def watch() -> None:
        while True:
            for worker in children_of(server.pid or 0):
                with contextlib.suppress(OSError, IndexError):
                    peaks.append(peak_bytes(worker))
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch(), name="watch")
        while not any(peaks):  # a worker ends soon, and may do so between two looks
            fates.add(await fate_of(CameraJob("lobby", FileSource(path)), server))
        watcher.cancel()
    assert fates == {SourceReason.TOO_LARGE}
    assert path.stat().st_size < 200_000
    assert max(peaks) < 256e6
