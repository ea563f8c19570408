"""The state file as the event loop sees it: work goes in, its result comes back when the commit is on the disk."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeVar

import structlog

from gateway.errors import StorageError
from gateway.settings import OutboxSettings
from gateway.storage.database import Connect, Connection, Degraded, connect
from gateway.storage.lock import hold
from gateway.storage.writer import Call, Writer

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
        self.on_health: Callable[[Degraded | None], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(folder, connect=connect, reserve_bytes=settings.reserve_bytes, announce=self._on_degraded)

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

    def when_full(self, relief: Callable[[Connection], bool]) -> None:
        """Name the work that makes room on a full disk; it returns whether it found any."""
        self._writer.relief = relief

    async def run(self, work: Callable[[Connection], T], *, deadline_s: float | None = DEADLINE_S) -> T:
        """Do work in the next group's transaction and return its result when that has reached the disk.

        The work is done on the storage thread and perhaps more than once (after an error the transaction is tried
        again), so it changes nothing but the database. It is done even when the caller stops waiting.

        Raises:
            StorageError: Too much waits already, or the disk took nothing in time; then it may still be done later.
            sqlite3.Error: The work is wrong in itself.
        """
        return await self._answer(Call(work, writes=True), deadline_s)

    async def read(self, work: Callable[[Connection], T], *, deadline_s: float | None = DEADLINE_S) -> T:
        """Do work that changes nothing; it goes on when the disk takes nothing any more.

        Raises:
            StorageError: The file cannot be read, or not in time.
        """
        return await self._answer(Call(work, writes=False), deadline_s)

    async def _answer(self, call: Call, deadline_s: float | None) -> T:
        self._writer.put(call)
        try:
            # Shielded: a caller that leaves must not cancel what others' numbers build upon.
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(asyncio.wrap_future(call.answer))
        except TimeoutError:
            state = self.degraded or "slow"
            raise StorageError(f"the state folder {self.folder} took nothing in {deadline_s:g} s: {state}") from None

    def _on_degraded(self, fault: Degraded | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._tell, fault)
        except RuntimeError:
            _log.debug("storage_state_untold", state=fault)  # the loop has ended

    def _tell(self, fault: Degraded | None) -> None:
        if self.on_health is not None:
            self.on_health(fault)
