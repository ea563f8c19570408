"""A file that keeps space free: on a full disk SQLite cannot even delete rows until something else goes."""

import os
from pathlib import Path

from gateway.storage.database import free_bytes

FILE_NAME = "state.reserve"
_MARGIN_BYTES = 2 * 2**20  # what must stay free beside it, so that taking it back does not fill the disk again


class Reserve:
    """Space that is given up when the disk is full and taken back when there is room. For the writing thread."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._path = folder / FILE_NAME
        self._size_bytes = size_bytes

    @property
    def is_held(self) -> bool:
        """Whether the space is kept."""
        return self._held_bytes() >= self._size_bytes

    def _held_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def take(self) -> bool:
        """Keep the space if the disk has it; return whether it is kept."""
        if self.is_held:
            return True
        missing_bytes = self._size_bytes - self._held_bytes()
        if free_bytes(self._path.parent) < missing_bytes + min(_MARGIN_BYTES, self._size_bytes):
            return False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def drop(self) -> bool:
        """Give up most of the space, and the rest when asked again; return whether there was any.

        The rest is for what makes room: deleting rows takes space too.
        """
        rest_bytes = self._size_bytes // 4
        try:
            if self._path.stat().st_size > rest_bytes:
                os.truncate(self._path, rest_bytes)
            else:
                self._path.unlink()
        except OSError:
            return False
        return self._size_bytes > 0
