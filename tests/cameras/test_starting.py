"""How workers are started by exec, and ended."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from gateway.cameras.starting import Complaints, ExecWorkers, end_worker, environment
from gateway.errors import SourceError, SourceReason

SLEEP = ("-c", "import time; time.sleep(60)")
UNTIL_HANGUP = ("-c", "import socket, sys; sys.exit(len(socket.socket(fileno=int(sys.argv[1])).recv(1)))")


def test_the_worker_is_told_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment only what libraries need is handed on."""
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    told = environment()
    assert "secret" not in told.values()
    assert "CREDENTIALS_DIRECTORY" not in told
    assert told["ORT_DISABLE_TELEMETRY"] == told["OMP_NUM_THREADS"] == "1"


async def test_a_worker_is_killed_when_it_does_not_end_by_itself() -> None:
    """Patience has its end, and the process is reaped after it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = await ExecWorkers(SLEEP)(theirs, 2)
        assert await worker.exit_status(0.05) is None
        await end_worker(worker, patience_s=0.05)
        assert await worker.exit_status(0.0) == -signal.SIGKILL
    assert not Path(f"/proc/{worker.pid}").exists()  # noqa: ASYNC240


async def test_a_worker_is_not_killed_when_it_goes_in_time() -> None:
    """A hung-up channel is the sign to say farewell to the camera and end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = await ExecWorkers(UNTIL_HANGUP)(theirs, 2)
        ours.shutdown(socket.SHUT_RDWR)
        await end_worker(worker, patience_s=20.0)
        assert await worker.exit_status(0.0) == 0


async def test_a_worker_is_reaped_when_its_end_is_cancelled() -> None:
    """Also a cancellation amid the farewell leaves no process."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = await ExecWorkers(SLEEP)(theirs, 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await end_worker(worker, patience_s=60.0)
    assert not Path(f"/proc/{worker.pid}").exists()  # noqa: ASYNC240


async def test_a_start_is_refused_in_words_when_the_system_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator reads which limit to look at."""
    monkeypatch.setattr("gateway.cameras.starting.sys.executable", "/nowhere/python")
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(SourceError, match="no camera worker could be started: No such file") as caught:
        await ExecWorkers()(theirs, 2)
    assert caught.value.reason is SourceReason.CRASHED


def test_complaints_keep_the_last_line_when_there_are_many() -> None:
    """Chatter is bounded and control characters do not reach a terminal."""
    complaints = Complaints()
    assert complaints.last_line() == ""
    complaints.data_received(b"chatter\n" * 100_000)
    complaints.data_received(b"the \x1b[2Jend\n")
    assert complaints.last_line() == "the [2Jend"
