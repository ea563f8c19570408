"""The fork server's own loop, spoken to over its socket; what the daemon makes of it is in test_forkserver."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.processes import children_of

from gateway.cameras.starting import environment

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[tuple[socket.socket, "subprocess.Popen[bytes]"]]:
    """Return a warm fork server and the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "gateway.cameras.forking", str(theirs.fileno()), str(threading.get_native_id())]
    given = {"pass_fds": (theirs.fileno(),), "env": environment(), "cwd": REPOSITORY}
    with ours, theirs, subprocess.Popen(command, **given) as process:
        theirs.close()
        ours.settimeout(30)
        assert "ready" in receive(ours)[0]
        yield ours, process
        ours.close()
        assert process.wait(timeout=20) == 0


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return the next message and what came with it."""
    data, handles, _, _ = socket.recv_fds(control, 4096, 1)
    return json.loads(data), handles


def ask(control: socket.socket, number: int, handles: list[int]) -> None:
    """Ask for a worker."""
    socket.send_fds(control, [json.dumps({"start": number}).encode()], handles)


def test_a_worker_is_started_named_and_reaped(server: tuple[socket.socket, "subprocess.Popen[bytes]"]) -> None:
    """The answer brings process id and handle; when the channel closes the worker ends and its status is told."""
    control, process = server
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ask(control, 7, [theirs.fileno(), 2])
        started, (handle,) = receive(control)
        assert started == {"started": 7, "pid": children_of(process.pid)[0]}
        signal.pidfd_send_signal(handle, 0)
        theirs.close()
    assert receive(control)[0] == {"ended": started["pid"], "status": 0}
    assert children_of(process.pid) == []
    os.close(handle)


def test_many_ends_at_once_are_all_told(server: tuple[socket.socket, "subprocess.Popen[bytes]"]) -> None:
    """Signals of children merge; their ends do not."""
    control, process = server
    for number in range(20):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ask(control, number, [theirs.fileno(), 2])
    told = [receive(control) for _ in range(40)]
    assert sorted(said["started"] for said, _ in told if "started" in said) == list(range(20))
    assert {said["status"] for said, _ in told if "ended" in said} == {0}
    for _, handles in told:
        for handle in handles:
            os.close(handle)
    assert children_of(process.pid) == []


def test_workers_are_ended_when_the_parent_hangs_up(server: tuple[socket.socket, "subprocess.Popen[bytes]"]) -> None:
    """The end of the socket is the end of the server and of its workers."""
    control, process = server
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ask(control, 0, [theirs.fileno(), 2])
        _, (handle,) = receive(control)
        control.close()
        assert process.wait(timeout=20) == 0
        with pytest.raises(ProcessLookupError):
            signal.pidfd_send_signal(handle, 0)
    os.close(handle)
