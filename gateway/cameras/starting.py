"""How a camera worker comes to life and goes: the seam between a source and whoever starts its process.

Two ways exist: by exec with a bare environment, here, and forked from a warm process, in `forkserver`.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Protocol

import gateway
from gateway.cameras.jobs import MAX_PIXELS
from gateway.errors import SourceError, SourceReason

WORKER = ("-m", "gateway.cameras.worker")
EXIT_S = 2.0

_STDERR_BYTES = 4096
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


class StartedWorker(Protocol):
    """A worker process and the right to end it, whoever is its parent."""

    @property
    def pid(self) -> int:
        """Its process id, for people to read: what it names may be gone."""
        ...

    @property
    def lost(self) -> str | None:
        """Why it was ended without a fault of its own, as a clause; None as long as it was not."""
        ...

    def kill(self) -> None:
        """End it at once; nothing happens when it has ended."""
        ...

    async def exit_status(self, within_s: float) -> int | None:
        """Return how it ended (negative: by which signal), or None when it has not in time or nobody knows."""
        ...

    def release(self) -> None:
        """Let go of what this process held for it. It was killed before."""
        ...


class StartWorker(Protocol):
    """Starts a worker that serves `channel` and complains to the descriptor `stderr`; the caller closes its own."""

    async def __call__(self, channel: socket.socket, stderr: int) -> StartedWorker:
        """Start it.

        Raises:
            SourceError: No process could be started.
        """
        ...


async def end_worker(worker: StartedWorker, *, patience_s: float = 0.0) -> None:
    """Kill a worker unless it ends within `patience_s` by itself; return when it is gone, at the latest after 2 s."""
    try:
        try:
            if patience_s > 0:
                await worker.exit_status(patience_s)
        finally:
            worker.kill()
            await worker.exit_status(EXIT_S)
    finally:
        worker.release()


def start_python(
    program: Sequence[str], channel: socket.socket, stderr: int, *, variables: dict[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a Python program of ours with a bare environment, a session of its own, and no descriptors but these two.

    It is told the number of the channel and the process id of its parent.

    Raises:
        SourceError: The system starts no more processes.
    """
    command = [sys.executable, "-P", *program, str(channel.fileno()), str(os.getpid())]
    try:
        return subprocess.Popen(
            command,
            env={**environment(), **(variables or {})},
            pass_fds=(channel.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        text = f"no camera worker could be started: {error.strerror}; look at the limits of processes"
        raise SourceError(text, SourceReason.CRASHED) from None


def environment() -> dict[str, str]:
    """Return what a worker may know: where its libraries are, one thread each, limits; no secrets."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    threads = dict.fromkeys(_ONE_THREAD, "1")
    limits = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS), "OPENCV_LOG_LEVEL": "ERROR", "ORT_DISABLE_TELEMETRY": "1"}
    # -P keeps the current folder out of the search path; this puts our own package there, wherever it was found.
    return {**kept, **threads, **limits, "PYTHONPATH": str(Path(gateway.__file__).parents[1])}


class ExecWorkers:
    """Starts every worker as a new Python, as far from the parent as can be; `program` is what it runs."""

    def __init__(self, program: Sequence[str] = WORKER) -> None:
        self._program = program

    async def __call__(self, channel: socket.socket, stderr: int) -> StartedWorker:
        """Start a worker; takes about a second of imports before its first word."""
        return _ExecWorker(start_python(self._program, channel, stderr))


class _ExecWorker:
    """A child of this process, which therefore also has to reap it."""

    lost = None

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()

    async def exit_status(self, within_s: float) -> int | None:
        return await exit_status(self._process, within_s)

    def release(self) -> None:
        # Gone already, unless the wait was cancelled: then this blocks for the milliseconds that a killed one takes.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=EXIT_S)


async def exit_status(process: "subprocess.Popen[bytes]", within_s: float) -> int | None:
    """Return how a child of this process ended, or None when it has not in time."""
    if process.poll() is not None:
        return process.returncode
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    handle = os.pidfd_open(process.pid)
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(within_s):
            await ended.wait()
    except TimeoutError:
        return None
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return process.poll()


class Complaints(asyncio.Protocol):
    """Keeps the end of what a process writes to stderr; the libraries in it may chatter without bounds."""

    def __init__(self) -> None:
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """Take what was written."""
        self._tail = (self._tail + data)[-_STDERR_BYTES:]

    def last_line(self) -> str:
        """Return the last line that was written, printable and short."""
        lines = self._tail.decode("utf-8", errors="replace").strip().splitlines()
        line = lines[-1] if lines else ""
        return "".join(letter for letter in line if letter.isprintable())[:300]


async def listen(stack: AsyncExitStack) -> tuple[Complaints, int]:
    """Return who keeps the complaints of a process, and the descriptor to which it may write them."""
    complaints = Complaints()
    reading, writing = os.pipe()
    try:
        stream = stack.enter_context(os.fdopen(reading, "rb", buffering=0))
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: complaints, stream)
    except BaseException:
        os.close(writing)
        raise
    stack.callback(pipe.close)
    return complaints, writing
