"""The storage as the loop sees it: results after the commit, one owner, errors in words."""

import asyncio
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from fakes.outboxes import SMALL

from gateway.errors import StorageError
from gateway.settings import OutboxSettings
from gateway.storage.database import Connection, Degraded
from gateway.storage.state import Storage


def add_marker(connection: Connection, name: str) -> str:
    """Write a row and return its name."""
    connection.execute("INSERT INTO markers VALUES (?, '', 0)", (name,))
    return name


async def test_files_are_for_their_owner_alone_when_they_are_made(tmp_path: Path) -> None:
    """Nobody else on the machine reads what cameras saw."""
    folder = tmp_path / "state"
    before = os.umask(0)
    try:
        async with Storage.open(folder, settings=OutboxSettings(reserve_bytes=4096)) as storage:
            await storage.run(lambda connection: add_marker(connection, "a"))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}
    assert {"state.db", "state.db-wal", "state.lock", "state.reserve"} <= modes.keys()


async def test_a_result_comes_back_when_its_row_is_in_the_file(tmp_path: Path) -> None:
    """Another connection sees what was acknowledged."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        assert await storage.run(lambda connection: add_marker(connection, "a")) == "a"
        with sqlite3.connect(tmp_path / "state.db") as other:
            assert other.execute("SELECT name FROM markers").fetchall() == [("a",)]
        other.close()


async def test_one_wrong_call_spoils_no_other_of_its_group(tmp_path: Path) -> None:
    """Calls that share a transaction do not share their mistakes."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        names = ["a", "b", "a", "c"]
        results = await asyncio.gather(
            *(storage.run(lambda connection, name=name: add_marker(connection, name)) for name in names),
            return_exceptions=True,
        )
        assert [result for result in results if isinstance(result, str)] == ["a", "b", "c"]
        assert isinstance(results[2], sqlite3.IntegrityError)


async def test_opening_that_is_given_up_ends_in_good_order(tmp_path: Path) -> None:
    """Who stops the gateway while a large file is checked or repaired sees no error of the storage thread."""
    opening = Storage.open(tmp_path, settings=SMALL)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(opening.__aenter__(), name="open")
        await asyncio.sleep(0)
        task.cancel()
    assert not [thread for thread in threading.enumerate() if thread.name == "storage"]
    async with Storage.open(tmp_path, settings=SMALL):
        pass


async def test_a_mistake_in_work_is_its_callers_alone(tmp_path: Path) -> None:
    """A number SQLite cannot hold, or any other mistake, ends neither the storage thread nor anybody else's work."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        for wrong in (storage.run, storage.read):
            with pytest.raises(OverflowError):
                await wrong(lambda connection: connection.execute("SELECT ?", (2**64,)).fetchall())
        results = await asyncio.gather(
            storage.run(lambda connection: add_marker(connection, "a")),
            storage.run(lambda _connection: {}["missing"]),
            storage.run(lambda connection: add_marker(connection, "b")),
            return_exceptions=True,
        )
        assert (results[0], type(results[1]), results[2]) == ("a", KeyError, "b")


async def test_who_listens_late_hears_what_is_wrong_already(tmp_path: Path) -> None:
    """A disk without room for the reserve is known before anybody can listen."""
    told: list[Degraded | None] = []
    (tmp_path / "state.reserve").mkdir()  # so that it cannot be taken, by root either
    async with Storage.open(tmp_path, settings=OutboxSettings(reserve_bytes=2**20)) as storage:
        storage.on_health = told.append
        await asyncio.sleep(0)
        assert told == [Degraded.DISK_FULL]


async def test_a_second_gateway_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    """Two gateways on one folder would number alerts twice."""
    async with Storage.open(tmp_path, settings=SMALL):
        with pytest.raises(StorageError, match="another gateway uses the state folder"):
            async with Storage.open(tmp_path, settings=SMALL):
                pass
    async with Storage.open(tmp_path, settings=SMALL):
        pass


@pytest.mark.parametrize(
    ("pragma", "words"),
    [("user_version=99", "another version"), ("application_id=7", "not a state file of Spectragate")],
)
async def test_a_foreign_file_is_refused_with_words(tmp_path: Path, pragma: str, words: str) -> None:
    """A file of a newer version or another program is left as it is, and the operator told what to do."""
    async with Storage.open(tmp_path, settings=SMALL):
        pass
    with sqlite3.connect(tmp_path / "state.db") as other:
        for (table,) in other.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            if not table.startswith("sqlite_"):
                other.execute(f"ALTER TABLE {table} RENAME TO their_{table}")
        other.execute(f"PRAGMA {pragma}")
    other.close()
    with pytest.raises(StorageError, match=words):
        async with Storage.open(tmp_path, settings=SMALL):
            pass
    assert not [name for name in os.listdir(tmp_path) if "corrupt" in name]  # noqa: PTH208 (blocks no loop)


@pytest.mark.parametrize("pragma", ["user_version=513", "application_id=7", "user_version=0"])
async def test_a_header_that_alone_is_wrong_is_damage(tmp_path: Path, pragma: str) -> None:
    """One flipped bit must not make the gateway refuse its own file for ever as another's."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        await storage.run(lambda connection: add_marker(connection, "a"))
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute(f"PRAGMA {pragma}")
    other.close()
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        names = await storage.read(lambda connection: connection.execute("SELECT name FROM markers").fetchall())
    assert names == [("a",)]
    assert [name for name in os.listdir(tmp_path) if "corrupt" in name]  # noqa: PTH208 (blocks no loop)


async def test_no_thread_is_left_when_it_is_closed(tmp_path: Path) -> None:
    """The storage thread has an owner and ends with it, and what waited is written."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        waiting = asyncio.ensure_future(storage.run(lambda connection: add_marker(connection, "last")))
        await asyncio.sleep(0)
    assert await waiting == "last"
    assert not [thread for thread in threading.enumerate() if thread.name == "storage"]
    with pytest.raises(StorageError, match="closed"):
        await storage.run(lambda connection: add_marker(connection, "late"))


async def test_a_folder_that_cannot_be_made_is_refused_with_words(tmp_path: Path) -> None:
    """A wrong state_folder is the operator's to change: the error names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="set state_folder"):
        async with Storage.open(tmp_path / "file" / "state", settings=SMALL):
            pass
