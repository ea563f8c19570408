"""The parent's side of a camera worker: start it, check what it says, end it.

One child process per source parses everything untrusted. It is started by exec with a bare environment, and killed and
reaped when the source is left, for whatever reason. Nothing is lost: the worker blocks while the parent is busy.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import gateway
from gateway.cameras import wire
from gateway.cameras.jobs import MAX_PIXELS, CameraJob, FaceSettings, Injection, Job, PicturesJob, RecordingJob, to_json
from gateway.errors import ConfigError, SourceError
from gateway.values import FrameFaces, PictureRefused, SourceEnded, SourceEvent, SourceOpened

__all__ = ["Deadlines", "FaceSettings", "Injection", "Job", "PicturesJob", "RecordingJob", "open_source"]

WORKER = ("-m", "gateway.cameras.worker")

_READ_BUFFER_BYTES = 256 * 1024
_STDERR_BYTES = 4096
_EXIT_S = 2.0
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a worker may be silent: until its first word (it loads libraries and the model), and between later ones.

    A worker that skips frames says so once a second, so silence is a single picture that takes that long, or a hang. No
    timer sends these signs of life: one that runs by itself would prove nothing.
    """

    opening_s: float = 20.0
    silence_s: float = 30.0


def open_source(
    job: Job, *, deadlines: Deadlines | None = None, program: Sequence[str] = WORKER
) -> AbstractAsyncContextManager[AsyncIterator[SourceEvent]]:
    """Return a source to enter: an iterator of its events, owning one worker process until it is left.

    `program` is what the Python of the worker runs; it is told a file descriptor and the parent's process id.

    A recording yields SourceOpened, one FrameFaces per looked-at frame, SourceEnded; a folder of pictures also a
    PictureRefused for each one that cannot be read. Pictures yield exactly one FrameFaces or PictureRefused each, in
    order, then SourceEnded.

    Raises:
        SourceError: The source cannot be read, or its worker crashed, hung or broke the rules; while iterating.
        ConfigError: The face model or the trigger cannot be used.
    """
    return _open_source(job, deadlines or Deadlines(), program)


@asynccontextmanager
async def _open_source(
    job: Job, deadlines: Deadlines, program: Sequence[str]
) -> AsyncIterator[AsyncIterator[SourceEvent]]:
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.enter_context(ours)
        with theirs:
            process = _start(theirs, program)
        stack.callback(_end, process)
        stderr = stack.enter_context(cast("IO[bytes]", process.stderr))
        ours.setblocking(False)  # noqa: FBT003
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_READ_BUFFER_BYTES)
        stack.callback(writer.transport.abort)
        complaints = _Complaints()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: complaints, stderr)
        stack.callback(pipe.close)
        data = to_json(job)
        writer.write(len(data).to_bytes(4, "big") + data)
        yield _Events(job, deadlines, reader, process, complaints)


def _start(theirs: socket.socket, program: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the worker.

    Raises:
        SourceError: The system starts no more processes.
    """
    command = [sys.executable, "-P", *program, str(theirs.fileno()), str(os.getpid())]
    try:
        return subprocess.Popen(
            command,
            env=_environment(),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise SourceError(
            f"no camera worker could be started: {error.strerror}; look at the limits of processes"
        ) from None


def _environment() -> dict[str, str]:
    """Return what a worker may know: where its libraries are, one thread each, limits; no secrets."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    threads = dict.fromkeys(_ONE_THREAD, "1")
    limits = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS), "OPENCV_LOG_LEVEL": "ERROR", "ORT_DISABLE_TELEMETRY": "1"}
    # -P keeps the current folder out of the search path; this puts our own package there, wherever it was found.
    return {**kept, **threads, **limits, "PYTHONPATH": str(Path(gateway.__file__).parents[1])}


def _end(process: subprocess.Popen[bytes]) -> None:
    # Blocking on purpose: a killed process is gone within milliseconds, and no cancellation may come in between.
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_EXIT_S)


class _Complaints(asyncio.Protocol):
    """Keeps the end of what a worker writes to stderr; the libraries in it may chatter without bounds."""

    def __init__(self) -> None:
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_STDERR_BYTES:]

    def last_line(self) -> str:
        lines = self._tail.decode("utf-8", errors="replace").strip().splitlines()
        line = lines[-1] if lines else ""
        return "".join(letter for letter in line if letter.isprintable())[:300]


