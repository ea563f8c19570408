"""A disk that loses power: every file operation of a workload is recorded, and any state it may leave is made.

Between two syncs of a file a disk may keep any of its writes, in any order, and of the one under way a part. What was
synced stays. SQLite runs on it through apsw, whose files a Python class can be.
"""

import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import apsw

SECTOR_BYTES = 512
_CODES: dict[type[apsw.Error], int] = {
    apsw.FullError: apsw.SQLITE_FULL,
    apsw.ReadOnlyError: apsw.SQLITE_READONLY,
    apsw.IOError: apsw.SQLITE_IOERR,
}
Kind = Literal["write", "truncate", "sync", "delete", "accepted"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that happened on the disk, or the moment at which a message counted as accepted."""

    kind: Kind
    name: str
    offset: int = 0
    data: bytes = b""


class Recorder(apsw.VFS):
    """The machine's file system, with a log of everything that changes a file."""

    def __init__(self, name: str) -> None:
        self.log: list[Operation] = []
        self.vfs_name = name
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: Any) -> "_File":  # noqa: N802
        """Open a file whose changes are recorded."""
        return _File(name, flags, self.log)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Record and delete; SQLite asks for the folder's sync together with it."""
        super().xDelete(filename, syncdir)
        self.log.append(Operation("delete", Path(filename).name))

    def connect(self, path: Path) -> "Adapted":
        """Open a database on this disk: what `Storage.open(connect=…)` takes."""
        return Adapted(apsw.Connection(str(path), vfs=self.vfs_name))


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: Any, log: list[Operation]) -> None:
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(text).name
        self._log = log
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Record and write."""
        super().xWrite(data, offset)
        self._log.append(Operation("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """Record and truncate."""
        super().xTruncate(newsize)
        self._log.append(Operation("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Record; the machine the tests run on does not lose its power."""
        self._log.append(Operation("sync", self._name))


class Adapted:
    """An apsw connection that looks like one of `sqlite3`; its log is not shared, so its index stays in memory."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.set_busy_timeout(1000)
        self.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run a statement; errors are those of `sqlite3`, with the extended code."""
        try:
            return self._connection.execute(sql, parameters)
        except apsw.Error as error:
            raise translated(error) from error

    def close(self) -> None:
        """Close the file."""
        try:
            self._connection.close()
        except apsw.Error as error:
            raise translated(error) from error


def translated(error: apsw.Error) -> sqlite3.Error:
    """Return the error that `sqlite3` would raise."""
    kind = sqlite3.IntegrityError if isinstance(error, apsw.ConstraintError) else sqlite3.OperationalError
    other = kind(str(error))
    # What a Python file raised carries no code of its own, only its class.
    plain = next((code for kind, code in _CODES.items() if isinstance(error, kind)), apsw.SQLITE_ERROR)
    other.sqlite_errorcode = getattr(error, "extendedresult", 0) or plain
    return other


class Disk:
    """What lies safely on the disk at one place of a log, and what was written since its file's last sync."""

    def __init__(self) -> None:
        self.safe: dict[str, bytearray] = {}
        self.unsafe: dict[str, list[Operation]] = {}
        self.accepted: list[str] = []

    def take(self, operation: Operation) -> None:
        """Go one operation on."""
        match operation.kind:
            case "accepted":
                self.accepted.append(operation.name)
            case "sync":
                file = self.safe.setdefault(operation.name, bytearray())
                for change in self.unsafe.pop(operation.name, []):
                    apply(file, change)
            case "delete":
                self.safe.pop(operation.name, None)
                self.unsafe.pop(operation.name, None)
            case _:
                self.unsafe.setdefault(operation.name, []).append(operation)

    def after_power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Return the files as they may be found: of what was not synced any part, in any order, the last one torn."""
        files = {name: bytearray(data) for name, data in self.safe.items()}
        for name, changes in self.unsafe.items():
            file = files.setdefault(name, bytearray())
            for change in _survivors(changes, chance):
                apply(file, change)
        return {name: bytes(data) for name, data in files.items()}


def _survivors(changes: list[Operation], chance: random.Random) -> list[Operation]:
    how = chance.randrange(5)
    if how == 0:
        return []
    kept = list(changes) if how == 1 else [change for change in changes if chance.random() < 0.5]
    if how == 2:
        kept = changes[: chance.randrange(len(changes) + 1)]
    if how >= 3:
        chance.shuffle(kept)
    if kept and kept[-1].kind == "write" and chance.random() < 0.7:
        kept[-1] = _torn(kept[-1], chance)
    return kept


def _torn(change: Operation, chance: random.Random) -> Operation:
    """Return a write of which some sectors arrived."""
    sectors = max(1, len(change.data) // SECTOR_BYTES)
    return Operation("write", change.name, change.offset, change.data[: chance.randrange(sectors + 1) * SECTOR_BYTES])


def apply(file: bytearray, change: Operation) -> None:
    """Change a file as the operation did."""
    if change.kind == "truncate":
        del file[change.offset :]
        file.extend(bytes(max(0, change.offset - len(file))))
        return
    end = change.offset + len(change.data)
    if len(file) < end:
        file.extend(bytes(end - len(file)))
    file[change.offset : end] = change.data


def power_cuts(log: Sequence[Operation], count: int, chance: random.Random) -> Iterator[tuple[Disk, dict[str, bytes]]]:
    """Yield so many states after a power cut, at places spread over the log, each with what was accepted by then."""
    places = sorted(chance.randrange(1, len(log) + 1) for _ in range(count))
    disk = Disk()
    done = 0
    for place in places:
        for operation in log[done:place]:
            disk.take(operation)
        done = place
        yield disk, disk.after_power_cut(chance)
