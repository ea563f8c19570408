"""The state file as the event loop sees it: work goes in, its result comes back when the commit is on the disk."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import structlog

from gateway.errors import StorageError
from gateway.settings import OutboxSettings
from gateway.storage.database import Connect, Connection, Degraded, connect
from gateway.storage.lock import hold
from gateway.storage.writer import Answer, Call, Writer

DEADLINE_S = 30.0
_CLOSE_S = 10.0

T = TypeVar("T")

_log = structlog.get_logger()


class Storage:
    """The durable state of one box. For the event loop that opened it.

    `on_health` is called on that loop with each new state of the disk: why nothing can be written, or None.
    """

    def __init__(self, folder: Path, settings: OutboxSettings, connect: Connect) -> None:
        self.folder = folder
        self._on_health: Callable[[Degraded | None], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(
            folder,
            connect=connect,
            reserve_bytes=settings.reserve_bytes,
            answer=partial(self._call_soon, _settle),
            announce=partial(self._call_soon, self._tell),
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, *, settings: OutboxSettings | None = None, connect: Connect = connect
    ) -> AsyncIterator[Self]:
        """Open the state file of a folder, which is made if it is missing; leaving writes what waits and closes it.

        Raises:
            StorageError: The folder cannot be used, or another gateway uses it.
        """
        with hold(folder):
            storage = cls(folder, settings or OutboxSettings(), connect)
            try:
                await asyncio.wrap_future(storage._writer.start())
                yield storage
            finally:
                # In a thread: closing waits for the disk.
                if not await asyncio.to_thread(storage._writer.close, _CLOSE_S):
                    _log.error("storage_hangs", folder=str(folder), waited_s=_CLOSE_S)

    @property
    def degraded(self) -> Degraded | None:
        """Why nothing can be written now, or None."""
        return self._writer.degraded

    @property
    def on_health(self) -> Callable[[Degraded | None], None] | None:
        """Who is told; a disk that was not well before anybody listened is told at once."""
        return self._on_health

    @on_health.setter
    def on_health(self, tell: Callable[[Degraded | None], None]) -> None:
        self._on_health = tell
        if self.degraded is not None:
            self._loop.call_soon(self._tell, self.degraded)

    def when_full(self, relief: Callable[[Connection], bool]) -> None:
        """Name the work that makes some room on a full disk; it returns whether it found any."""
        self._writer.room.relief = relief

    def submit(self, work: Callable[[Connection], T], *, frees: bool = False) -> asyncio.Future[T]:
        """Queue work for the next group's transaction; the future has its result when that has reached the disk.

        The work is done on the storage thread and perhaps more than once (after an error the transaction is tried
        again), so it changes nothing but the database. It is done even when nobody waits for the future any more. Work
        that `frees` room may overtake other work on a full disk.

        Raises:
            StorageError: Too much waits already.
        """
        return self._put(work, writes=True, frees=frees)

    async def run(self, work: Callable[[Connection], T], *, deadline_s: float = DEADLINE_S, frees: bool = False) -> T:
        """Do what `submit` does and wait for it.

        Raises:
            StorageError: Too much waits already, or the disk took nothing in time; then it may still be done later.
            sqlite3.Error: The work is wrong in itself.
        """
        return await self._within(self.submit(work, frees=frees), deadline_s)

    async def read(self, work: Callable[[Connection], T], *, deadline_s: float = DEADLINE_S) -> T:
        """Do work that changes nothing; it goes on when the disk takes nothing any more.

        Raises:
            StorageError: The file cannot be read, or not in time.
        """
        return await self._within(self._put(work, writes=False), deadline_s)

    def _put(self, work: Callable[[Connection], T], *, writes: bool, frees: bool = False) -> asyncio.Future[T]:
        answer: asyncio.Future[T] = self._loop.create_future()
        self._writer.put(Call(work, writes, answer, frees))
        return answer

    async def _within(self, answer: asyncio.Future[T], deadline_s: float) -> T:
        try:
            async with asyncio.timeout(deadline_s):
                return await answer
        except TimeoutError:
            state = self.degraded or "slow"
            raise StorageError(f"the state folder {self.folder} took nothing in {deadline_s:g} s: {state}") from None

    def _call_soon(self, callback: Callable[[T], None], fact: T) -> None:
        """Hand a fact of the storage thread to the loop; after the loop's end nobody is left to hear it."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, fact)

    def _tell(self, fault: Degraded | None) -> None:
        if self._on_health is not None:
            self._on_health(fault)


def _settle(answers: Sequence[Answer]) -> None:
    for answer in answers:
        future = answer.call.answer
        if future.done():
            continue  # nobody waits any more
        if answer.error is None:
            future.set_result(answer.result)
        else:
            future.set_exception(answer.error)
