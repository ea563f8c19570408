"""What happens in the outbox's transactions: writing, settling, pruning, and evicting what there is no room for.

Order of eviction: telemetry before alerts; of alerts, delivered before undelivered; of undelivered ones the lowest
severity, the oldest of them first. A notice that waits goes last of all: it tells what was. For the storage thread.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.storage.database import Connection, numbers_checksum
from gateway.storage.failpoints import fail_point
from gateway.storage.gaps import add_gap, add_lost
from gateway.storage.rows import OutboxRow, insert, is_stored

_CHUNK = 64
_FORGOTTEN_AT_ONCE = 256  # so that a running gateway waits a moment, and not for all of it
_STEP = 256  # of the whole, this part more than needed is evicted at once, so that not every message has to look


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept, and for how long after its delivery."""

    max_bytes: int
    retention_s: float


@dataclass(frozen=True, slots=True)
class Numbers:
    """The outbox in figures, as of one transaction."""

    last_seq: int
    floor_seq: int
    last_row: int
    depth: int
    bytes: int
    oldest_time_s: float | None
    gaps: int


@dataclass(frozen=True, slots=True)
class Written:
    """The figures after a transaction, and what had to go in it."""

    numbers: Numbers
    telemetry_evicted: int = 0
    alerts_evicted: int = 0


def numbers_of(connection: Connection) -> Numbers:
    """Return the figures. They cost the same whatever the depth."""
    row = connection.execute(
        "SELECT last_seq, floor_seq, (SELECT max(row) FROM outbox), depth, bytes, "
        "(SELECT time_s FROM outbox WHERE row = (SELECT min(row) FROM waiting)), "
        "(SELECT count(*) FROM gaps WHERE announced = 0) FROM numbers"
    ).fetchone()
    return Numbers(row[0], row[1], row[2] or 0, *row[3:])


def write(
    connection: Connection,
    *,
    row: OutboxRow,
    held: bool,
    announces: Sequence[int],
    refused: Sequence[tuple[int, int]],
    limits: Limits,
) -> Written:
    """Store a message with what must be known together with it, and make room for it."""
    if is_stored(connection, row.row):
        return Written(numbers_of(connection))
    size = insert(connection, row)
    connection.execute("INSERT INTO waiting (row, rank, held) VALUES (?, ?, ?)", (row.row, row.rank, int(held)))
    fail_point("outbox.after_insert")
    for number in announces:
        connection.execute("UPDATE gaps SET announced = 1 WHERE number = ?", (number,))
    for from_seq, to_seq in refused:
        add_gap(connection, (from_seq, to_seq), count=to_seq - from_seq + 1, reason="not_stored", time_s=row.time_s)
    highest = max([row.seq or 0, *(to_seq for _, to_seq in refused)])
    _count(connection, depth=1, size=size, highest=highest)
    numbers = numbers_of(connection)
    if numbers.bytes <= limits.max_bytes:
        return Written(numbers)
    excess_bytes = numbers.bytes - limits.max_bytes + limits.max_bytes // _STEP
    telemetry, alerts = _evict(connection, excess_bytes, time_s=row.time_s, keep=row.row)
    fail_point("outbox.after_evict")
    return Written(numbers_of(connection), telemetry, alerts)


def settle(
    connection: Connection,
    *,
    rows: Sequence[int],
    prune_before_s: float | None = None,
    lost_at_s: float | None = None,
) -> Written:
    """Take rows out of what waits; with `lost_at_s` they are gone for good, and their numbers a gap."""
    for row in rows:
        if lost_at_s is not None:
            _lose_altered(connection, row, lost_at_s)
        elif _is_telemetry(connection, row):
            _remove(connection, row)
        else:
            connection.execute("DELETE FROM waiting WHERE row = ?", (row,))
            _count(connection, depth=-_changes(connection))
    if prune_before_s is not None:
        prune(connection, before_s=prune_before_s)
    fail_point("outbox.after_delivered")
    return Written(numbers_of(connection))


def prune(connection: Connection, *, before_s: float = math.inf, free_bytes: float = math.inf) -> bool:
    """Remove delivered messages, oldest first: those accepted before a time, until so much is free; tell if any."""
    freed = 0
    for row, _seq, time_s in _delivered(connection):
        if time_s >= before_s or freed >= free_bytes:  # in the order of acceptance: the rest is younger
            break
        freed += _remove(connection, row)
    if freed:
        _raise_floor(connection)
    return freed > 0


def _is_telemetry(connection: Connection, row: int) -> bool:
    return connection.execute("SELECT 1 FROM outbox WHERE row = ? AND seq IS NULL", (row,)).fetchone() is not None


def _delivered(connection: Connection) -> Iterator[tuple[int, int, float]]:
    """Yield (row, seq, time_s) of what is kept after its delivery, oldest first; who takes them may remove them.

    Telemetry is not kept, so the index of the numbers holds them all: it is small, also behind a long backlog.
    """
    after_seq = 0
    while rows := connection.execute(
        "SELECT row, seq, time_s FROM outbox WHERE seq > ? AND NOT EXISTS "
        "(SELECT 1 FROM waiting WHERE waiting.row = outbox.row) ORDER BY seq LIMIT ?",
        (after_seq, _CHUNK),
    ).fetchall():
        yield from rows
        after_seq = rows[-1][1]


