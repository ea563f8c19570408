"""A disk that refuses: from a chosen operation on, for so many operations, everything that touches a file fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from fakes.crashing_disk import Adapted

FAULTS: dict[str, type[apsw.Error]] = {
    "disk_full": apsw.FullError,
    "read_only": apsw.ReadOnlyError,
    "io_error": apsw.IOError,
}


class FailingDisk(apsw.VFS):
    """The machine's file system; `fail` makes it refuse. `operations` counts what touched a file."""

    def __init__(self, name: str) -> None:
        self.vfs_name = name
        self.operations = 0
        self.refused = 0
        self._first = self._last = 0
        self._error: type[apsw.Error] = apsw.IOError
        super().__init__(name, "")

    def fail(self, kind: str, *, first: int, count: int) -> None:
        """Refuse `count` operations, beginning with the `first` from now."""
        self._error = FAULTS[kind]
        self._first = self.operations + first
        self._last = self._first + count - 1

    def touch(self) -> None:
        """Count an operation, and refuse it where that was asked."""
        self.operations += 1
        if self._first <= self.operations <= self._last:
            self.refused += 1
            raise self._error("the disk refuses")

    def excepthook(self, kind: Any, error: Any, trace: Any) -> None:
        """Print nothing: the refusal is meant."""

    def xOpen(self, name: Any, flags: Any) -> "_File":  # noqa: N802
        """Open a file that may refuse."""
        return _File(name, flags, self.touch)

    def connect(self, path: Path) -> Adapted:
        """Open a database on this disk."""
        return Adapted(apsw.Connection(str(path), vfs=self.vfs_name))


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: Any, touch: Callable[[], None]) -> None:
        self._touch = touch
        super().__init__("", name, flags)

    def excepthook(self, kind: Any, error: Any, trace: Any) -> None:
        """Print nothing: the refusal is meant."""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write, or refuse."""
        self._touch()
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """Truncate, or refuse."""
        self._touch()
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Count a sync, or refuse it."""
        self._touch()