class _Events:
    """The checked events of one worker, in order; ends after SourceEnded. A read that is cancelled ends the source."""

    def __init__(
        self,
        job: Job,
        deadlines: Deadlines,
        reader: asyncio.StreamReader,
        process: subprocess.Popen[bytes],
        complaints: _Complaints,
    ) -> None:
        self._job, self._deadlines, self._reader = job, deadlines, reader
        self._process, self._complaints = process, complaints
        self._order = Order(job)
        self._deadline_s = deadlines.opening_s
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[SourceEvent]:
        return self

    async def __anext__(self) -> SourceEvent:
        if self._is_over:
            raise StopAsyncIteration
        try:
            event = await self._next()
        except BaseException:
            self._is_over = True
            self._process.kill()
            raise
        self._is_over = isinstance(event, SourceEnded)
        return event

    async def _next(self) -> SourceEvent:
        while True:
            try:
                message = await self._message()
                if isinstance(message, wire.Failed):
                    raise _failure(message)
                if not isinstance(message, wire.Alive):
                    self._order.check(message)
                    return message
            except wire.WireError as error:
                raise SourceError(f"{self._where()}: its worker was stopped: it sent {error}") from None

    async def _message(self) -> wire.Message:
        try:
            async with asyncio.timeout(self._deadline_s):
                message = await self._read()
        except TimeoutError:
            raise SourceError(f"{self._where()}: its worker did not answer for {self._deadline_s:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise SourceError(f"{self._where()}: {await self._epitaph()}") from None
        self._deadline_s = self._deadlines.silence_s
        return message

    async def _read(self) -> wire.Message:
        limit = self._job.faces.max_faces
        prefix = await self._reader.readexactly(wire.PREFIX.size)
        header_bytes, payload_bytes = wire.sizes(prefix, max_faces=limit)
        header = await self._reader.readexactly(header_bytes)
        payload = await self._reader.readexactly(payload_bytes)
        return wire.unpack(header, payload, camera=self._job.camera, max_faces=limit)

    async def _epitaph(self) -> str:
        match await _exit_status(self._process):
            case None:
                how = "its worker fell silent for ever"
            case status if status < 0:
                how = f"its worker was ended by {signal.Signals(-status).name}; the file may be made to crash decoders"
            case status:
                how = f"its worker ended with status {status}"
        line = self._complaints.last_line()
        return f"{how} ({line})" if line else how

    def _where(self) -> str:
        return self._order.where()


class Order:
    """Holds a worker to the order and the sums of its events."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._count = len(job.paths) if isinstance(job, PicturesJob) else None
        self._is_opened = isinstance(job, PicturesJob)
        self._next_seq = self._frames = 0
        self._last_s = float("-inf")

    def check(self, event: SourceEvent) -> None:
        """Take the next event.

        Raises:
            WireError: It must not come here.
        """
        if isinstance(event, SourceOpened) is self._is_opened:
            raise wire.WireError("an event out of order")
        self._is_opened = True
        if isinstance(event, FrameFaces | PictureRefused):
            self._check_seq(event.seq)
        if isinstance(event, FrameFaces):
            self._check_time(event.captured_at_s)
        if isinstance(event, SourceEnded):
            self._check_sums(event)

    def _check_seq(self, seq: int) -> None:
        if seq < self._next_seq or (self._count is not None and not seq == self._next_seq < self._count):
            raise wire.WireError("a frame out of order")
        self._next_seq = seq + 1

    def _check_time(self, time_s: float) -> None:
        if time_s < self._last_s and not isinstance(self._job, CameraJob):
            raise wire.WireError("a time that runs backwards")
        self._frames, self._last_s = self._frames + 1, time_s

    def _check_sums(self, ended: SourceEnded) -> None:
        if ended.frames_looked_at != self._frames or (self._count is not None and self._next_seq != self._count):
            raise wire.WireError("an end whose sums are wrong")

    def where(self) -> str:
        """Return the file that is being read."""
        if isinstance(self._job, RecordingJob):
            return str(self._job.path)
        if isinstance(self._job, CameraJob):
            return self._job.camera
        paths = self._job.paths
        return str(paths[min(self._next_seq, len(paths) - 1)]) if paths else self._job.camera


def _failure(failed: wire.Failed) -> ConfigError | SourceError:
    return ConfigError(failed.reason) if failed.blame == "config" else SourceError(failed.reason, failed.code)


async def _exit_status(process: subprocess.Popen[bytes]) -> int | None:
    """Return how a process ended, or None when it has not within `_EXIT_S`."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    handle = os.pidfd_open(process.pid)
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(_EXIT_S):
            await ended.wait()
    except TimeoutError:
        return None
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return process.poll()