def _evict(connection: Connection, excess_bytes: int, *, time_s: float, keep: int) -> tuple[int, int]:
    """Remove the least important until `excess_bytes` are free; return how much telemetry and how many alerts."""
    telemetry = alerts = 0
    lost: list[int] = []
    for row, seq, waits in _victims(connection, keep):
        if excess_bytes <= 0:
            break
        excess_bytes -= _remove(connection, row)
        telemetry += seq is None
        if waits and seq is not None:
            alerts += 1
            lost.append(seq)
    add_lost(connection, lost, reason="evicted", time_s=time_s)
    _raise_floor(connection)
    return telemetry, alerts


def _victims(connection: Connection, keep: int) -> Iterator[tuple[int, int | None, bool]]:
    """Yield the next rows to go as (row, seq, whether it waits); each is removed before the next is asked for."""
    while telemetry := connection.execute(
        "SELECT row FROM waiting WHERE rank = 0 AND row < ? ORDER BY row LIMIT ?", (keep, _CHUNK)
    ).fetchall():
        yield from ((row, None, True) for (row,) in telemetry)
    yield from ((row, seq, False) for row, seq, _time_s in _delivered(connection))
    while waiting := connection.execute(
        "SELECT waiting.row, seq FROM waiting CROSS JOIN outbox USING (row) WHERE waiting.row < ? "
        "ORDER BY waiting.rank, waiting.row LIMIT ?",
        (keep, _CHUNK),
    ).fetchall():
        yield from ((row, seq, True) for row, seq in waiting)


def _remove(connection: Connection, row: int) -> int:
    """Remove a row and return the bytes it took."""
    found = connection.execute("SELECT size FROM outbox WHERE row = ?", (row,)).fetchone()
    size = 0 if found is None else int(found[0])
    connection.execute("DELETE FROM outbox WHERE row = ?", (row,))
    connection.execute("DELETE FROM waiting WHERE row = ?", (row,))
    _count(connection, depth=-_changes(connection), size=-size)
    return size


def _lose_altered(connection: Connection, row: int, time_s: float) -> None:
    """Remove a row that is not what was written. Its number may be altered too: its neighbours' tell the range."""
    if not is_stored(connection, row):
        return  # an earlier attempt reached the disk after all
    before = connection.execute("SELECT max(seq) FROM outbox WHERE row < ? AND seq IS NOT NULL", (row,)).fetchone()[0]
    after = connection.execute("SELECT min(seq) FROM outbox WHERE row > ? AND seq IS NOT NULL", (row,)).fetchone()[0]
    last_seq, floor_seq = connection.execute("SELECT last_seq, floor_seq FROM numbers").fetchone()
    _remove(connection, row)
    from_seq, to_seq = (before or floor_seq - 1) + 1, (last_seq + 1 if after is None else after) - 1
    if from_seq <= to_seq:
        add_gap(connection, (from_seq, to_seq), count=1, reason="corrupted", time_s=time_s)


def _changes(connection: Connection) -> int:
    return int(connection.execute("SELECT changes()").fetchone()[0])


def _count(connection: Connection, *, depth: int = 0, size: int = 0, highest: int = 0) -> None:
    connection.execute("UPDATE numbers SET depth = depth + ?, bytes = bytes + ?", (depth, size))
    last_seq, floor_seq = connection.execute("SELECT last_seq, floor_seq FROM numbers").fetchone()
    if highest > last_seq:
        crc = numbers_checksum(highest, floor_seq)
        connection.execute("UPDATE numbers SET last_seq = ?, crc = ?", (highest, crc))


def _raise_floor(connection: Connection) -> None:
    last_seq, floor_seq = connection.execute("SELECT last_seq, floor_seq FROM numbers").fetchone()
    lowest = connection.execute("SELECT min(seq) FROM outbox WHERE seq IS NOT NULL").fetchone()[0]
    floor = last_seq + 1 if lowest is None else lowest
    if floor > floor_seq:
        connection.execute("UPDATE numbers SET floor_seq = ?, crc = ?", (floor, numbers_checksum(last_seq, floor)))
        connection.execute("DELETE FROM gaps WHERE announced = 1 AND to_seq < ?", (floor,))


def forget_rows(connection: Connection, where: str, parameters: tuple[Any, ...], *, after_row: int) -> list[int]:
    """Remove the next messages that an SQL condition names, and return which; those that waited become gaps."""
    waits = "EXISTS (SELECT 1 FROM waiting WHERE waiting.row = outbox.row)"
    select = f"SELECT row, seq, {waits}, time_s FROM outbox WHERE row > ? AND {where} ORDER BY row LIMIT ?"  # noqa: S608
    rows = connection.execute(select, (after_row, *parameters, _FORGOTTEN_AT_ONCE)).fetchall()
    for row, _seq, _waits, _time_s in rows:
        _remove(connection, row)
    lost = [seq for _row, seq, waits, _time_s in rows if waits and seq is not None]
    if rows:
        add_lost(connection, lost, reason="forgotten", time_s=rows[-1][3])
        _raise_floor(connection)
    return [row for row, *_ in rows]
