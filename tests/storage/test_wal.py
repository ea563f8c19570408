"""A look into the write-ahead log, for damage that SQLite passes over."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.storage.wal import hides_commits


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the log of a few commits, as a killed process leaves it."""
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a)")
    for number in range(10):
        connection.execute("INSERT INTO t VALUES (?)", (str(number) * 900,))
    shutil.copy(tmp_path / "a.db-wal", tmp_path / "killed-wal")
    connection.close()
    return tmp_path / "killed-wal"


def test_a_whole_log_hides_nothing(log: Path) -> None:
    """Neither does one that is missing, or whose last frame is cut off."""
    assert not hides_commits(log)
    assert not hides_commits(log.with_name("missing"))
    log.write_bytes(log.read_bytes()[:-100])
    assert not hides_commits(log)


def test_a_torn_end_hides_nothing(log: Path) -> None:
    """What was never synced may be torn: nothing accepted lies behind it."""
    data = bytearray(log.read_bytes())
    data[-2000] ^= 1
    log.write_bytes(data)
    assert not hides_commits(log)


@pytest.mark.parametrize("place", [3, 20, 30, 40, 60, 5000], ids=str)
def test_a_flipped_bit_before_commits_is_found(log: Path, place: int) -> None:
    """In the header, in a frame's header or in a page: SQLite would drop all that follows without a word."""
    data = bytearray(log.read_bytes())
    data[place] ^= 4
    log.write_bytes(data)
    assert hides_commits(log)
