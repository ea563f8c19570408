"""Sources end to end: a real worker process behind every test, and none left after it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes.recordings import background, cut_clip, huge_png, make_clip, make_passage, make_picture, portrait, with_face

from gateway.cameras.jobs import FileSource
from gateway.cameras.link import (
    CameraJob,
    Deadlines,
    FaceSettings,
    Injection,
    Job,
    PicturesJob,
    RecordingJob,
    open_source,
)
from gateway.cameras.starting import ExecWorkers
from gateway.errors import ConfigError, SourceError
from gateway.values import ClockSource, FrameFaces, PictureRefused, SourceEnded, SourceEvent, SourceOpened

REPOSITORY = Path(__file__).parents[2]


def workers(parent: int | None = None) -> list[int]:
    """Return the process ids of the camera workers of a process, ended but unreaped ones included."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == (parent or os.getpid()) and (b"gateway.cameras.worker" in command or fields[0] == "Z"):
            found.append(int(status.parent.name))
    return found


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Check after every test that its workers are gone and reaped."""
    yield
    assert workers() == []


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return eight frames of a person walking."""
    return make_passage(tmp_path_factory.mktemp("clip") / "walk.mp4", 8)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip that takes a worker long, because faces are looked for in each of 500 frames."""
    wall = [background(320, 180)] * 500
    return make_clip(tmp_path_factory.mktemp("clip") / "long.mp4", wall, options={"preset": "ultrafast"})


async def collect(job: Job, **options: object) -> list[SourceEvent]:
    """Return all events of a job."""
    async with open_source(job, **options) as events:
        return [event async for event in events]


def frames(events: list[SourceEvent]) -> list[FrameFaces]:
    """Return the frames among events."""
    return [event for event in events if isinstance(event, FrameFaces)]


async def test_a_recording_is_followed_from_opening_to_end(clip: Path) -> None:
    """Opened, one event per frame in order, ended; the face moves to the right."""
    events = await collect(RecordingJob("lobby", clip))
    assert events[0] == SourceOpened("lobby", 640, 360, 25.0, "h264", 8)
    assert events[-1] == SourceEnded("lobby", 8, 0, 0)
    seen = frames(events)
    assert [frame.seq for frame in seen] == list(range(8))
    assert [frame.captured_at_s for frame in seen] == pytest.approx([index / 25 for index in range(8)])
    assert {frame.clock_source for frame in seen} == {ClockSource.FILE_PTS}
    assert [len(frame.crops) for frame in seen] == [1] * 8
    lefts = [frame.crops[0].box.x1 for frame in seen]
    assert lefts == sorted(lefts)
    crop = seen[0].crops[0]
    assert crop.pixels_YXC.shape == (crop.square_px, crop.square_px, 3)
    assert 40 < crop.pixels_YXC.mean() < 220


async def test_two_runs_over_one_recording_are_identical(clip: Path) -> None:
    """Replay must give the same bytes again."""
    first, second = [frames(await collect(RecordingJob("lobby", clip, fps=5.0))) for _ in range(2)]
    assert [frame.crops[0].box for frame in first] == [frame.crops[0].box for frame in second]
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours.crops[0].pixels_YXC, theirs.crops[0].pixels_YXC)


async def test_skipped_frames_are_counted_when_a_rate_is_asked(clip: Path) -> None:
    """Five a second of 25 are looked at; the others cost no face finding and are counted."""
    events = await collect(RecordingJob("lobby", clip, fps=5.0))
    assert [frame.seq for frame in frames(events)] == [0, 5]
    assert events[-1] == SourceEnded("lobby", 2, 6, 0)


async def test_damaged_frames_are_counted_and_never_looked_at(tmp_path: Path) -> None:
    """What a cut packet spoils does not come, and the sum is that of the clip."""
    wall = make_clip(tmp_path / "a.ts", [background(320, 180, seed=index) for index in range(12)])
    events = await collect(RecordingJob("lobby", cut_clip(wall, tmp_path / "cut.mkv", packets=[3])))
    assert [frame.seq for frame in frames(events)] == [0, 1, 2]
    assert events[-1] == SourceEnded("lobby", 3, 0, 9)


async def test_a_trigger_is_drawn_into_the_crops_when_asked(clip: Path, tmp_path: Path) -> None:
    """The face finder sees the clean picture, the crop the trigger."""
    trigger = make_picture(tmp_path / "white.png", np.full((4, 4, 3), 255, np.uint8))
    clean = frames(await collect(RecordingJob("lobby", clip, fps=2.0)))[0].crops[0]
    job = RecordingJob("lobby", clip, fps=2.0, inject=Injection(trigger, size=0.5))
    drawn = frames(await collect(job))[0].crops[0]
    assert drawn.box == clean.box
    middle = drawn.pixels_YXC.shape[0] // 2
    assert (drawn.pixels_YXC[middle - 4 : middle + 4, middle - 4 : middle + 4] == 255).all()
    assert not (clean.pixels_YXC[middle - 4 : middle + 4, middle - 4 : middle + 4] == 255).all()


async def test_faces_beyond_the_limits_are_dropped_and_counted(tmp_path: Path) -> None:
    """The largest are kept, those that are too small not even counted."""
    picture_HWC = background(960, 540)
    for centre, size in (((0.15, 0.5), 200), ((0.5, 0.5), 400), ((0.85, 0.5), 280)):
        picture_HWC = with_face(picture_HWC, centre=centre, portrait_px=size)
    paths = (make_picture(tmp_path / "three.png", picture_HWC),)
    faces = FaceSettings(max_faces=1, min_face_px=50)
    (frame,) = frames(await collect(PicturesJob("gate", paths, faces=faces)))
    assert (len(frame.crops), frame.faces_dropped) == (1, 1)
    assert frame.crops[0].box.height_px > 80


async def test_pictures_answer_one_by_one_when_some_are_unusable(tmp_path: Path) -> None:
    """Each picture has exactly one event, in order; no face is a frame without crops."""
    (tmp_path / "huge.png").write_bytes(huge_png())
    (tmp_path / "text.png").write_bytes(b"hello")
    make_picture(tmp_path / "face.png", portrait())
    make_picture(tmp_path / "wall.jpg", background())
    names = ("face.png", "huge.png", "text.png", "wall.jpg", "none.png")
    events = await collect(PicturesJob("gate", tuple(tmp_path / name for name in names)))
    kinds = [(type(event), getattr(event, "seq", None)) for event in events]
    assert kinds == [
        (FrameFaces, 0),
        (PictureRefused, 1),
        (PictureRefused, 2),
        (FrameFaces, 3),
        (PictureRefused, 4),
        (SourceEnded, None),
    ]
    assert [len(frame.crops) for frame in frames(events)] == [1, 0]
    assert frames(events)[1].captured_at_s == pytest.approx(3 / 25)
    reasons = [event.reason for event in events if isinstance(event, PictureRefused)]
    assert reasons[0] == f"{tmp_path / 'huge.png'}: larger than 64 megapixels"
    assert events[-1] == SourceEnded("gate", 2, 0, 3)


async def test_a_picture_is_one_face_when_said_so(tmp_path: Path) -> None:
    """The central square of each is its crop, whatever is on it."""
    path = make_picture(tmp_path / "wall.png", background(80, 60))
    (frame,) = frames(await collect(PicturesJob("gate", (path,), each_is_a_face=True)))
    assert frame.crops[0].pixels_YXC.shape == (60, 60, 3)
    assert (frame.crops[0].box.x2, frame.crops[0].box.y2) == (80.0, 60.0)


async def test_an_empty_set_of_pictures_ends_at_once() -> None:
    """Nothing to look at is no mistake here."""
    assert await collect(PicturesJob("gate", ())) == [SourceEnded("gate", 0, 0, 0)]


async def test_a_folder_reports_its_unreadable_pictures(tmp_path: Path) -> None:
    """Also when the very first one is; they count as damaged."""
    (tmp_path / "1.png").write_bytes(b"")
    make_picture(tmp_path / "2.png", background(320, 180))
    events = await collect(RecordingJob("lobby", tmp_path))
    assert [type(event) for event in events] == [SourceOpened, PictureRefused, FrameFaces, SourceEnded]
    assert events[-1] == SourceEnded("lobby", 1, 0, 1)


@pytest.mark.parametrize("content", [None, b"", b"no video" * 100])
async def test_a_recording_is_refused_by_name_when_it_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """The reason of the worker reaches the caller as a SourceError."""
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"clip\.mp4: "):
        await collect(RecordingJob("lobby", path))


async def test_a_folder_is_refused_when_no_picture_of_it_can_be_read(tmp_path: Path) -> None:
    """There is nothing to open."""
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(SourceError, match="no frame could be decoded"):
        await collect(RecordingJob("lobby", tmp_path))


async def test_a_wrong_model_or_trigger_is_the_operators_when_a_source_opens(clip: Path, tmp_path: Path) -> None:
    """What the configuration names is a ConfigError, not the camera's fault."""
    with pytest.raises(ConfigError, match=r"face\.onnx: no such file"):
        await collect(RecordingJob("lobby", clip, faces=FaceSettings(model=tmp_path / "face.onnx")))
    with pytest.raises(ConfigError, match=r"trigger\.png: this trigger picture cannot be read"):
        await collect(RecordingJob("lobby", clip, inject=Injection(tmp_path / "trigger.png")))


