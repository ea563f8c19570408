"""The fork server: `python -m gateway.cameras.forking FD PARENT_PID`, a warm process that turns into camera workers.

It has loaded what a worker needs and has one thread, so a fork of it is a worker within milliseconds. It opens nothing
from outside. It serves one socket until that is closed: a request brings the channel and the stderr of a worker, the
answer its process id and a handle of it; each end of a worker is told. Its workers die with it, and it with its parent.
"""

import errno
import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from gateway.cameras import worker
from gateway.cameras.faces import centerface_path
from gateway.cameras.sandbox import offer_to_be_killed_first, probe_sandbox, tie_to_parent
from gateway.errors import ConfigError

MAX_MESSAGE_BYTES = 4096

_CHANNEL, _STDERR = 3, 2


def main(arguments: list[str]) -> int:
    """Serve; in a worker, do its work instead."""
    control, parent_pid = socket.socket(fileno=int(arguments[0])), int(arguments[1])
    offer_to_be_killed_first()  # its workers inherit it, and may not be allowed to ask for it themselves
    tie_to_parent(parent_pid)
    _warm_up()
    own_pid = os.getpid()
    channel = Server(control).serve()
    if channel is None:
        return 0
    return worker.run(channel, parent_pid=own_pid)


def _warm_up() -> None:
    import onnxruntime  # noqa: F401, PLC0415  (it may take a second, and some workers need it)

    with suppress(ConfigError, OSError):  # another model may be named; if not, the worker says what is missing
        centerface_path().read_bytes()  # so that it lies in the system's memory for everyone
    # What lives now lives for ever: no collection in a worker needs to touch, and so copy, its pages.
    gc.collect()
    gc.freeze()


class Server:
    """Forks, reaps and tells, in one thread."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: set[int] = set()
        self._waking, self._woken = os.pipe()

    def serve(self) -> socket.socket | None:
        """Return None when the parent hangs up; in every worker, its channel."""
        for handle in (self._waking, self._woken):
            os.set_blocking(handle, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        self._tell({"ready": _as_fields()})
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        waiting.register(self._waking, select.POLLIN)
        while True:
            ready = {handle for handle, _ in waiting.poll()}
            if self._waking in ready:
                self._reap()
            if self._control.fileno() in ready:
                data, handles, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 2)
                if not data:
                    self._end()
                    return None
                channel = self._start(json.loads(data), handles)
                if channel is not None:
                    return channel

    def _start(self, request: dict[str, Any], handles: list[int]) -> socket.socket | None:
        """Fork; return the channel in the worker, None in the server."""
        try:
            pid = _fork()
        except OSError as error:
            self._tell({"refused": request["start"], "reason": str(error.strerror)})
        else:
            if pid == 0:
                return self._become_worker(*handles)
            self._workers.add(pid)
            process = os.pidfd_open(pid)
            self._tell({"started": request["start"], "pid": pid}, [process])
            os.close(process)
        for handle in handles:
            os.close(handle)
        return None

    def _become_worker(self, channel: int, stderr: int) -> socket.socket:
        """Let go of everything of the server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        self._control.detach()
        os.dup2(stderr, _STDERR)
        os.dup2(channel, _CHANNEL)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) > _CHANNEL:
                with suppress(OSError):  # the one that was listed with
                    os.close(int(name))
        return socket.socket(fileno=_CHANNEL)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._waking, 512):
                pass
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._workers.discard(pid)
            self._tell({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any], handles: list[int] | None = None) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the parent has gone: the next read says so
            socket.send_fds(self._control, [json.dumps(message).encode("ascii")], handles or [])

    def _end(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        for pid in self._workers:
            os.waitpid(pid, 0)


def _fork() -> int:
    """Fork.

    Raises:
        OSError: The system refuses, or a library has started a thread: a fork could copy a lock that it holds.
    """
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if threads != 1:
        raise OSError(errno.EDEADLK, f"the fork server has {threads} threads")
    return os.fork()


def _as_fields() -> dict[str, Any]:
    report = probe_sandbox()
    return {"landlock_version": report.landlock_version, "missing": list(report.missing)}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
