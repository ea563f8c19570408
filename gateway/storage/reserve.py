"""A file that keeps space free: on a full disk SQLite cannot even delete rows until something else goes.

It is given up in two parts. Messages may use the first. The rest is lent only to what makes room, so that there is
always a way back from a full disk.
"""

import os
from pathlib import Path

from gateway.storage.database import free_bytes, total_bytes

FILE_NAME = "state.reserve"
_MARGIN_BYTES = 2 * 2**20  # what must stay free beside it, so that taking it back does not fill the disk again
_SHARE = 4  # it is at most this part of the disk, and the rest this part of it


class Reserve:
    """Space that is given up when the disk is full and taken back when there is room. For the writing thread."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._path = folder / FILE_NAME
        self._size_bytes = min(size_bytes, total_bytes(folder) // _SHARE)
        self.rest_bytes = self._size_bytes // _SHARE

    @property
    def is_held(self) -> bool:
        """Whether all the space is kept."""
        return self._held_bytes() >= self._size_bytes

    def _held_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def take(self) -> bool:
        """Keep the space if the disk has it; return whether it is kept."""
        return self._take(self._size_bytes, margin_bytes=min(_MARGIN_BYTES, self._size_bytes))

    def take_rest(self) -> bool:
        """Keep at least what makes room the next time; return whether it is kept."""
        return self._take(self.rest_bytes, margin_bytes=0)

    def _take(self, size_bytes: int, *, margin_bytes: int) -> bool:
        missing_bytes = size_bytes - self._held_bytes()
        if missing_bytes <= 0:
            return True
        if free_bytes(self._path.parent) < missing_bytes + margin_bytes:
            return False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def drop(self) -> bool:
        """Give up all but the rest; return whether there was more."""
        return self._cut(self.rest_bytes)

    def drop_rest(self) -> bool:
        """Give up everything; return whether there was anything."""
        return self._cut(0)

    def _cut(self, size_bytes: int) -> bool:
        try:
            if self._path.stat().st_size <= size_bytes:
                return False
            os.truncate(self._path, size_bytes)
        except OSError:
            return False
        return True
