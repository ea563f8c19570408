"""The one thread that writes the state file: calls that wait while a commit runs go into the next one together.

A disk that takes nothing is waited for: the group under way is kept and tried again, what comes in meanwhile queues up
behind it, and reading goes on. On a full disk what frees room goes first. Nothing is dropped here; who may wait, and
how many, is decided by those who call.
"""

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.errors import SpectragateError, StorageError
from gateway.storage.database import (
    FILE_NAME,
    Connect,
    Connection,
    DatabaseErrors,
    Degraded,
    fault_of,
    prepare,
)
from gateway.storage.failpoints import fail_point
from gateway.storage.room import GROUP, Room
from gateway.storage.salvage import is_sound, set_aside

MAX_QUEUED = 4096
_FIRST_DELAY_S = 0.05
_LAST_DELAY_S = 1.0

_log = structlog.get_logger()

Work = Callable[[Connection], Any]

_Mistakes = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What work raises that is wrong in itself: its caller's, and no reason for this thread to end."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Work, and the future of the loop where its result is waited for; `frees` where it makes room on the disk."""

    work: Work
    writes: bool
    answer: asyncio.Future[Any]
    frees: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of a call: its result, or an error."""

    call: Call
    result: Any = None
    error: Exception | None = None


class Writer:
    """Owns connection, thread and reserve.

    On the thread, `answer` is called with what became of calls, and `announce` with each new state of the disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        connect: Connect,
        reserve_bytes: int,
        answer: Callable[[Sequence[Answer]], None],
        announce: Callable[[Degraded | None], None],
    ) -> None:
        self.degraded: Degraded | None = None
        self._path = folder / FILE_NAME
        self._connect = connect
        self.room = Room(self._path, reserve_bytes)
        self._answer = answer
        self._announce = announce
        self._connection: Connection | None = None
        self._queue: deque[Call] = deque()
        self._group: list[Call] = []  # could not be written yet
        self._most = self.room.group  # of these, how many go into one transaction
        self._news = threading.Condition()
        self._closing = False
        self._is_damaged = self._is_suspect = False
        self._is_refused = False  # the last attempt to write was
        self._retry_at_s: float | None = None  # when to look again at a disk that is not well
        self._delay_s = _FIRST_DELAY_S
        self._opened: Future[None] = Future()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)

    def start(self) -> Future[None]:
        """Start the thread; the future resolves when the file is open, or holds why it is not."""
        self._opened.set_running_or_notify_cancel()  # who gives up waiting does not take it away from the thread
        self._thread.start()
        return self._opened

    def put(self, call: Call) -> None:
        """Queue a call, from any thread.

        Raises:
            StorageError: Too many wait already, or it is closed.
        """
        with self._news:
            if self._closing:
                raise StorageError(f"{self._path} is closed")
            if len(self._queue) >= MAX_QUEUED:
                raise StorageError(
                    f"{self._path}: {MAX_QUEUED} calls wait already; the disk is too slow or takes nothing"
                )
            self._queue.append(call)
            self._news.notify()

    def close(self, within_s: float) -> bool:
        """Write what waits, close the file and end the thread; return whether that was done in time."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._open_first()
            while self._step():
                pass
        finally:
            self._fail_all()
            self._disconnect()

    def _open_first(self) -> None:
        try:
            try:
                self._reopen()
            except DatabaseErrors:
                # A full disk has no room for SQLite's shared memory either.
                self.room.reserve.drop_rest()
                self._reopen()
        except DatabaseErrors as error:
            words = f"{self._path} cannot be opened: {error}. Check the disk and who owns it, or set state_folder"
            self._refuse_to_open(StorageError(words))
            return
        except SpectragateError as error:
            self._refuse_to_open(error)
            return
        if not self.room.reserve.take():
            self._degrade(self._fault_of_reserve())
            self._retry_at_s = time.monotonic() + _LAST_DELAY_S
        self._opened.set_result(None)
        fail_point("storage.after_open")

    def _refuse_to_open(self, error: SpectragateError) -> None:
        self._closing = True
        self._opened.set_exception(error)

    def _reopen(self) -> None:
        """Open the file; a damaged one is set aside, and a new one is made of what can be read of it."""
        fail_point("storage.before_open")
        self._disconnect()
        if self._is_damaged or not is_sound(self._path, self._connect):
            set_aside(self._path)
            self._is_damaged = False
        self._connection = connection = self._connect(self._path)
        self._path.chmod(0o600)
        prepare(connection, self._path, wal_limit_bytes=self.room.wal_limit_bytes)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*DatabaseErrors):
                connection.close()

    def _step(self) -> bool:
        """Serve what waits; return whether there may be more."""
        calls = self._next_calls()
        self._group += [call for call in calls if call.writes]
        for call in calls:
            if not call.writes:
                self._read(call)
        if not self._is_refused or self._is_due() or self._closing:
            if self._group or self.degraded is not None:
                self._write_or_wait()
            while self._group and not self._is_refused:
                self._write_or_wait()
        with self._news:
            if not self._closing:
                return True
            if self._group:  # closing waits for no disk: only where room was just made is it tried once more
                return self._is_due()
            return bool(self._queue)

    def _is_due(self) -> bool:
        return self._retry_at_s is not None and self._retry_at_s <= time.monotonic()

    def _next_calls(self) -> list[Call]:
        """Wait for calls or for the time of the next attempt; while a group waits for the disk, take no more of it."""
        with self._news:
            while not self._closing:
                due_s = None if self._retry_at_s is None else self._retry_at_s - time.monotonic()
                if self._may_take() or (due_s is not None and due_s <= 0):
                    break
                self._news.wait(due_s)
            if not self._group:
                return [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
            others = [call for call in self._queue if call.frees or not call.writes]
            self._queue = deque(call for call in self._queue if call.writes and not call.frees)
            return others

    def _may_take(self) -> bool:
        return any(call.frees or not call.writes for call in self._queue) if self._group else bool(self._queue)

    def _read(self, call: Call, *, again: bool = True) -> None:
        try:
            if self._connection is None:
                self._reopen()
            result = call.work(self._open_connection())
        except DatabaseErrors as error:
            if self._fault_of(error) is Degraded.CORRUPT:
                self._is_damaged = True
                self._disconnect()
                if again:  # from what is salvaged
                    self._read(call, again=False)
                    return
            self._answer([Answer(call, error=StorageError(f"{self._path} cannot be read: {error}"))])
            return
        except _Mistakes as error:
            self._answer([Answer(call, error=error)])
            return
        self._answer([Answer(call, result)])

    def _fault_of(self, error: Exception) -> Degraded | None:
        return fault_of(error, self._path.parent)

    def _write_or_wait(self) -> None:
        """Commit the group, or say what is wrong with the disk and when to try again."""
        if self.degraded is Degraded.DISK_FULL:
            self._free()
        group = self._group[: self._most]
        try:
            if not all(call.frees for call in group):
                self.room.check()
            self._recover()
            results = self._commit(group)
        except (*DatabaseErrors, *_Mistakes) as error:
            self._roll_back()
            fault = self._fault_of(error)
            if fault is None:
                self._commit_one_by_one(error)
            else:
                self._on_fault(fault, error)
            return
        del self._group[: len(group)]
        self._on_written()
        self._answer([Answer(call, result) for call, result in zip(group, results, strict=True)])

    def _free(self) -> None:
        """On a full disk, do before anything else what makes room: it may use what nothing else may."""
        group = [call for call in self._group if call.frees]
        if not group:
            return
        self.room.lend(self._connection)
        try:
            self._recover()
            results = self._commit(group)
        except (*DatabaseErrors, *_Mistakes):
            self._roll_back()
            return
        self._group = [call for call in self._group if not call.frees]
        self._answer([Answer(call, result) for call, result in zip(group, results, strict=True)])
        self.room.prune(self._connection)

    def _commit(self, group: Sequence[Call]) -> list[Any]:
        connection = self._open_connection()
        if not group:
            return []
        connection.execute("BEGIN IMMEDIATE")
        fail_point("storage.after_begin")
        results = [call.work(connection) for call in group]
        fail_point("outbox.before_commit")
        connection.execute("COMMIT")
        fail_point("outbox.after_commit")
        return results

    def _commit_one_by_one(self, error: Exception) -> None:
        """One call of the group is wrong in itself: the others must not fail with it."""
        if self._most == 1 or len(self._group) == 1:
            self._answer([Answer(self._group.pop(0), error=error)])
            return
        self._most, left = 1, len(self._group)
        while left and len(self._group) == left:  # fewer went where the disk has failed meanwhile
            self._write_or_wait()
            left -= 1

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("the state file is not open")
        return self._connection

    def _roll_back(self) -> None:
        if self._connection is not None:
            with suppress(*DatabaseErrors):  # SQLite has done it itself after most errors
                self._connection.execute("ROLLBACK")

    def _recover(self) -> None:
        """After an I/O error, put all that is in the log on the disk before anything is built upon it.

        Pages whose writing failed are clean in the kernel's memory and would be lost with the power: a checkpoint
        writes and syncs what they held.
        """
        if self._connection is None:
            self._reopen()
        if self._is_suspect:
            self._open_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            fail_point("storage.after_checkpoint")
            self._is_suspect = False

    def _on_fault(self, fault: Degraded, error: Exception) -> None:
        self._degrade(fault, str(error))
        self._is_refused = True
        if fault is Degraded.DISK_FULL:
            self._most = max(1, self._most // 4)  # a part of the group may find the room that all of it does not
            if self.room.make(self._connection):
                self._retry_at_s = time.monotonic()
                return
        if fault is Degraded.CORRUPT:
            self._is_damaged = True
            self._disconnect()
        elif fault in {Degraded.IO_ERROR, Degraded.FOLDER_MISSING}:
            self._is_suspect = True
            if self._delay_s >= _LAST_DELAY_S:  # what was opened may never work again: a disk that came back is another
                self._disconnect()
        self._wait()

    def _wait(self) -> None:
        self._is_refused = True
        self._retry_at_s = time.monotonic() + self._delay_s
        self._delay_s = min(2 * self._delay_s, _LAST_DELAY_S)

    def _on_written(self) -> None:
        """The disk takes what it gets; it is well again when the reserve is back too."""
        self._delay_s, self._is_refused = _FIRST_DELAY_S, False
        self._most = min(self.room.group, 4 * self._most)
        if self.degraded is None:
            self.room.keep(self._connection)
            return
        if not self.room.reserve.is_held:
            self.room.shrink(self._connection)
        if self.room.reserve.take():
            self.degraded = self._retry_at_s = None
            _log.info("storage_recovered", file=str(self._path))
            self._announce(None)
            return
        self._degrade(self._fault_of_reserve())
        # The reserve goes before what was delivered and is kept for those who ask again.
        pruned = self.room.prune(self._connection)
        self._retry_at_s = time.monotonic() + (0.0 if pruned else _LAST_DELAY_S)

    def _fault_of_reserve(self) -> Degraded:
        return Degraded.DISK_FULL if self._path.parent.is_dir() else Degraded.FOLDER_MISSING

    def _degrade(self, fault: Degraded, reason: str = "no room for the reserve") -> None:
        if self.degraded is fault:
            return
        self.degraded = fault
        _log.error("storage_degraded", file=str(self._path), state=fault.value, reason=reason)
        self._announce(fault)

    def _fail_all(self) -> None:
        with self._news:
            self._closing = True
            calls, self._queue, self._group = [*self._group, *self._queue], deque(), []
        error = StorageError(f"{self._path} was closed before this could be stored")
        self._answer([Answer(call, error=error) for call in calls])
