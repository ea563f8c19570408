"""The page reader against SQLite itself, and against rubbish."""

import random
import sqlite3
from pathlib import Path

from gateway.storage.pages import records


def make(path: Path) -> list[tuple[object, ...]]:
    """Write rows of every kind of value and return them."""
    chance = random.Random(3)
    rows = [
        (number, None, number * 10**9 - 5, number / 7, "ä" * (number % 90), chance.randbytes(number * 40))
        for number in range(1, 400)
    ]
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c, d, e)")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return rows


def test_every_row_is_found_as_sqlite_stored_it(tmp_path: Path) -> None:
    """Integers, reals, text, blobs of several pages: all of them, without the way through the tree."""
    rows = make(tmp_path / "a.db")
    assert sorted((row, *values[1:]) for row, values in records(tmp_path / "a.db", 6)) == rows


def test_rubbish_never_raises(tmp_path: Path) -> None:
    """Any bytes may stand where a page was."""
    make(tmp_path / "a.db")
    whole = (tmp_path / "a.db").read_bytes()
    for seed in range(40):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(200):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "b.db").write_bytes(data)
        (tmp_path / "b.db-wal").write_bytes(chance.randbytes(20_000))
        list(records(tmp_path / "b.db", 6))
