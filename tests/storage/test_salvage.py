"""Damaged state files: set aside, and everything that can be proved is in the new one."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest
from fakes.outboxes import SMALL, alert, open_outbox

from gateway.storage.database import PAGE_BYTES, connect
from gateway.storage.gaps import Gap
from gateway.storage.rows import OutboxRow
from gateway.storage.salvage import is_sound

ROWS = 60


def payload_of(seq: int) -> bytes:
    """Return what a message must still hold: its number and, for some, more than a page."""
    return f"{seq}:".encode() + random.Random(seq).randbytes(9000 if seq % 20 == 0 else seq % 7 * 60)


async def make(folder: Path, *, closed: bool) -> None:
    """Fill a state folder: 60 alerts of which 10 are delivered; not `closed`, most of it lies in the log."""
    async with open_outbox(folder, settings=SMALL) as outbox:
        for _ in range(ROWS):
            seq = outbox.next_seq()
            await outbox.accept(alert(seq, payload=payload_of(seq)))
        await outbox.delivered(await outbox.pending(10))
        if not closed:
            shutil.copytree(folder, folder.with_name("open"))


@pytest.fixture(scope="module", params=["file", "log"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a whole state folder, closed in order or killed with its log."""
    folder = tmp_path_factory.mktemp("whole") / "state"
    asyncio.run(make(folder, closed=request.param == "file"))
    return folder if request.param == "file" else folder.with_name("open")


async def reopened(folder: Path) -> tuple[list[OutboxRow], list[Gap], int]:
    """Open a folder and return its rows, its gaps and its highest number."""
    async with open_outbox(folder) as outbox:
        rows = await outbox.between(0, 10**12, 10_000)
        await outbox.pending(10_000)
        return rows, await outbox.gaps(), outbox.next_seq() - 1


def check(rows: Iterable[OutboxRow], gaps: list[Gap], last_seq: int) -> int:
    """Nothing is altered, nothing is missing without a gap, no number can be given again; return the rows found."""
    found = {row.seq: row.payload for row in rows}
    assert all(payload == payload_of(seq or 0) for seq, payload in found.items())
    covered = {seq for gap in gaps for seq in range(gap.from_seq, gap.to_seq + 1)}
    missing = set(range(1, ROWS + 1)) - found.keys()
    assert missing <= covered, (missing, gaps)
    assert last_seq >= ROWS
    return len(found)


def flip(folder: Path, chance: random.Random) -> None:
    """Flip 1 to 64 bits somewhere in the file or its log."""
    files = [path for path in (folder / "state.db", folder / "state.db-wal") if path.exists() and path.stat().st_size]
    path = chance.choices(files, [file.stat().st_size for file in files])[0]
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data))
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        place = (
            min(len(data) - 1, start + chance.randrange(64)) if chance.random() < 0.5 else chance.randrange(len(data))
        )
        data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def try_flips(whole: Path, folder: Path, count: int, seed: int) -> float:
    """Damage copies of a whole folder and check what comes of each; return the share of rows that were found."""
    found = 0
    for number in range(count):
        copy = folder / "copy"
        shutil.copytree(whole, copy)
        flip(copy, random.Random(seed * 1_000_000 + number))
        found += check(*asyncio.run(reopened(copy)))
        shutil.rmtree(copy)
    return found / (count * ROWS)


def test_flipped_bits_alter_nothing_and_lose_nothing_silently(whole: Path, tmp_path: Path) -> None:
    """Whatever bits flip, the file opens, and each message is as it was written or its loss is told."""
    assert try_flips(whole, tmp_path, 60, seed=1) > 0.9


def answer(path: Path, pragma: str) -> str:
    """Return what SQLite says of a file."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return str(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
    finally:
        connection.close()


def damage_index(path: Path) -> None:
    """Flip a bit in the index of the numbers that leaves the file in order for all but a full check."""
    connection = sqlite3.connect(path)
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'outbox_seq'").fetchone()[0]
    connection.close()
    whole = path.read_bytes()
    for place in range(page * PAGE_BYTES - 1, page * PAGE_BYTES - 200, -1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 32]) + whole[place + 1 :])
        if answer(path, "quick_check(1)") == "ok" != answer(path, "integrity_check(1)"):
            return
    raise AssertionError("no such bit")


async def test_a_damaged_index_hides_no_message(tmp_path: Path) -> None:
    """A message that is there must be found by its number, or a replay would say that it is gone."""
    await make(tmp_path / "state", closed=True)
    damage_index(tmp_path / "state" / "state.db")
    assert not is_sound(tmp_path / "state" / "state.db", connect)
    rows, gaps, _ = await reopened(tmp_path / "state")
    assert [row.seq for row in rows] == list(range(1, ROWS + 1))
    assert gaps == []


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_many_flipped_bits_alter_nothing_and_lose_nothing_silently(whole: Path, tmp_path: Path) -> None:
    """5,000 damaged files of each kind: none refuses to open, none holds an altered message."""
    assert try_flips(whole, tmp_path, 5000, seed=2) > 0.9
