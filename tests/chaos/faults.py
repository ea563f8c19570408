"""Disks that fail, fill up or are slow: seen from SQLite, at the moment of the COMMIT."""

import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from gateway.storage.database import Connect, Connection, Cursor

DiskFault = Literal["disk fails", "disk full", "disk slow"]
_SHARE = 0.05
_SLOW_S = 0.02  # what an eMMC may take


class _Faulty:
    """A database that asks before each COMMIT; what is raised there, the COMMIT has not happened."""

    def __init__(self, connection: Connection, before_commit: Callable[[], None]) -> None:
        self._connection = connection
        self._before_commit = before_commit

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run a statement, or fail."""
        if sql == "COMMIT":
            self._before_commit()
        return self._connection.execute(sql, parameters)

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def failing_once(connect: Connect, *, at: int) -> Connect:
    """Return a way to open a database of which one COMMIT fails, counted over all of its connections."""
    left = at

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise _error(sqlite3.SQLITE_IOERR_FSYNC)

    return lambda path: _opened(connect, path, count_down)


def failing(connect: Connect, fault: DiskFault, rng: random.Random) -> Connect:
    """Return a way to open a database whose COMMITs fail now and then, or take their time."""

    def before_commit() -> None:
        if fault == "disk slow":
            time.sleep(_SLOW_S)
        elif rng.random() < _SHARE:
            raise _error(sqlite3.SQLITE_FULL if fault == "disk full" else sqlite3.SQLITE_IOERR_FSYNC)

    return lambda path: _opened(connect, path, before_commit)


def _opened(connect: Connect, path: Path, before_commit: Callable[[], None]) -> Connection:
    return _Faulty(connect(path), before_commit)


def _error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("on purpose")
    error.sqlite_errorcode = code
    return error