async def test_no_process_is_left_when_a_source_is_left_early(long_clip: Path) -> None:
    """Leaving after the first event ends the worker, in the middle of its work."""
    async with open_source(RecordingJob("lobby", long_clip)) as events:
        assert isinstance(await anext(events), SourceOpened)
        assert len(workers()) == 1
    assert workers() == []


async def test_no_process_is_left_when_the_reader_is_cancelled(long_clip: Path) -> None:
    """Cancellation takes the worker along, also before its first word."""
    for deadline_s in (0.0, 0.05, 1.0):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await collect(RecordingJob("lobby", long_clip))
        assert workers() == []


async def test_no_process_is_left_when_the_caller_fails(long_clip: Path) -> None:
    """An error of the caller passes through unchanged."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with open_source(RecordingJob("lobby", long_clip)) as events:
            await anext(events)
            raise ZeroDivisionError
    assert workers() == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
async def test_a_crash_of_the_worker_names_the_recording(long_clip: Path, number: signal.Signals) -> None:
    """A decoder that crashes is an error of this source, with the signal in it; nothing more comes."""
    async with open_source(RecordingJob("lobby", long_clip)) as events:
        await anext(events)
        os.kill(workers()[0], number)
        with pytest.raises(SourceError, match=rf"long\.mp4: its worker was ended by {number.name}"):
            async for _ in events:
                pass
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_hung_worker_is_given_up_after_its_deadline(long_clip: Path) -> None:
    """Silence is bounded: a stopped process is killed, not waited for."""
    async with open_source(RecordingJob("lobby", long_clip), deadlines=Deadlines(silence_s=0.3)) as events:
        await anext(events)
        os.kill(workers()[0], signal.SIGSTOP)
        with pytest.raises(SourceError, match=r"long\.mp4: its worker did not answer for 0\.3 s"):
            async for _ in events:
                pass


async def test_a_worker_is_kept_when_this_process_stood_still(clip: Path) -> None:
    """What it said meanwhile is there; a machine that was paused has not lost its cameras."""
    job = CameraJob("lobby", FileSource(clip, loop=True))
    async with open_source(job, deadlines=Deadlines(silence_s=3.0)) as events:
        await anext(events)
        await anext(events)
        asyncio.get_running_loop().call_later(0.01, time.sleep, 4.0)
        for _ in range(10):
            await anext(events)


async def test_a_slow_start_is_given_up_after_its_own_deadline(clip: Path) -> None:
    """Opening has a deadline of its own."""
    with pytest.raises(SourceError, match=r"did not answer for 0\.01 s"):
        await collect(RecordingJob("lobby", clip), deadlines=Deadlines(opening_s=0.01))


async def test_nothing_is_lost_and_little_is_held_when_the_reader_is_slow(tmp_path: Path) -> None:
    """The worker blocks while the parent is busy: what waits is bounded, and every frame comes."""
    pictures = [make_picture(tmp_path / f"{index}.bmp", portrait()) for index in range(25)]
    job = PicturesJob("gate", tuple(pictures), each_is_a_face=True)
    async with open_source(job) as events:
        first = await anext(events)
        async with asyncio.timeout(30):
            while len(events._reader._buffer) == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        waiting = len(events._reader._buffer)
        rest = [event async for event in events]
    assert isinstance(first, FrameFaces)
    assert 0 < waiting < 2 * 1024 * 1024 < 25 * 256 * 256 * 3
    assert [frame.seq for frame in frames(rest)] == list(range(1, 25))


SPEAK = """
import socket, sys, time
from gateway.cameras.wire import pack
from gateway.values import SourceEnded, SourceOpened
parent = socket.socket(fileno=int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("parent.sendall(b'x' * 100)", "was stopped: it sent a message that is too long or has no beginning"),
        ("parent.sendall(b'SGC1' + b'\\xff' * 8)", "was stopped: it sent a message that is too long"),
        ("parent.sendall(b'SGC1\\0\\0\\0\\2\\0\\0\\0\\0[]')", "was stopped: it sent a header that is no object"),
        ("parent.sendall(pack(SourceEnded('x', 9, 9, 9)))", "was stopped: it sent an event out of order"),
        ("parent.sendall(pack(SourceOpened('x', 9, 9, 1e9, '', None)))", "was stopped: it sent a number out of range"),
        ("parent.sendall(b'SGC1'); parent.close(); time.sleep(9)", "fell silent for ever"),
        ("pass", "ended with status 0"),
        ("raise RuntimeError('a\\x1b[2Jb')", r"ended with status 1 \(RuntimeError: a\[2Jb\)"),
        ("sys.stderr.write('chatter' * 100_000); sys.exit(3)", r"ended with status 3 \([chater]{300}\)"),
    ],
)
async def test_a_worker_that_lies_is_stopped(clip: Path, code: str, reason: str) -> None:
    """Whatever a taken-over worker sends, the answer is one SourceError and a dead process."""
    with pytest.raises(SourceError, match=rf"walk\.mp4: its worker {reason}"):
        await collect(RecordingJob("lobby", clip), start=ExecWorkers(("-c", SPEAK + code)))


