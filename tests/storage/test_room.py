"""Room on the disk: who may take it, and what goes when there is none. Disks really full are in test_full_disk.py."""

from pathlib import Path

import pytest

from gateway.storage.database import Connection, connect, free_bytes, prepare
from gateway.storage.room import GROUP, Room


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    """Return an open, empty file."""
    connection = connect(tmp_path / "state.db")
    prepare(connection, tmp_path / "state.db")
    return connection


def test_the_reserve_goes_before_what_was_delivered(tmp_path: Path, connection: Connection) -> None:
    """What is kept for those who ask again is removed only when nothing else makes room."""
    room = Room(tmp_path / "state.db", 65_536)
    asked: list[Connection] = []
    room.relief = lambda given: not asked.append(given) and len(asked) < 2
    assert room.reserve.take()
    assert room.make(connection)
    assert asked == []
    assert room.make(connection)
    assert not room.make(connection)
    assert asked == [connection, connection]
    connection.close()


def test_messages_wait_while_the_rest_of_the_reserve_is_lent(tmp_path: Path, connection: Connection) -> None:
    """Asking takes it back where the disk has it."""
    room = Room(tmp_path / "state.db", 65_536)
    room.check()
    room.lend(connection)
    assert not room.reserve.is_held
    room.check()
    assert room.reserve.take_rest()
    connection.close()


def test_a_disk_with_less_than_the_log_needs_counts_as_full(tmp_path: Path) -> None:
    """The log can always be emptied into the file: before that is in doubt, no message goes in."""
    room = Room(tmp_path / "state.db", 65_536)
    room.wal_limit_bytes = free_bytes(tmp_path)
    with pytest.raises(OSError, match="No space"):
        room.check()


def test_transactions_are_smaller_where_there_is_less_room(tmp_path: Path) -> None:
    """Log and transaction fit into the rest of the reserve; whoever keeps none has no such limit."""
    small, usual, none = (Room(tmp_path / "state.db", size) for size in (2**20, 2**24, 0))
    assert (small.group, usual.group, none.group) == (16, GROUP, GROUP)
    assert small.wal_limit_bytes == 2**17


def test_relief_that_fails_changes_nothing(tmp_path: Path, connection: Connection) -> None:
    """An error in the transaction that makes room is no room, and no harm."""
    room = Room(tmp_path / "state.db", 0)
    room.relief = lambda given: bool(given.execute("DELETE FROM nothing"))
    assert not room.prune(connection)
    room.relief = lambda given: bool(given.execute("DELETE FROM numbers").fetchall() == [])
    assert room.prune(connection)
    assert not room.prune(None)
    connection.close()
