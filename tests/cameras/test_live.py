"""A live worker from inside: its messages, its watch and its end; with real cameras in tests/end_to_end."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.recordings import make_passage, make_picture, portrait

from gateway.cameras import live, wire
from gateway.cameras.jobs import CameraJob, FileSource, RtspSource
from gateway.errors import SourceReason
from gateway.values import ClockSource, FrameFaces, SourceEnded, SourceOpened, SourceProgress

READ_S = 20.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip of one second."""
    return make_passage(tmp_path_factory.mktemp("clips") / "walk.mp4", 25)


@pytest.fixture(autouse=True)
def _worker_within_the_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the signal's handler, and give readers time: a worker whose reader hangs ends its process."""
    monkeypatch.setattr(live, "FAREWELL_S", READ_S)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Parent:
    """The other end of a worker's channel, read by a thread: everything that was said."""

    def __init__(
        self,
        *,
        leave_after: type | None = None,
        end_after: type | None = None,
        leave_when: Callable[[wire.Message], bool] | None = None,
    ) -> None:
        """Leave, or end this process's worker, if asked to, after the first message of a kind, or the first such."""
        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(READ_S)
        self.said: list[wire.Message] = []
        self._leave_when = leave_when or (lambda said: leave_after is not None and isinstance(said, leave_after))
        self._end_after = end_after
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with self.ours.makefile("rb") as stream:
            while prefix := stream.read(wire.PREFIX.size):
                header_bytes, payload_bytes = wire.sizes(prefix, max_faces=16)
                header, payload = stream.read(header_bytes), stream.read(payload_bytes)
                self.said.append(wire.unpack(header, payload, camera="door", max_faces=16))
                if self._leave_when(self.said[-1]):
                    self.ours.shutdown(socket.SHUT_WR)
                if self._end_after is not None and isinstance(self.said[-1], self._end_after):
                    self._end_after = None
                    os.kill(os.getpid(), signal.SIGTERM)

    def hear(self, job: CameraJob) -> list[wire.Message]:
        """Run a job in this thread and return what it said."""
        try:
            live.run(job, self.theirs)
        finally:
            self.theirs.close()
            self._thread.join(READ_S)
            self.ours.close()
        return self.said


def test_a_clip_is_looked_at_as_a_camera_would_be(clip: Path) -> None:
    """Five frames a second of its clock, each with its times; the rest is counted; the end is told."""
    said = Parent().hear(CameraJob("door", FileSource(clip)))
    assert said[0] == wire.Alive()
    assert SourceOpened("door", 640, 360, 25.0, "h264", None) in said
    frames = [message for message in said if isinstance(message, FrameFaces)]
    assert {frame.seq for frame in frames} <= {0, 3, 8, 13, 18, 23}  # the phase of this name
    assert frames[-1].seq == 23
    for frame in frames:
        assert frame.clock_source is ClockSource.ARRIVAL
        assert frame.arrived_at_s is not None
        assert frame.found_at_s is not None
        assert frame.arrived_at_s <= frame.found_at_s <= time.monotonic()
        assert abs(frame.captured_at_s - time.time()) < 60
    assert len(frames[-1].crops) == 1
    assert said[-1] == SourceEnded("door", len(frames), 25 - len(frames), 0)


def test_progress_is_told_once_a_second_when_a_camera_goes_on(clip: Path) -> None:
    """Its numbers add up, but for the frame that waits."""
    is_more = lambda said: isinstance(said, SourceProgress) and said.frames_received > 5  # noqa: E731
    said = Parent(leave_when=is_more).hear(CameraJob("door", FileSource(clip, loop=True), fps=2.0))
    told = [message for message in said if isinstance(message, SourceProgress)]
    counted = sum(
        each.frames_looked_at + each.frames_skipped + each.frames_replaced + each.frames_damaged for each in told
    )
    assert 0 <= sum(each.frames_received for each in told) - counted <= 1


def test_a_worker_ends_when_its_parent_leaves(clip: Path) -> None:
    """Long before the clip would."""
    before = threading.active_count()
    begun_s = time.monotonic()
    Parent(leave_after=FrameFaces).hear(CameraJob("door", FileSource(clip, loop=True)))
    assert time.monotonic() - begun_s < READ_S
    assert threading.active_count() <= before


def test_a_worker_takes_leave_of_its_camera_when_its_parent_has_gone(clip: Path) -> None:
    """Also where it notices by a message that it cannot send: its reader is waited for."""
    before = threading.active_count()
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        live.run(CameraJob("door", FileSource(clip, loop=True)), theirs)
    assert threading.active_count() <= before


def test_a_folder_is_played_when_its_first_picture_cannot_be_read(tmp_path: Path) -> None:
    """Its size is that of the first one that can."""
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for number in range(2, 8):
        make_picture(tmp_path / f"{number}.png", portrait())
    said = Parent().hear(CameraJob("door", FileSource(tmp_path), fps=None))
    height, width = portrait().shape[:2]
    assert SourceOpened("door", width, height, 25.0, "pictures", None) in said
    assert isinstance(said[-1], SourceEnded)
    assert said[-1].frames_damaged == 1


def test_a_worker_ends_when_it_is_terminated(clip: Path) -> None:
    """SIGTERM is as good as the parent's farewell."""
    said = Parent(end_after=FrameFaces).hear(CameraJob("door", FileSource(clip, loop=True)))
    assert isinstance(said[-1], FrameFaces | SourceProgress)


def test_a_camera_that_cannot_be_read_is_told_with_name_and_reason(tmp_path: Path) -> None:
    """The text begins with the camera's name."""
    (failed,) = Parent().hear(CameraJob("door", FileSource(tmp_path / "none.mp4")))[-1:]
    assert isinstance(failed, wire.Failed)
    assert failed.reason.startswith(f"door: {tmp_path / 'none.mp4'}: no such file")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_our_own_is_told_with_its_place(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it arose helps whoever mends it; what it says stays here, for it may name an address."""

    def fail(*_: object, **__: object) -> None:
        raise ValueError("rtsp://me:secret@camera")

    monkeypatch.setattr(live, "Playing", fail)
    said = Parent().hear(CameraJob("door", FileSource(clip)))
    assert isinstance(said[-1], wire.Failed)
    assert said[-1].code is SourceReason.CRASHED
    assert re.fullmatch(r"door: reading it failed .*: ValueError at test_live\.py:\d+", said[-1].reason)


def test_a_camera_is_given_up_when_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch has its own deadline, and says what the reader cannot."""
    monkeypatch.setattr(live, "FAREWELL_S", 0.3)
    monkeypatch.setattr(live, "_OPEN_GRACE_S", 60.0)  # the reader's runs while the model is still being loaded
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/1"
        watch_of: list[live.Watch] = []
        parent = Parent()
        job = CameraJob("door", RtspSource(url), connect_s=0.3)
        watch = live.Watch(job, parent.theirs)
        watch_of.append(watch)
        with pytest.raises(live.SourceError, match=r"no picture came within 0\.3 s") as caught:
            watch.run()
        assert caught.value.reason is SourceReason.TIMEOUT
        assert watch.reader_is_stuck()
    watch._reader.join(READ_S)
    parent.theirs.close()
    parent._thread.join(READ_S)
    parent.ours.close()
