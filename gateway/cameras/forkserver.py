"""The daemon's side of the fork server: workers within milliseconds, and the end of every one of them.

The server process is started by exec and is restarted when it dies, with the next worker that is asked for; its workers
die with it. Nothing here blocks the loop, and nothing is waited for without a deadline.
"""

import asyncio
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

import structlog

from gateway.cameras.patience import within
from gateway.cameras.sandbox import SandboxReport
from gateway.cameras.starting import EXIT_S, Complaints, StartedWorker, exit_status, listen, start_python
from gateway.errors import SourceError, SourceReason

if TYPE_CHECKING:
    from subprocess import Popen

SERVER = ("-m", "gateway.cameras.forking")

_MAX_MESSAGE_BYTES = 4096

# Pictures go back to the system when they are done with, and threads share one heap: 20 MB less for each camera.
_LITTLE_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "1"}
_LOST = "went down with the fork server, which is started again"

_log = structlog.get_logger()


class ForkServer:
    """Starts workers; to be entered once, in the main thread, since workers live no longer than the thread that did.

    `starting_s` bounds the wait for one worker, `warming_s` the same for a server that is still loading its libraries.
    A server that does not answer in time is killed.
    """

    def __init__(self, program: Sequence[str] = SERVER, *, starting_s: float = 5.0, warming_s: float = 30.0) -> None:
        self._program, self._starting_s, self._warming_s = program, starting_s, warming_s
        self._process: _Process | None = None
        self._changing = asyncio.Lock()
        self._is_open = False
        self.restarts = 0

    async def __aenter__(self) -> Self:
        """Start the server; it warms up while others go on."""
        self._is_open = True
        self._process = await _Process.begin(self._program)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the server and every worker that is left."""
        self._is_open = False
        async with self._changing:
            if self._process is not None:
                await self._process.close()

    @property
    def pid(self) -> int | None:
        """The server's process id, None while there is none."""
        return None if self._process is None or self._process.is_lost else self._process.pid

    @property
    def sandbox(self) -> SandboxReport | None:
        """What confines the workers, once the server is warm."""
        return None if self._process is None else self._process.sandbox

    async def __call__(self, channel: socket.socket, stderr: int) -> StartedWorker:
        """Start a worker, and before it a new server if the last one has died.

        Raises:
            SourceError: None could be started in time.
        """
        process = await self._running()
        deadline_s = self._starting_s if process.sandbox is not None else self._warming_s
        return await process.start([channel.fileno(), stderr], within_s=deadline_s)

    async def _running(self) -> "_Process":
        async with self._changing:
            if not self._is_open:
                raise SourceError("no camera worker is started any more: the gateway ends", SourceReason.ENDED)
            if self._process is None or self._process.is_lost:
                if self._process is not None:
                    await self._process.close()
                self.restarts += 1
                self._process = await _Process.begin(self._program)
                _log.info("fork_server_restarted", restarts=self.restarts, pid=self._process.pid)
            return self._process


