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
        try:
            return self._size_bytes == 0 or self._path.stat().st_size >= self._size_bytes
        except OSError:
            return False

    def take(self) -> bool:
        """Keep the space if the disk has it; return whether it is kept."""
        if self.is_held:
            return True
        if free_bytes(self._path.parent) < self._size_bytes + min(_MARGIN_BYTES, self._size_bytes):
            return False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            self.drop()
            return False
        return True

    def drop(self) -> bool:
        """Give the space up; return whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return self._size_bytes > 0
