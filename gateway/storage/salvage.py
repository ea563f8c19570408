"""A damaged state file: set aside, and a new one made of everything in it that can still be read and proved.

Rows of the outbox are found page by page and taken when their checksum holds. What was accepted and is not among them
becomes a gap, which is announced like any other. The damaged file stays beside the new one.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.storage.database import (
    Connect,
    Connection,
    DatabaseErrors,
    Degraded,
    check_identity,
    connect_to_read,
    fault_of,
    kept_statements,
    numbers_checksum,
    prepare,
    statements,
)
from gateway.storage.failpoints import fail_point
from gateway.storage.gaps import add_gap, missing_ranges
from gateway.storage.pages import records
from gateway.storage.rows import COLUMNS, checksum, read
from gateway.storage.wal import hides_commits

_DONE = ".salvaged"
_UNDER_WAY = ".salvaging"
_MARGIN = 1000  # numbers skipped where nobody can tell any more which were given
_OUTBOX_COLUMNS = len(COLUMNS.split(","))
_NUMBERS_COLUMNS = 6
_OTHER_TABLES = {
    "calibration": "number, camera, environment, statistic, alert_id, time_s",
    "switches": "camera, enabled, time_s",
    "retained": "topic, kind, payload, camera, time_s",
    "markers": "name, value, time_s",
    "gaps": "number, from_seq, to_seq, count, reason, time_s, announced",
}

_DAMAGE = (*DatabaseErrors, OverflowError, TypeError, ValueError)
_WAITING_SOUND = (
    "SELECT count(*) FROM waiting JOIN outbox USING (row) WHERE waiting.rank = outbox.rank AND waiting.held IN (0, 1)"
)
_KEPT = 2  # damaged files that stay; older ones go, so that a dying disk is not filled by them

_log = structlog.get_logger()


def is_sound(path: Path, connect: Connect) -> bool:
    """Return whether SQLite finds nothing wrong with the file, and every row of the outbox is what was written.

    Raises:
        StorageError: It is another program's.
        sqlite3.Error: The disk cannot be read; that says nothing of the file.
    """
    if path.with_name(path.name + _DONE).exists():
        return False  # killed while it was replaced
    if not path.exists() or path.stat().st_size == 0:
        return True
    if hides_commits(path.with_name(path.name + "-wal")):
        return False
    try:
        connection = connect(path)
        try:
            check_identity(connection, path)
            # Not `quick_check`: behind a flipped bit in an index, rows that are there are not found by their number.
            if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
                return False
            return connection.execute("PRAGMA user_version").fetchone()[0] == 0 or _is_proved(connection)
        finally:
            connection.close()
    except DatabaseErrors as error:
        if fault_of(error, path.parent) not in {Degraded.CORRUPT, None}:
            raise
        return False


def _is_proved(connection: Connection) -> bool:
    """Return whether tables, numbers and rows are ours to the bit; 100,000 rows take half a second."""
    if kept_statements(connection) != set(statements()):
        return False
    last_seq, floor_seq, depth, crc = connection.execute(
        "SELECT last_seq, floor_seq, depth, crc FROM numbers"
    ).fetchone() or (0, 0, 0, 0)
    rows = connection.execute(f"SELECT {COLUMNS} FROM outbox NOT INDEXED")  # noqa: S608
    return (
        crc == numbers_checksum(last_seq, floor_seq)
        and depth == connection.execute("SELECT count(*) FROM waiting").fetchone()[0]
        and depth == connection.execute(_WAITING_SOUND).fetchone()[0]
        and all(isinstance(columns[-2], bytes) and checksum(columns[:-1]) == columns[-1] for columns in rows)
    )


def set_aside(path: Path, *, now_s: float | None = None) -> Path:
    """Put a salvaged file in the place of a damaged one; return where the damaged one lies now.

    Killed anywhere, the next call begins again or goes on: what was salvaged is whole before the damaged file leaves
    its place, and as long as it lies beside it the next start takes it.
    """
    now_s = time.time() if now_s is None else now_s
    done = path.with_name(path.name + _DONE)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    kept = path.with_name(f"{path.name}.corrupt-{stamp}")
    if not done.exists():
        _salvage(path, now_s)
    for suffix in ("-wal", ""):  # all that follows can be done again
        fail_point("storage.setting_aside")
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    _sync_folder(path.parent)  # the old log must be gone before the new file has its name
    fail_point("storage.setting_aside")
    done.replace(path)
    _sync_folder(path.parent)
    fail_point("storage.setting_aside")
    for old in sorted(path.parent.glob(f"{path.name}.corrupt-*Z"))[:-_KEPT]:
        for suffix in ("", "-wal"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return kept


def _salvage(path: Path, now_s: float) -> None:
    under_way = path.with_name(path.name + _UNDER_WAY)
    for suffix in ("", "-wal", "-shm"):
        under_way.with_name(under_way.name + suffix).unlink(missing_ok=True)
    fresh = sqlite3.connect(under_way, isolation_level=None)
    try:
        prepare(fresh, under_way)
        fresh.execute("PRAGMA journal_mode=DELETE").fetchall()
        fresh.execute("BEGIN IMMEDIATE")
        _fill(fresh, path, now_s)
        fresh.execute("COMMIT")
    finally:
        fresh.close()
    under_way.chmod(0o600)
    fail_point("storage.setting_aside")
    under_way.replace(path.with_name(path.name + _DONE))
    _sync_folder(path.parent)


def _fill(fresh: sqlite3.Connection, path: Path, now_s: float) -> None:
    view = _view_of(path, fresh)
    told = [tuple(gap) for gap in fresh.execute("SELECT from_seq, to_seq FROM gaps").fetchall()]
    numbers = _newest_numbers(path)
    rows = _still_wanted(_proved_rows(path), view, told, floor_seq=0 if numbers is None else numbers[1])
    seqs = sorted(columns[1] for columns in rows.values() if columns[1] is not None)
    if numbers is None:
        known = max([*seqs, *(to_seq for _, to_seq in told)], default=0)
        numbers = known + _MARGIN, min(seqs, default=1)
    last_seq, floor_seq = max([numbers[0], *seqs]), numbers[1]
    for columns in rows.values():
        fresh.execute(f"INSERT INTO outbox ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", columns)  # noqa: S608
        if view is None or columns[0] in view.waiting or columns[0] not in view.rows:
            held = 0 if view is None else view.waiting.get(columns[0], 0)
            fresh.execute("INSERT INTO waiting (row, rank, held) VALUES (?, ?, ?)", (columns[0], columns[3], held))
    lost = missing_ranges(seqs, told, floor_seq, last_seq)
    for from_seq, to_seq in lost:
        add_gap(fresh, (from_seq, to_seq), count=to_seq - from_seq + 1, reason="corrupted", time_s=now_s)
    depth = fresh.execute("SELECT count(*) FROM waiting").fetchone()[0]
    size = sum(columns[9] for columns in rows.values())
    crc = numbers_checksum(last_seq, floor_seq)
    fresh.execute("DELETE FROM numbers")
    fresh.execute("INSERT INTO numbers VALUES (1, ?, ?, ?, ?, ?)", (last_seq, floor_seq, depth, size, crc))
    _log.error("state_file_corrupted", file=str(path), recovered=len(rows), lost=sum(b - a + 1 for a, b in lost))


@dataclass(frozen=True, slots=True)
class _View:
    """What SQLite still sees of the outbox, whole: its rows, which of them wait (and are held), the highest number."""

    rows: frozenset[int]
    waiting: dict[int, int]
    last_seq: int


def _still_wanted(
    rows: dict[int, tuple[Any, ...]], view: _View | None, told: list[tuple[Any, ...]], *, floor_seq: int
) -> dict[int, tuple[Any, ...]]:
    """Leave out what had been removed before the damage: pages keep what is no longer used."""
    if view is not None:
        return {row: values for row, values in rows.items() if row in view.rows or (values[1] or 0) > view.last_seq}
    gone = {seq for from_seq, to_seq in told for seq in range(from_seq, min(to_seq, from_seq + 10**6) + 1)}
    return {
        row: values
        for row, values in rows.items()
        if values[1] is None or (values[1] >= floor_seq and values[1] not in gone)
    }


def _proved_rows(path: Path) -> dict[int, tuple[Any, ...]]:
    """Return the columns of every row whose checksum holds; of two with one number, the one accepted later."""
    found: dict[int, tuple[Any, ...]] = {}
    by_seq: dict[int, int] = {}
    for row, (_, *values) in records(path, _OUTBOX_COLUMNS):
        if not isinstance(values[7], int | float):
            continue
        values[7] = float(values[7])  # SQLite stores a whole number without its point
        columns = (row, *values)
        if row in found and found[row][8] > columns[8]:
            continue
        if read(columns) is None:
            continue
        other = by_seq.get(columns[1], row) if columns[1] is not None else row
        if other != row and found[other][8] > columns[8]:
            continue
        if other != row:
            del found[other]
        if columns[1] is not None:
            by_seq[columns[1]] = row
        found[row] = columns
    return dict(sorted(found.items()))


def _view_of(path: Path, fresh: Connection) -> _View | None:
    """Copy the other tables as far as they can be read; return what can be seen of the outbox if it is all of it."""
    try:
        damaged = connect_to_read(path)
    except DatabaseErrors:
        return None
    try:
        for table, columns in _OTHER_TABLES.items():
            marks = ",".join("?" * len(columns.split(",")))
            for values in _both_ways(damaged, f"SELECT {columns} FROM {table}"):  # noqa: S608
                with suppress(*_DAMAGE):
                    fresh.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", values)  # noqa: S608
        rows = frozenset(row for (row,) in damaged.execute("SELECT row FROM outbox NOT INDEXED"))
        waiting = dict(damaged.execute("SELECT row, held FROM waiting").fetchall())
        last_seq, floor_seq, depth, crc = damaged.execute(
            "SELECT last_seq, floor_seq, depth, crc FROM numbers"
        ).fetchone()
    except _DAMAGE:
        return None
    finally:
        with suppress(*DatabaseErrors):
            damaged.close()
    plain = len(waiting) == depth and waiting.keys() <= rows and {*waiting.values()} <= {0, 1}
    whole = plain and crc == numbers_checksum(last_seq, floor_seq)
    return _View(rows, waiting, last_seq) if whole else None


def _both_ways(damaged: Connection, select: str) -> Iterator[Any]:
    """Yield rows from the front up to the damage, and from the back up to it."""
    for order in ("1", "1 DESC"):
        try:
            yield from damaged.execute(f"{select} ORDER BY {order}")
        except _DAMAGE:
            continue
        return


def _newest_numbers(path: Path) -> tuple[int, int] | None:
    """Return the highest number given and the lowest that may be stored, of all that any page still says."""
    proved = [
        (values[1], values[2])
        for _, values in records(path, _NUMBERS_COLUMNS)
        if all(isinstance(value, int) for value in values[1:]) and values[5] == numbers_checksum(values[1], values[2])
    ]
    return max(proved, default=None)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
