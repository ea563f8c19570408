"""Numbers that no subscriber can get any more: kept until a notice has told them, neighbours as one."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.storage.database import Connection

Reason = Literal["evicted", "corrupted", "forgotten", "not_stored"]

MAX_OPEN = 256
"""Gaps that wait for their notice; beyond it the two nearest become one, whose count stays exact."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`count` messages are gone for good, all of them numbered from `from_seq` to `to_seq`, both included."""

    number: int
    from_seq: int
    to_seq: int
    count: int
    reason: str


def add_gap(connection: Connection, seqs: tuple[int, int], *, count: int, reason: Reason, time_s: float) -> None:
    """Add a gap, joined with unannounced neighbours of the same reason."""
    if not _add(connection, seqs, count=count, reason=reason, time_s=time_s):
        _join_nearest(connection)


def add_lost(connection: Connection, seqs: Iterable[int], *, reason: Reason, time_s: float) -> None:
    """Add the gaps that these numbers make."""
    for from_seq, to_seq in ranges_of(sorted(seqs)):
        _add(connection, (from_seq, to_seq), count=to_seq - from_seq + 1, reason=reason, time_s=time_s)
    _join_nearest(connection)


def _add(connection: Connection, seqs: tuple[int, int], *, count: int, reason: Reason, time_s: float) -> bool:
    """Add a gap and return whether it became one with others."""
    from_seq, to_seq = seqs
    neighbours = connection.execute(
        "SELECT number, from_seq, to_seq, count FROM gaps WHERE announced = 0 AND reason = ? AND from_seq <= ? "
        "AND to_seq >= ?",
        (reason, to_seq + 1, from_seq - 1),
    ).fetchall()
    for number, other_from, other_to, other_count in neighbours:
        connection.execute("DELETE FROM gaps WHERE number = ?", (number,))
        from_seq, to_seq, count = min(from_seq, other_from), max(to_seq, other_to), count + other_count
    connection.execute(
        "INSERT INTO gaps (from_seq, to_seq, count, reason, time_s) VALUES (?, ?, ?, ?, ?)",
        (from_seq, to_seq, count, reason, time_s),
    )
    return bool(neighbours)


def _join_nearest(connection: Connection) -> None:
    """Let no more than `MAX_OPEN` be open: those with the fewest numbers between them become one."""
    rows = connection.execute(
        "SELECT number, from_seq, to_seq, count, reason, time_s FROM gaps WHERE announced = 0 ORDER BY from_seq"
    ).fetchall()
    if len(rows) <= MAX_OPEN:
        return
    nearest = sorted(range(1, len(rows)), key=lambda place: rows[place][1] - rows[place - 1][2])
    joins = {*nearest[: len(rows) - MAX_OPEN]}
    starts = [place for place in range(len(rows)) if place not in joins]
    for start, end in itertools.pairwise([*starts, len(rows)]):
        if end - start > 1:
            _join(connection, rows[start:end])


def _join(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Make one of them, under a number of its own: a notice on its way tells what stood under the old ones, no more."""
    for number, *_ in rows:
        connection.execute("DELETE FROM gaps WHERE number = ?", (number,))
    to_seq, count = max(row[2] for row in rows), sum(row[3] for row in rows)
    connection.execute(
        "INSERT INTO gaps (from_seq, to_seq, count, reason, time_s) VALUES (?, ?, ?, ?, ?)",
        (rows[0][1], to_seq, count, *rows[-1][4:]),
    )


def open_gaps(connection: Connection, limit: int = MAX_OPEN) -> list[Gap]:
    """Return the gaps that no notice has told yet, lowest numbers first."""
    rows = connection.execute(
        "SELECT number, from_seq, to_seq, count, reason FROM gaps WHERE announced = 0 ORDER BY from_seq LIMIT ?",
        (limit,),
    )
    return [Gap(*row) for row in rows]


def ranges_of(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for seq in seqs:
        if ranges and seq == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return ranges


def missing_ranges(
    present: Sequence[int], announced: Iterable[tuple[int, ...]], floor_seq: int, last_seq: int
) -> list[tuple[int, int]]:
    """Return what is neither present nor in a gap already, from `floor_seq` to `last_seq`."""
    covered = sorted([*((seq, seq) for seq in present), *((gap[0], gap[1]) for gap in announced)])
    missing, expected = [], max(1, floor_seq)
    for from_seq, to_seq in covered:
        if from_seq > last_seq:
            break
        if from_seq > expected:
            missing.append((expected, from_seq - 1))
        expected = max(expected, to_seq + 1)
    if expected <= last_seq:
        missing.append((expected, last_seq))
    return missing