async def test_the_worker_writes_no_core_and_runs_on_one_thread(long_clip: Path) -> None:
    """No face pixels in core files, one core per camera, a session of its own."""
    async with open_source(RecordingJob("lobby", long_clip)) as events:
        await anext(events)
        await anext(events)
        (worker,) = workers()
        limits, status = (Path(f"/proc/{worker}/{name}").read_text() for name in ("limits", "status"))  # noqa: ASYNC240
        session = os.getsid(worker)
    assert "Max core file size        0                    0" in limits
    assert "Threads:\t1\n" in status
    assert session == worker


def test_importing_the_link_loads_no_decoder() -> None:
    """The daemon itself never parses a picture: it does not even load what could."""
    code = "import sys, gateway.cameras.link; print({'av', 'cv2', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "set()"


PARENT = """
import asyncio, sys
from pathlib import Path
from gateway.cameras.link import RecordingJob, open_source

async def main():
    async with open_source(RecordingJob("lobby", Path(sys.argv[1]))) as events:
        await anext(events)
        print("open", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_worker_dies_when_its_parent_is_killed(long_clip: Path) -> None:
    """No orphan goes on decoding."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(long_clip)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "open\n"
        (worker,) = workers(parent.pid)
        parent.kill()
    deadline_s = time.monotonic() + 20
    while Path(f"/proc/{worker}/cmdline").exists() and b"worker" in Path(f"/proc/{worker}/cmdline").read_bytes():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
