"""The outbox from outside; what operators see of it is in test_outbox_commands.py."""

import sqlite3
from pathlib import Path

import pytest
from fakes.outboxes import accept, open_outbox

from gateway.delivery.outbox_files import exported, figures, forget
from gateway.errors import StorageError


async def test_an_altered_row_is_not_exported(tmp_path: Path) -> None:
    """An export holds what was written, or nothing."""
    async with open_outbox(tmp_path) as outbox:
        await accept(outbox, 3)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE outbox SET topic = 'other' WHERE seq = 2")
    connection.close()
    assert len(list(exported(tmp_path, from_seq=1, to_seq=9))) == 2


async def test_damaged_files_are_named_and_forgotten_as_a_whole(tmp_path: Path) -> None:
    """A file that cannot be searched for a camera cannot stay when the camera is forgotten."""
    async with open_outbox(tmp_path) as outbox:
        await accept(outbox, 1)
    for suffix in ("", "-wal"):
        (tmp_path / f"state.db.corrupt-20260301T080000Z{suffix}").write_bytes(b"x")
    assert figures(tmp_path)["damaged_files"] == ["state.db.corrupt-20260301T080000Z"]
    assert forget(tmp_path, camera="elsewhere", since_s=None, until_s=None).messages == 0
    assert figures(tmp_path)["damaged_files"] == []


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    """The operator hears what to do, not SQLite's complaint alone."""
    (tmp_path / "state.db").write_bytes(b"x" * 5000)
    with pytest.raises(StorageError, match="A running gateway repairs it"):
        figures(tmp_path)
    with pytest.raises(StorageError, match="cannot be changed"):
        forget(tmp_path, camera="lobby", since_s=None, until_s=None)
