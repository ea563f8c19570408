"""The outbox from outside; what operators see of it is in test_outbox_commands.py."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from fakes.outboxes import Clock, accept, alert, open_outbox

from gateway.delivery.outbox_files import exported, figures, forget
from gateway.errors import StorageError
from gateway.storage.state import Storage
from gateway.storage.tables import MarkerTable


async def test_an_altered_row_is_not_exported(tmp_path: Path) -> None:
    """An export holds what was written, or nothing."""
    async with open_outbox(tmp_path) as outbox:
        await accept(outbox, 3)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE outbox SET topic = 'other' WHERE seq = 2")
    connection.close()
    assert len(list(exported(tmp_path, from_seq=1, to_seq=9))) == 2


async def test_an_export_that_is_left_open_does_not_hold_the_gateways_log(tmp_path: Path) -> None:
    """Whoever leaves a pager open over lunch must not fill the disk."""
    async with open_outbox(tmp_path) as outbox:
        await accept(outbox, 600)
        lines = exported(tmp_path, from_seq=1, to_seq=10**9)
        first = next(lines)
        with sqlite3.connect(tmp_path / "state.db") as connection:
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        connection.close()
        await accept(outbox, 5)
        seqs = [json.loads(line)["seq"] for line in [first, *lines]]
        assert seqs == list(range(1, 606))


def traces(folder: Path, text: bytes) -> list[str]:
    """Return the files that hold these bytes."""
    return [path.name for path in folder.iterdir() if text in path.read_bytes()]


async def test_what_is_forgotten_is_nowhere_in_the_folder(tmp_path: Path) -> None:
    """Neither in rows nor in what pruned rows left behind in pages that nobody uses any more."""
    clock = Clock()
    async with open_outbox(tmp_path, clock=clock) as outbox:
        for _ in range(100):
            await outbox.accept(alert(outbox.next_seq(), payload=b"x" * 50, camera="secret-place"))
        await outbox.delivered(await outbox.pending(90))
        clock.now_s += 8 * 24 * 3600
        await outbox.delivered((await outbox.pending(10))[:1])
        assert forget(tmp_path, camera="secret-place", since_s=None, until_s=None).checkpointed
        assert traces(tmp_path, b"secret-place") == []


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
    with pytest.raises(StorageError, match="Restart the gateway: it repairs"):
        figures(tmp_path)
    with pytest.raises(StorageError, match="is damaged; nothing was forgotten"):
        forget(tmp_path, camera="lobby", since_s=None, until_s=None)


async def test_a_damaged_log_is_left_to_the_gateway_when_somebody_forgets(tmp_path: Path) -> None:
    """Opening the file to write would drop, without a word, every commit behind the damage."""
    async with open_outbox(tmp_path / "state") as outbox:
        await accept(outbox, 20)
        shutil.copytree(tmp_path / "state", tmp_path / "killed")
    log = tmp_path / "killed" / "state.db-wal"
    data = bytearray(log.read_bytes())
    data[5000] ^= 1
    log.write_bytes(data)
    with pytest.raises(StorageError, match="Start the gateway"):
        forget(tmp_path / "killed", camera="lobby", since_s=None, until_s=None)
    assert log.read_bytes() == data


async def test_what_drift_is_told_by_is_forgotten_with_its_camera_and_with_any_time(tmp_path: Path) -> None:
    """Samples of many hours lie in one piece: those of a camera go with it, all of them where a time is named."""
    async with Storage.open(tmp_path) as storage:
        markers = MarkerTable(storage)
        for name in ("drift:gate", "drift:lobby", "other"):
            await markers.set(name, "x")
        assert forget(tmp_path, camera="gate", since_s=None, until_s=None).others == 1
        assert set(await markers.all()) == {"drift:lobby", "other"}
        assert forget(tmp_path, camera=None, since_s=1e11, until_s=None).others == 1
        assert set(await markers.all()) == {"other"}
