"""How the file is opened, and what its errors mean."""

import errno
import sqlite3
from pathlib import Path

import pytest

from gateway.storage.database import (
    Degraded,
    connect,
    connect_to_read,
    fault_of,
    free_bytes,
    give_back,
    kept_statements,
    prepare,
    statements,
    unused_pages,
)


def test_a_new_file_is_durable_and_can_shrink(tmp_path: Path) -> None:
    """The settings that the promises rest on are those of the file, not of a default."""
    connection = connect(tmp_path / "state.db")
    prepare(connection, tmp_path / "state.db")
    pragmas = ("journal_mode", "synchronous", "auto_vacuum", "user_version")
    assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == ["wal", 2, 2, 1]
    assert kept_statements(connection) == set(statements())
    connection.close()


def test_a_reader_cannot_change_the_file(tmp_path: Path) -> None:
    """Looking at a running gateway's state is safe."""
    connection = connect(tmp_path / "state.db")
    prepare(connection, tmp_path / "state.db")
    reader = connect_to_read(tmp_path / "state.db")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM numbers")
    reader.close()
    connection.close()


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (sqlite3.SQLITE_FULL, Degraded.DISK_FULL),
        (sqlite3.SQLITE_READONLY_DIRECTORY, Degraded.READ_ONLY),
        (sqlite3.SQLITE_IOERR_FSYNC, Degraded.IO_ERROR),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Degraded.LOCKED),
        (sqlite3.SQLITE_CORRUPT_VTAB, Degraded.CORRUPT),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, None),
    ],
)
def test_errors_of_the_disk_are_told_from_wrong_statements(code: int, meaning: Degraded | None, tmp_path: Path) -> None:
    """What is the disk's is waited for, what is wrong in itself is handed back."""
    error = sqlite3.OperationalError("")
    error.sqlite_errorcode = code
    assert fault_of(error, tmp_path) is meaning


@pytest.mark.parametrize(
    ("number", "meaning"),
    [(errno.ENOSPC, Degraded.DISK_FULL), (errno.EROFS, Degraded.READ_ONLY), (errno.EIO, Degraded.IO_ERROR)],
)
def test_errors_of_the_file_system_mean_the_same(number: int, meaning: Degraded, tmp_path: Path) -> None:
    """It does not matter whether SQLite or the kernel says it."""
    assert fault_of(OSError(number, ""), tmp_path) is meaning


def test_folder_that_was_removed_is_no_full_disk(tmp_path: Path) -> None:
    """Whoever reads `disk_full` would look for room in vain, of `io_error` for another disk."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    assert fault_of(error, tmp_path / "gone") is Degraded.FOLDER_MISSING
    assert fault_of(OSError(errno.ENOSPC, ""), tmp_path / "gone") is Degraded.FOLDER_MISSING
    error.sqlite_errorcode = sqlite3.SQLITE_ERROR  # the statement is wrong, wherever it is asked
    assert fault_of(error, tmp_path / "gone") is None


def test_words_that_quote_a_damaged_page_mean_damage(tmp_path: Path) -> None:
    """Python cannot decode what SQLite quotes of a damaged file: that is damage too, not a defect."""
    assert fault_of(UnicodeDecodeError("utf-8", b"\xff", 0, 1, ""), tmp_path) is Degraded.CORRUPT


def test_unused_pages_leave_the_file_as_many_as_are_asked_for(tmp_path: Path) -> None:
    """The space that was pruned goes back to the disk, in steps and not page by page."""
    connection = connect(tmp_path / "state.db")
    prepare(connection, tmp_path / "state.db")
    connection.execute("INSERT INTO retained VALUES ('t', 'k', zeroblob(409600), NULL, 0)")
    connection.execute("DELETE FROM retained")
    unused = unused_pages(connection)
    assert unused > 90
    give_back(connection, 40)
    assert unused_pages(connection) == unused - 40
    give_back(connection, 1000)
    assert unused_pages(connection) == 0
    connection.close()


def test_space_that_nobody_can_tell_is_none(tmp_path: Path) -> None:
    """A folder that is gone has no room."""
    assert free_bytes(tmp_path) > 0
    assert free_bytes(tmp_path / "gone") == 0