class _Process:
    """One running server: what it was asked, and the workers that it has."""

    def __init__(
        self,
        process: "Popen[bytes]",
        control: socket.socket,
        complaints: Complaints,
        resources: AsyncExitStack,
    ) -> None:
        self._process, self._control, self._complaints, self._resources = process, control, complaints, resources
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[_Worker]] = {}
        self._workers: dict[int, _Worker] = {}
        self._sending = asyncio.Lock()
        self._since_s = time.monotonic()
        self.sandbox: SandboxReport | None = None
        self.is_lost = False
        self._is_closing = False
        self._loop.add_reader(control, self._receive)

    @classmethod
    async def begin(cls, program: Sequence[str]) -> "_Process":
        async with AsyncExitStack() as stack:
            ours, theirs = (
                stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            )
            ours.setblocking(False)  # noqa: FBT003
            complaints, stderr = await listen(stack)
            try:
                process = start_python(program, theirs, stderr, variables=_LITTLE_MEMORY)
            finally:
                os.close(stderr)
                theirs.close()
            return cls(process, ours, complaints, stack.pop_all())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def start(self, handles: list[int], *, within_s: float) -> StartedWorker:
        number = next(self._numbers)
        answer: asyncio.Future[_Worker] = self._loop.create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(within_s):
                await self._ask({"start": number}, handles)
            return await within(within_s, lambda: asyncio.shield(answer))
        except TimeoutError:
            del self._asked[number]
            self._lose(f"it did not answer for {within_s:g} s")
            raise SourceError("no camera worker could be started: the fork server hangs", SourceReason.HUNG) from None
        except asyncio.CancelledError:
            if answer.done() and not answer.exception():
                answer.result().discard()
            raise
        finally:
            self._asked.pop(number, None)
            if answer.done():
                answer.exception()  # it may have been told in another way already

    async def close(self) -> None:
        """End the server, which ends its workers; both are gone after this, at the latest after 4 s."""
        self._is_closing = True
        # One that still loads its libraries hears nothing for seconds, and has no worker that it would have to end.
        self._lose("it is asked to end", kill=self.sandbox is None)
        try:
            await exit_status(self._process, EXIT_S)
        finally:
            self._process.kill()
            await exit_status(self._process, EXIT_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(EXIT_S):
                    for worker in tuple(self._workers.values()):
                        await worker.exit_status(EXIT_S)
            await self._resources.aclose()

    async def _ask(self, request: dict[str, Any], handles: list[int]) -> None:
        async with self._sending:
            while True:
                if self.is_lost:
                    raise _no_server()
                try:
                    socket.send_fds(self._control, [json.dumps(request).encode("ascii")], handles)
                except BlockingIOError:
                    await self._writable()
                except OSError:
                    self._lose("it hung up")
                else:
                    return

    async def _writable(self) -> None:
        free = asyncio.Event()
        self._loop.add_writer(self._control, free.set)
        try:
            await free.wait()
        finally:
            if not self.is_lost:
                self._loop.remove_writer(self._control)

    def _receive(self) -> None:
        """Take every message that is there; an empty one is the end."""
        while not self.is_lost:
            try:
                data, handles, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, handles = b"", []
            if not data:
                self._lose("it died")
                return
            self._take(json.loads(data), handles)

    def _take(self, message: dict[str, Any], handles: list[int]) -> None:
        match message:
            case {"ready": {"landlock_version": version, "missing": missing}}:
                self.sandbox = SandboxReport(version, tuple(missing))
                warm_s = round(time.monotonic() - self._since_s, 2)
                _log.info("fork_server_ready", pid=self.pid, warm_s=warm_s, sandbox=self.sandbox.in_words())
            case {"started": number, "pid": pid} if handles:
                self._started(number, _Worker(pid, handles[0], self._loop))
            case {"started": number}:
                # It could not be handed over. It ends by itself: the caller closes its channel.
                self._refused(number, "this process can hold no more descriptors")
            case {"refused": number, "reason": reason}:
                self._refused(number, reason)
            case {"ended": pid, "status": status}:
                worker = self._workers.pop(pid, None)
                if worker is not None:
                    worker.has_ended(status)

    def _started(self, number: int, worker: "_Worker") -> None:
        self._workers[worker.pid] = worker
        answer = self._asked.get(number)
        if answer is None or answer.done():
            worker.discard()
        else:
            answer.set_result(worker)

    def _refused(self, number: int, reason: str) -> None:
        answer = self._asked.get(number)
        if answer is not None and not answer.done():
            text = f"no camera worker could be started: {reason}; look at the limits of processes, files and memory"
            answer.set_exception(SourceError(text, SourceReason.CRASHED))

    def _lose(self, how: str, *, kill: bool = True) -> None:
        """Give the server up with all that it has; the next start begins a new one."""
        if self.is_lost:
            return
        self.is_lost = True
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._control.close()
        if kill:
            self._process.kill()
        if not self._is_closing:
            said = self._complaints.last_line()
            _log.error("fork_server_lost", pid=self.pid, how=how, workers=len(self._workers), said=said)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(_no_server())
        for worker in self._workers.values():
            worker.orphan()


def _no_server() -> SourceError:
    return SourceError("no camera worker could be started: the fork server died", SourceReason.CRASHED)


class _Worker:
    """A worker of the server's; the handle names this process and no later one of the same number."""

    def __init__(self, pid: int, handle: int, loop: asyncio.AbstractEventLoop) -> None:
        self.pid, self._handle, self._loop = pid, handle, loop
        self._status: asyncio.Future[int | None] = loop.create_future()
        self.lost: str | None = None

    def kill(self) -> None:
        if self._handle >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def exit_status(self, within_s: float) -> int | None:
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(self._status)
        except TimeoutError:
            return None

    def release(self) -> None:
        if self._handle >= 0:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """End a worker that nobody waits for any more."""
        self.kill()
        self.release()

    def has_ended(self, status: int | None) -> None:
        if not self._status.done():
            self._status.set_result(status)

    def orphan(self) -> None:
        """Its server has gone: end it, and see with our own eyes that it is."""
        self.lost = _LOST
        if self._handle < 0:
            self.has_ended(None)
            return
        self.kill()
        self._loop.add_reader(self._handle, self._is_gone)

    def _is_gone(self) -> None:
        self._loop.remove_reader(self._handle)
        # Where this process is the first of a container, orphans become its children.
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG)
        self.has_ended(None)
