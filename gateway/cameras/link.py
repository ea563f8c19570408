"""The parent's side of a camera worker: have it started, check what it says, end it.

One child process per source parses everything untrusted. It is killed and reaped when the source is left, for whatever
reason. Nothing of a recording is lost: its worker blocks while the parent is busy.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from gateway.cameras import asked, wire
from gateway.cameras.addresses import with_address
from gateway.cameras.jobs import (
    CameraJob,
    FaceSettings,
    Injection,
    Job,
    PeerSource,
    PicturesJob,
    RecordingJob,
    to_json,
)
from gateway.cameras.lines import Called, Line, Lines
from gateway.cameras.order import Order
from gateway.cameras.patience import within
from gateway.cameras.starting import EXIT_S, Complaints, ExecWorkers, StartedWorker, StartWorker, end_worker, listen
from gateway.errors import ConfigError, SourceError, SourceReason
from gateway.values import SourceEnded, SourceEvent, SourceOpened, SourceWaiting

__all__ = ["CameraJob", "Deadlines", "FaceSettings", "Injection", "Job", "PicturesJob", "RecordingJob", "open_source"]

_READ_BUFFER_BYTES = 256 * 1024

# A camera's worker tells its own time-outs, so what comes later than these margins is a worker that hangs. Both keep a
# hung one offline within 3 s at the default of `stall_s`.
_CONNECT_MARGIN_S = 2.0
_STALL_MARGIN_S = 1.25
_FAREWELL_S = 0.5


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a worker may be silent: until its first word, until the source is open, and between later words.

    Before its first word it loads libraries and the model.
    A worker that skips frames says so once a second, so silence is a single picture that takes that long, or a hang. No
    timer sends these signs of life: one that runs by itself would prove nothing.
    """

    opening_s: float = 20.0
    connecting_s: float = 30.0
    silence_s: float = 30.0


def deadlines_of(job: Job) -> Deadlines:
    """Return the deadlines that follow from a job: a camera's are its own plus a margin for the worker."""
    if isinstance(job, CameraJob):
        return Deadlines(connecting_s=job.connect_s + _CONNECT_MARGIN_S, silence_s=job.stall_s + _STALL_MARGIN_S)
    return Deadlines()


def open_source(
    job: Job, *, deadlines: Deadlines | None = None, start: StartWorker | None = None, lines: Lines | None = None
) -> AbstractAsyncContextManager[AsyncIterator[SourceEvent]]:
    """Return a source to enter: an iterator of its events, owning one worker process until it is left.

    `start` is who starts that process: a new Python unless something else is given. `lines` knows the worker of a
    camera while it lives, for those who ask it something.

    A recording yields SourceOpened, one FrameFaces per looked-at frame, SourceEnded; a folder of pictures also a
    PictureRefused for each one that cannot be read. Pictures yield exactly one FrameFaces or PictureRefused each, in
    order, then SourceEnded. A camera yields SourceOpened, then FrameFaces and about once a second SourceProgress, until
    it fails. On leaving it the worker has half a second to tell the camera.

    Raises:
        SourceError: The source cannot be read, or its worker crashed, hung or broke the rules; also while iterating.
        ConfigError: The face model or the trigger cannot be used.
    """
    return _open_source(job, deadlines or deadlines_of(job), start or ExecWorkers(), lines or Lines())


@asynccontextmanager
async def _open_source(
    job: Job, deadlines: Deadlines, start: StartWorker, lines: Lines
) -> AsyncIterator[AsyncIterator[SourceEvent]]:
    if isinstance(job, CameraJob):
        job = await with_address(job)
    async with contextlib.AsyncExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        ours.setblocking(False)  # noqa: FBT003
        complaints, stderr = await listen(stack)
        try:
            worker = await start(theirs, stderr)
        finally:
            os.close(stderr)
            theirs.close()
        patience_s = _FAREWELL_S if isinstance(job, CameraJob) else 0.0
        stack.push_async_callback(end_worker, worker, patience_s=patience_s)
        stack.callback(_hang_up, ours)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_READ_BUFFER_BYTES)
        stack.callback(writer.transport.abort)
        data = to_json(job)
        writer.write(len(data).to_bytes(4, "big") + data)
        events = _Events(job, deadlines, reader, worker, complaints)
        if isinstance(job, CameraJob):
            line = Line(writer.write)
            events.desk = desk = _Desk(job, stack.enter_context(lines.connected(job.camera, line)), lines)
            stack.push_async_callback(desk.leave)
        yield events


def _hang_up(ours: socket.socket) -> None:
    with contextlib.suppress(OSError):
        ours.shutdown(socket.SHUT_RDWR)


