"""Room on the disk for the state file: kept free in good times, made in bad ones. For the writing thread."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.storage.database import (
    PAGE_BYTES,
    WAL_LIMIT_BYTES,
    Connection,
    DatabaseErrors,
    free_bytes,
    give_back,
    unused_pages,
)
from gateway.storage.reserve import Reserve

GROUP = 256
"""Calls in one transaction at most."""

_CALL_BYTES = 2 * PAGE_BYTES  # what a call usually adds to the log, and more
_SMALL_WAL_BYTES = 64 * PAGE_BYTES
_VACUUM_PAGES = 64
_LOOK_EVERY_S = 1.0
_TELL_EVERY_S = 60.0

_log = structlog.get_logger()

Relief = Callable[[Connection], bool]
"""Removes some of what may go, in the transaction that is open; returns whether there was any."""


class Room:
    """Owns the reserve, and empties the log and the file as far as it can."""

    def __init__(self, path: Path, reserve_bytes: int) -> None:
        self.relief: Relief | None = None
        self.reserve = Reserve(path.parent, reserve_bytes)
        # The log must fit into what the rest of the reserve gives up, or there is no way to empty it into the file:
        # half of that before it is emptied, half for the transaction that goes beyond.
        rest_bytes = self.reserve.rest_bytes
        self.wal_limit_bytes = min(WAL_LIMIT_BYTES, rest_bytes // 2 if rest_bytes else _SMALL_WAL_BYTES)
        self.group = min(GROUP, max(1, rest_bytes // (2 * _CALL_BYTES))) if rest_bytes else GROUP
        self._path = path
        self._look_again_s = 0.0
        self._tell_again_s = 0.0

    def check(self) -> None:
        """Refuse messages what only makes room, and what the log needs to be emptied into the file.

        Raises:
            OSError: The disk counts as full, or the folder is not there.
        """
        if not self._path.parent.is_dir():
            raise OSError(errno.ENOENT, "the folder is not there any more", str(self._path.parent))
        enough = not self.reserve.rest_bytes or (
            self.reserve.take_rest() and free_bytes(self._path.parent) >= 2 * self.wal_limit_bytes
        )
        if not enough:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def make(self, connection: Connection | None) -> bool:
        """Give up the first part of the reserve, or else the oldest of what was delivered; return whether it helps."""
        dropped = self.reserve.drop()
        if dropped:
            _log.warning("reserve_dropped", file=str(self._path))
        self.shrink(connection)  # first: the log is the one thing that can shrink without growing
        return dropped or self.prune(connection)

    def lend(self, connection: Connection | None) -> None:
        """Give up the rest too, for a transaction that makes room."""
        if self.reserve.drop_rest():
            self.shrink(connection)

    def prune(self, connection: Connection | None) -> bool:
        """Remove some of the oldest of what was delivered, and return whether there was any."""
        freed = self._relieve(connection)
        if freed is None and self.reserve.drop_rest():
            self.shrink(connection)
            freed = self._relieve(connection)
        if freed:
            self._tell()
            self.shrink(connection)
        return bool(freed)

    def _relieve(self, connection: Connection | None) -> bool | None:
        """Return whether anything could go; None where the disk has no room even for that."""
        if self.relief is None or connection is None:
            return False
        try:
            connection.execute("BEGIN IMMEDIATE")
            freed = self.relief(connection)
            connection.execute("COMMIT")
        except DatabaseErrors:
            _roll_back(connection)
            return None
        return freed

    def keep(self, connection: Connection | None) -> None:
        """Before the disk is full of our own rows, remove what was delivered: afterwards even that takes room."""
        now_s = time.monotonic()
        if now_s >= self._look_again_s and free_bytes(self._path.parent) < 4 * self.wal_limit_bytes:
            self._look_again_s = now_s if self.prune(connection) else now_s + _LOOK_EVERY_S

    def shrink(self, connection: Connection | None) -> None:
        """Give back to the disk what file and log do not need, as far as the disk lets us."""
        while connection is not None:
            with suppress(*DatabaseErrors):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            try:
                if not unused_pages(connection):
                    return
                give_back(connection, _VACUUM_PAGES)  # in small steps: pages that move go through the log first
            except DatabaseErrors:
                _roll_back(connection)
                return

    def _tell(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._tell_again_s:
            self._tell_again_s = now_s + _TELL_EVERY_S
            _log.warning("retention_shortened", file=str(self._path), reason="the disk has no room for more")


def _roll_back(connection: Connection) -> None:
    with suppress(*DatabaseErrors):  # SQLite has done it itself after most errors
        connection.execute("ROLLBACK")
