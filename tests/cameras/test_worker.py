"""The worker's own loop, run here over a socket pair, and its way out."""

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.recordings import background, make_clip, make_picture

from gateway.cameras import wire, worker
from gateway.cameras.jobs import FaceSettings, Job, PicturesJob, RecordingJob, to_json
from gateway.values import FrameFaces, SourceEnded, SourceOpened

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return twenty small frames without a face."""
    return make_clip(tmp_path_factory.mktemp("clip") / "wall.mp4", [background(160, 90)] * 20)


def messages_of(channel: socket.socket) -> Iterator[wire.Message]:
    """Yield what comes over a channel until it is closed."""
    with channel.makefile("rb") as stream:
        while prefix := stream.read(wire.PREFIX.size):
            header_bytes, payload_bytes = wire.sizes(prefix, max_faces=16)
            header, payload = stream.read(header_bytes), stream.read(payload_bytes)
            yield wire.unpack(header, payload, camera="lobby", max_faces=16)


def work(job: Job) -> list[wire.Message]:
    """Run a job in this process and return what it says."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs:
            worker._work(job, theirs)

    with ours:
        thread = threading.Thread(target=run)
        thread.start()
        said = list(messages_of(ours))
        thread.join(timeout=20)
    return said


def kinds(said: list[wire.Message]) -> list[str]:
    """Return the kinds of messages, runs of one kind once."""
    names = [type(message).__name__ for message in said]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def test_a_worker_says_that_it_is_ready_before_it_opens(clip: Path) -> None:
    """The first word comes once libraries and model are loaded, so that opening has its own deadline."""
    said = work(RecordingJob("lobby", clip))
    assert kinds(said) == ["Alive", "SourceOpened", "FrameFaces", "SourceEnded"]
    assert said[-1] == SourceEnded("lobby", 20, 0, 0)


def test_skipping_is_no_silence_when_nothing_is_looked_at(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each skipped frame is a sign of life, of which one a second is sent."""
    job = RecordingJob("lobby", clip, fps=1.0)
    few = [message for message in work(job) if isinstance(message, wire.Alive)]
    monkeypatch.setattr(worker, "ALIVE_EVERY_S", 0.0)
    all_of_them = [message for message in work(job) if isinstance(message, wire.Alive)]
    assert len(few) < len(all_of_them) == 20


def test_a_failure_is_told_with_who_must_act(tmp_path: Path, clip: Path) -> None:
    """What the operator named wrongly is not blamed on the camera."""
    assert work(RecordingJob("lobby", tmp_path / "none.mp4"))[-1] == wire.Failed(
        "source", f"{tmp_path / 'none.mp4'}: no such file or folder"
    )
    (failed,) = work(RecordingJob("lobby", clip, faces=FaceSettings(model=tmp_path / "none.onnx")))
    assert isinstance(failed, wire.Failed)
    assert failed.blame == "config"


def test_pictures_that_are_faces_need_no_model(tmp_path: Path) -> None:
    """No face is looked for, so a missing model is no hindrance."""
    paths = (make_picture(tmp_path / "a.png", background(40, 30)),)
    job = PicturesJob("lobby", paths, faces=FaceSettings(model=tmp_path / "none.onnx"), each_is_a_face=True)
    assert kinds(work(job)) == ["Alive", "FrameFaces", "SourceEnded"]


def _start(channel: socket.socket, parent: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "gateway.cameras.worker", str(channel.fileno()), str(parent)]
    return subprocess.Popen(command, pass_fds=(channel.fileno(),), stderr=subprocess.PIPE, cwd=REPOSITORY)


@pytest.mark.parametrize("sent", [b"", b"\0\0", struct.pack("!I", 100) + b"{"])
def test_a_worker_ends_quietly_when_its_parent_goes_before_the_job(sent: bytes) -> None:
    """A closed connection is no error of the worker's."""
    ours, theirs = socket.socketpair()
    with theirs, _start(theirs, threading.get_native_id()) as process:
        theirs.close()
        with ours:
            ours.sendall(sent)
        assert process.communicate(timeout=30) == (None, b"")
    assert process.returncode == 0


def test_a_worker_ends_quietly_when_nobody_listens_any_more(clip: Path) -> None:
    """It stops at the first message that cannot be sent."""
    ours, theirs = socket.socketpair()
    data = to_json(RecordingJob("lobby", clip))
    with theirs, _start(theirs, threading.get_native_id()) as process:
        theirs.close()
        with ours:
            ours.sendall(len(data).to_bytes(4, "big") + data)
        assert process.communicate(timeout=30) == (None, b"")
    assert process.returncode == 0


def test_a_worker_ends_at_once_when_its_parent_is_another(clip: Path) -> None:
    """A parent that died before the worker could ask to die with it is noticed."""
    ours, theirs = socket.socketpair()
    with ours, theirs, _start(theirs, 1) as process:
        assert process.communicate(timeout=30) == (None, b"")
    assert process.returncode == 0


def test_a_job_without_bounds_is_refused() -> None:
    """Even the parent's word has a limit of length."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(struct.pack("!I", wire.MAX_JOB_BYTES + 1))
        with pytest.raises(ValueError, match="a job of"):
            worker._receive_job(theirs)


def test_frames_of_a_recording_carry_their_number(clip: Path) -> None:
    """Numbers count all frames, also those that are skipped."""
    said = work(RecordingJob("lobby", clip, fps=5.0))
    assert [message.seq for message in said if isinstance(message, FrameFaces)] == [0, 5, 10, 15]
    assert sum(isinstance(message, SourceOpened) for message in said) == 1
