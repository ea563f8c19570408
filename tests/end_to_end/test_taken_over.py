"""Workers that no longer do what we wrote, and inputs made to fill the memory: real processes, full confinement."""

import signal
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from fakes.processes import children_of, peak_bytes
from fakes.recordings import huge_png, make_picture, portrait

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.jobs import CameraJob, RtspSource
from gateway.cameras.link import Deadlines, Job, PicturesJob, RecordingJob, open_source
from gateway.errors import SourceError, SourceReason
from gateway.values import FrameFaces, PictureRefused, SourceEnded, SourceOpened

pytestmark = pytest.mark.end_to_end

MORE = 60
"""Pictures behind the one that is waited for: their faces do not fit into the pipe, so their worker lives on."""

# A server of workers in which somebody else's code runs where ours decodes: after the job came and the walls went up.
# The job's camera is that code.
TAKEN_OVER = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
from pathlib import Path
from gateway.cameras import forking, live, worker
from gateway.cameras.wire import pack
from gateway.values import SourceOpened

def messages(job):
    yield SourceOpened("x", 9, 9, 1.0, "h264", None)
    exec(job.camera)
    time.sleep(60)

def run(job, channel):
    for message in messages(job):
        channel.sendall(pack(message))

worker.messages, live.run = messages, run
raise SystemExit(forking.main(sys.argv[1:]))
"""

INTRUDER = (
    "os.execv('/bin/sh', ['sh'])",
    "subprocess.Popen(['/bin/sh'])",
    "os.fork()",
    "os.kill(os.getppid(), signal.SIGKILL)",
    "os.kill(1, signal.SIGTERM)",
    "ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)",
)
REACHING = {
    "open('/dev/shm/x', 'w')": "PermissionError",
    "Path('/etc/hostname').read_text()": "PermissionError",
    "Path('/proc/self/environ').read_text()": "PermissionError",
    "socket.create_connection(('127.0.0.1', 1))": "PermissionError",
    "socket.socket(socket.AF_UNIX).connect('/run/x')": "PermissionError|Function not implemented",
    "bytearray(5 << 30)": "MemoryError",
    "[os.dup(0) for _ in range(100)]": "Too many open files",
}


def jobs(action: str) -> tuple[RecordingJob, CameraJob]:
    """Return a job without and one with a network whose worker does this."""
    camera = CameraJob(action, RtspSource("rtsp://127.0.0.1:9/cam"), connect_s=20.0, stall_s=20.0)
    return RecordingJob(action, Path("walk.mp4")), camera


async def end_of(job: Job, server: ForkServer, deadlines: Deadlines | None = None) -> SourceError:
    """Return how a source ends."""
    try:
        async with open_source(job, start=server, deadlines=deadlines) as events:
            assert isinstance(await anext(events), SourceOpened)
            await anext(events)
    except SourceError as error:
        return error
    raise AssertionError(job)


@pytest.fixture
async def taken_over() -> AsyncIterator[ForkServer]:
    """Return a fork server of workers that do what their job's camera says; it outlives them all."""
    async with ForkServer(("-c", TAKEN_OVER)) as server:
        yield server
        assert server.restarts == 0


async def test_a_worker_dies_by_the_walls_when_it_acts_like_an_intruder(taken_over: ForkServer) -> None:
    """The operator reads that it was not the decoder that broke."""
    for job in (job for action in INTRUDER for job in jobs(action)):
        error = await end_of(job, taken_over)
        assert error.reason is SourceReason.CRASHED, job
        assert "was ended by SIGSYS: it tried what decoding never needs" in str(error), job


async def test_a_worker_is_refused_when_it_reaches_for_more_than_its_job(taken_over: ForkServer) -> None:
    """It ends with the error as its last words; nothing was written, read or reached."""
    for action, said in REACHING.items():
        for job in jobs(action):
            error = await end_of(job, taken_over)
            assert error.reason is SourceReason.CRASHED, job
            assert "ended with status 1" in str(error), job
            assert any(part in str(error) for part in said.split("|")), (job, error)


