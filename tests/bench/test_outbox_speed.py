"""How fast alerts are accepted, against SQLite alone on the same disk, and what a long outage costs in memory."""

import asyncio
import os
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.outboxes import SMALL, Clock, alert, open_outbox

from gateway.contract.examples import EXAMPLES
from gateway.delivery.outbox import Outbox

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

PAYLOAD = max((str(example).encode() for example in EXAMPLES.values()), key=len)
Tell = Callable[[str], None]


def bare(folder: Path, *, group: int, count: int) -> float:
    """Return rows per second of SQLite alone, with the same durability and so many rows a transaction."""
    connection = sqlite3.connect(folder / f"bare-{group}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (row INTEGER PRIMARY KEY, payload BLOB)")
    started_s = time.perf_counter()
    for _ in range(count // group):
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(group):
            connection.execute("INSERT INTO t (payload) VALUES (?)", (PAYLOAD,))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - started_s
    connection.close()
    return count / seconds


async def ours(outbox: Outbox, *, at_once: int, count: int) -> float:
    """Return alerts accepted per second, so many of them waiting at the same time."""
    started_s = time.perf_counter()
    for _ in range(count // at_once):
        futures = [outbox.submit(alert(outbox.next_seq(), payload=PAYLOAD)) for _ in range(at_once)]
        await asyncio.gather(*futures)
    return count / (time.perf_counter() - started_s)


@pytest.mark.parametrize(("at_once", "count"), [(1, 200), (16, 1600), (256, 5120)])
async def test_accepting_against_sqlite_alone(tmp_path: Path, at_once: int, count: int, tell: Tell) -> None:
    """Numbering, checksum, compression and the way over the thread, as a share of what SQLite alone reaches."""
    ratios, rates = [], []
    async with open_outbox(tmp_path, settings=SMALL) as outbox:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            alone = bare(folder, group=at_once, count=count)
            rates.append(await ours(outbox, at_once=at_once, count=count))
            ratios.append(rates[-1] / alone)
    rate, ratio = statistics.median(rates), statistics.median(ratios)
    tell(f"outbox, {at_once:3d} at once: {rate:8,.0f} accepted/s, {ratio:.2f} of bare SQLite in the same groups")


async def test_accepting_when_there_is_no_room_left(tmp_path: Path, tell: Tell) -> None:
    """At the size limit each message costs another, and none costs a look through all of them."""
    settings = SMALL.model_copy(update={"max_bytes": 16 * 2**20})
    async with open_outbox(tmp_path, settings=settings) as outbox:
        while not outbox.status().alerts_evicted:
            before = await ours(outbox, at_once=200, count=1000)
        after = await ours(outbox, at_once=200, count=5000)
    tell(f"outbox, 16 MiB waiting and no room left: {after:,.0f} accepted/s, {after / before:.2f} of before")


def resident_bytes() -> int:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_of(folder: Path) -> int:
    """Return what the state file and its log take."""
    return sum(path.stat().st_size for path in folder.glob("state.db*"))


async def test_an_hour_without_a_broker(tmp_path: Path, tell: Tell) -> None:
    """72,000 alerts (20 a second for an hour) wait on the disk, not in memory, within 64 MiB."""
    clock = Clock()
    async with open_outbox(tmp_path, settings=SMALL, clock=clock) as outbox:
        await ours(outbox, at_once=100, count=2000)
        before_bytes = resident_bytes()
        for _ in range(350):
            clock.now_s += 10
            await ours(outbox, at_once=200, count=200)
        grown_bytes = resident_bytes() - before_bytes
        status = outbox.status()
        assert status.depth == 72_000
        assert status.alerts_evicted == 0
        on_disk = bytes_of(tmp_path)
    started_s = time.perf_counter()
    async with open_outbox(tmp_path, settings=SMALL, clock=clock) as outbox:
        start_s = time.perf_counter() - started_s
        drained, started_s, row = 0, time.perf_counter(), 0
        while rows := await outbox.pending(64, row):
            row = rows[-1].row
            await outbox.delivered(rows)
            drained += len(rows)
        drain_rate = drained / (time.perf_counter() - started_s)
    assert drained == 72_000
    tell(f"outbox, an hour away: {grown_bytes / 2**20:.1f} MiB more memory, {on_disk / 2**20:.0f} MiB on the disk")
    tell(f"outbox, start with 72,000 waiting: {start_s:.2f} s; read and settled again at {drain_rate:,.0f}/s")
