"""Disks that fail on time."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.storage.database import Connect, Connection, Cursor


class _FailingOnce:
    """A database whose nth COMMIT fails as a disk's fsync does; everything after it works."""

    def __init__(self, connection: Connection, commits_left: list[int]) -> None:
        self._connection = connection
        self._left = commits_left

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run a statement, or fail."""
        if sql == "COMMIT":
            self._left[0] -= 1
            if self._left[0] == 0:
                error = sqlite3.OperationalError("disk I/O error, on purpose")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
        return self._connection.execute(sql, parameters)

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def failing_once(connect: Connect, *, at: int) -> Connect:
    """Return a way to open a database of which one COMMIT fails, counted over all of its connections."""
    left = [at]

    def opened(path: Path) -> Connection:
        return _FailingOnce(connect(path), left)

    return opened