async def test_a_cameras_worker_stops_growing_at_half_a_gigabyte(taken_over: ForkServer) -> None:
    """What leaks piece by piece ends as well, long before the machine is out of memory."""
    error = await end_of(jobs("[bytearray(1 << 20) for _ in range(600)]")[1], taken_over)
    assert error.reason is SourceReason.CRASHED
    assert "MemoryError" in str(error)


async def test_a_worker_that_breaks_or_hangs_is_one_error(taken_over: ForkServer) -> None:
    """A bad pointer and an endless loop are the source's end, each with its own reason."""
    broken = await end_of(jobs("ctypes.string_at(0)")[0], taken_over)
    assert broken.reason is SourceReason.CRASHED
    assert f"was ended by {signal.SIGSEGV.name}" in str(broken)
    for job in jobs("while True: pass"):
        hung = await end_of(job, taken_over, Deadlines(silence_s=0.3))
        assert hung.reason is SourceReason.HUNG


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))


def bombs() -> dict[str, bytes]:
    """Return small files that announce, or unpack to, more than a box has memory for."""
    found: dict[str, bytes] = {"deflated.png": huge_png()}
    for side in (8193, 20_000, 65_500, 2**31 - 1):
        head = _chunk(b"IHDR", struct.pack("!IIBBBBB", side, side, 8, 2, 0, 0, 0))
        found[f"header-{side}.png"] = (
            b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(b"\0" * 99)) + _chunk(b"IEND", b"")
        )
        found[f"{side}.bmp"] = struct.pack(
            "<2sIHHIIiiHHIIiiII", b"BM", 99, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0
        )
        entries = ((256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8))
        tags = b"".join(struct.pack("<HHII", *entry) for entry in (*entries, (277, 3, 1, 1), (279, 4, 1, 2**31 - 1)))
        found[f"{side}.tif"] = struct.pack("<2sHIH", b"II", 42, 8, 8) + tags + bytes(4)
    for side in (8193, 65_500):
        frame = struct.pack("!HBHHB", 17, 8, side, side, 3) + bytes([1, 17, 0, 2, 17, 1, 3, 17, 1])
        scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00" + b"\0" * 99 + b"\xff\xd9"
        found[f"{side}.jpg"] = b"\xff\xd8\xff\xc0" + frame + scan
    size = (16383 - 1) | (16383 - 1) << 14
    pixels = b"\x2f" + struct.pack("<I", size) + bytes(60)
    chunk = b"WEBPVP8L" + struct.pack("<I", len(pixels)) + pixels + bytes(len(pixels) % 2)
    found["16383.webp"] = b"RIFF" + struct.pack("<I", len(chunk)) + chunk
    return found


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    """Return a fork server."""
    async with ForkServer() as server:
        yield server


async def test_bombs_are_refused_before_they_unfold(
    tmp_path: Path, server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """Each is answered by a sentence, within 256 MB of memory, and the good picture behind them is looked at."""
    paths = []
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    paths.append(make_picture(tmp_path / "good.png", portrait()))
    job = PicturesJob("lobby", (*paths, *paths[-1:] * MORE))
    async with open_source(job, start=server) as events:
        answers, answered_s = [], []
        for _ in paths:
            answers.append(await anext(events))
            answered_s.append(time.monotonic())
        (worker,) = children_of(server.pid or 0)
        peak = peak_bytes(worker)
        *_, ended = [event async for event in events]
    assert [type(answer) for answer in answers] == [PictureRefused] * (len(paths) - 1) + [FrameFaces]
    assert ended == SourceEnded("lobby", 1 + MORE, 0, len(paths) - 1)
    assert peak < 256e6
    # The first also waits for the worker to start, the last is looked at.
    worst_ms = 1000 * max(later - earlier for earlier, later in pairwise(answered_s[:-1]))
    record_property("report", f"{len(paths) - 1} bombs refused in at most {worst_ms:.0f} ms, peak {peak / 1e6:.0f} MB")