class _Desk:
    """Takes what a camera's worker says beside its events to whoever asked for it."""

    def __init__(self, job: CameraJob, line: Line, lines: Lines) -> None:
        self._job, self._line, self._lines = job, line, lines
        self._has_called = False
        self._called: Called | None = None

    async def leave(self) -> None:
        """Take leave of the server that was called."""
        if self._called is not None:
            await self._called.leave()

    async def take(self, message: wire.Aside) -> None:
        """Hand a message on.

        Raises:
            WireError: Nobody asked for it.
            SourceError: The server that is called does not take the worker's offer.
        """
        match message:
            case wire.Answered() | wire.Declined():
                self._line.take(message)
            case wire.Preview():
                self._lines.show(self._job.camera, message)
            case wire.Calling(sdp):
                self._line.send(asked.pack(asked.RemoteAnswer(await self._call(sdp))))

    async def _call(self, sdp: bytes) -> bytes:
        source = self._job.source
        if not (isinstance(source, PeerSource) and source.calls) or self._has_called or self._lines.call is None:
            raise wire.WireError("an offer to nobody")
        self._has_called = True
        self._called = await self._lines.call(source, sdp)
        return self._called.sdp


class _Events:
    """The checked events of one worker, in order; ends after SourceEnded. A read that is cancelled ends the source."""

    def __init__(
        self,
        job: Job,
        deadlines: Deadlines,
        reader: asyncio.StreamReader,
        worker: StartedWorker,
        complaints: Complaints,
    ) -> None:
        self._job, self._deadlines, self._reader = job, deadlines, reader
        self._worker, self._complaints = worker, complaints
        self._order = Order(job)
        self.desk: _Desk | None = None
        self._parts: list[bytes] = []
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
            self._worker.kill()
            raise
        self._is_over = isinstance(event, SourceEnded)
        return event

    async def _next(self) -> SourceEvent:
        while True:
            try:
                message = await self._message()
                now_s = time.monotonic()
                if isinstance(message, wire.Aside):
                    await self._set_aside(message, now_s)
                    continue
                self._order.hear(now_s)
                if isinstance(message, wire.Failed):
                    raise _failure(message)
                if not isinstance(message, wire.Alive):
                    self._order.check(message, now_s=now_s)
                    if self._order.is_opened or isinstance(message, SourceWaiting):
                        return message
            except wire.WireError as error:
                raise self._error(f"was stopped: it sent {error}") from None

    async def _set_aside(self, message: wire.Aside, now_s: float) -> None:
        if not isinstance(message, wire.Answered | wire.Declined):  # of these there are no more than are asked for
            self._order.hear(now_s)
        if self.desk is None:
            raise wire.WireError("an answer to nothing")
        await self.desk.take(message)

    async def _message(self) -> wire.Message:
        try:
            message = await within(self._deadline_s, self._read)
        except TimeoutError:
            raise self._error(f"did not answer for {self._deadline_s:g} s", SourceReason.HUNG) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise self._error(await self._epitaph()) from None
        is_open = self._order.is_opened or isinstance(message, SourceOpened)
        self._deadline_s = self._deadlines.silence_s if is_open else self._deadlines.connecting_s
        return message

    async def _read(self) -> wire.Message:
        limit = self._job.faces.max_faces
        header_bytes, payload_bytes = wire.sizes(await self._part(0, wire.PREFIX.size), max_faces=limit)
        header, payload = await self._part(1, header_bytes), await self._part(2, payload_bytes)
        self._parts.clear()
        return wire.unpack(header, payload, camera=self._job.camera, max_faces=limit)

    async def _part(self, number: int, length: int) -> bytes:
        """Return a part of the message that is being read; a read that was cancelled has lost none."""
        if number == len(self._parts):
            self._parts.append(await self._reader.readexactly(length))
        return self._parts[number]

    async def _epitaph(self) -> str:
        status = await self._worker.exit_status(EXIT_S)
        how = self._worker.lost or _death(status)
        line = self._complaints.last_line()
        return f"{how} ({line})" if line else how

    def _error(self, how: str, reason: SourceReason = SourceReason.CRASHED) -> SourceError:
        return SourceError(f"{self._order.where()}: its worker {how}", reason)


def _death(status: int | None) -> str:
    """Return in words how a worker ended that was not asked to."""
    if status is None:
        return "fell silent for ever"
    if status >= 0:
        return f"ended with status {status}"
    if -status == signal.SIGSYS:
        return "was ended by SIGSYS: it tried what decoding never needs; what it was sent may be made to take it over"
    if -status == signal.SIGKILL:
        return "was ended by SIGKILL: by somebody, or by the system for want of memory, which dmesg tells"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-status, -status)}; what it was sent may be made to crash decoders"


def _failure(failed: wire.Failed) -> ConfigError | SourceError:
    return ConfigError(failed.reason) if failed.blame == "config" else SourceError(failed.reason, failed.code)
