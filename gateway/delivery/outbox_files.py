"""The outbox of a state folder seen from outside, beside a gateway that may be running: looked at, exported, forgotten.

Looking cannot change anything. Forgetting writes on a connection of its own, which SQLite keeps apart from the
gateway's.
"""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.delivery.outbox_rules import forget_rows
from gateway.errors import StorageError
from gateway.storage.database import (
    FILE_NAME,
    Connection,
    DatabaseErrors,
    Degraded,
    check_identity,
    connect,
    connect_to_read,
    fault_of,
    give_back,
    unused_pages,
)
from gateway.storage.lock import hold
from gateway.storage.rows import COLUMNS, OutboxRow, read
from gateway.storage.salvage import is_sound

_PAGE = 256
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased; `checkpointed` is False where the running gateway kept the log from being emptied."""

    messages: int
    tracks: int
    others: int
    checkpointed: bool


def figures(folder: Path) -> dict[str, Any]:
    """Return the outbox in figures.

    Raises:
        StorageError: There is none, or it cannot be read.
    """
    with closing(_look(folder)) as connection:
        try:
            last_seq, floor_seq, depth, size = connection.execute(
                "SELECT last_seq, floor_seq, depth, bytes FROM numbers"
            ).fetchone()
            held = connection.execute("SELECT count(*) FROM waiting WHERE held = 1").fetchone()[0]
            stored, oldest = connection.execute("SELECT count(*), min(time_s) FROM outbox").fetchone()
            waiting_since = connection.execute(
                "SELECT time_s FROM outbox WHERE row = (SELECT min(row) FROM waiting)"
            ).fetchone()
            gaps = connection.execute(
                "SELECT from_seq, to_seq, count, reason, announced FROM gaps ORDER BY from_seq DESC LIMIT 20"
            ).fetchall()
        except DatabaseErrors as error:
            raise _unreadable(folder, error) from None
    return {
        "waiting": depth,
        "held": held,
        "stored": stored,
        "bytes": size,
        "first_seq": floor_seq,
        "last_seq": last_seq,
        "stored_since": oldest,
        "waiting_since": None if waiting_since is None else waiting_since[0],
        "gaps": [
            {"from_seq": first, "to_seq": last, "count": count, "reason": reason, "announced": bool(announced)}
            for first, last, count, reason, announced in gaps
        ],
        "damaged_files": sorted(path.name for path in folder.glob(f"{FILE_NAME}.corrupt-*Z")),
    }


def exported(folder: Path, *, from_seq: int, to_seq: int) -> Iterator[str]:
    """Yield one JSON line a stored alert or notice, in the order of their numbers; altered ones are left out.

    Raises:
        StorageError: There is no outbox, or it cannot be read.
    """
    # Page by page: a statement left open (by a pager, say) would keep the gateway from ever emptying its log.
    select = f"SELECT {COLUMNS} FROM outbox WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT {_PAGE}"  # noqa: S608
    with closing(_look(folder)) as connection:
        while True:
            try:
                page = connection.execute(select, (from_seq, to_seq)).fetchall()
            except DatabaseErrors as error:
                raise _unreadable(folder, error) from None
            if not page:
                return
            yield from (_line(row) for columns in page if (row := read(columns)) is not None)
            from_seq = page[-1][1] + 1


def _line(row: OutboxRow) -> str:
    entry: dict[str, Any] = {"seq": row.seq, "kind": row.kind, "topic": row.topic, "accepted": row.time_s}
    try:
        entry["payload"] = json.loads(row.payload)
    except ValueError:
        entry["payload_base64"] = base64.b64encode(row.payload).decode()
    return json.dumps(entry, ensure_ascii=False)


def forget(folder: Path, *, camera: str | None, since_s: float | None, until_s: float | None) -> Forgotten:
    """Erase what is stored of a camera, or of a time, or of a camera in a time, so that the disk no longer holds it.

    Messages that still waited become a gap, which is announced. Damaged files that were set aside go as a whole: they
    cannot be searched.

    Raises:
        StorageError: There is nothing stored, or the file cannot be written.
    """
    _check_there(folder)
    path = folder / FILE_NAME
    _check_whole(folder)
    where, parameters = _condition(camera, since_s, until_s)
    try:
        with closing(connect(path)) as connection:
            check_identity(connection, path)
            connection.execute("PRAGMA secure_delete=ON").fetchall()
            messages = _forget_messages(connection, where, parameters)
            connection.execute("BEGIN IMMEDIATE")
            tracks = _delete(connection, "calibration", where, parameters)
            others = _delete(connection, "switches", where, parameters)
            others += _delete(connection, "retained", where, parameters)
            others += _forget_drift(connection, camera)
            connection.execute("COMMIT")
            give_back(connection, unused_pages(connection))  # they hold what was pruned before
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        for damaged in folder.glob(f"{FILE_NAME}.corrupt-*"):
            damaged.unlink()
            others += 1
    except DatabaseErrors as error:
        raise StorageError(f"{path} cannot be changed: {error}. Nothing, or not all, was forgotten") from None
    return Forgotten(messages, tracks, others, checkpointed=not busy)


def _forget_messages(connection: Connection, where: str, parameters: tuple[Any, ...]) -> int:
    count = after_row = 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        rows = forget_rows(connection, where, parameters, after_row=after_row)
        connection.execute("COMMIT")
        if not rows:
            return count
        count, after_row = count + len(rows), rows[-1]
        time.sleep(_PAUSE_S)  # SQLite's lock has no queue: whoever takes it again at once keeps the gateway out


def _condition(camera: str | None, since_s: float | None, until_s: float | None) -> tuple[str, tuple[Any, ...]]:
    terms = {"camera = ?": camera, "time_s >= ?": since_s, "time_s < ?": until_s}
    given = {term: value for term, value in terms.items() if value is not None}
    return " AND ".join(given) or "0", tuple(given.values())


def _forget_drift(connection: Connection, camera: str | None) -> int:
    """Erase what drift is told by: samples of many hours in one piece, so whatever the time they go as a whole."""
    if camera is None:
        return _delete(connection, "markers", "name LIKE ?", ("drift:%",))
    return _delete(connection, "markers", "name = ?", (f"drift:{camera}",))


def _delete(connection: Connection, table: str, where: str, parameters: tuple[Any, ...]) -> int:
    connection.execute(f"DELETE FROM {table} WHERE {where}", parameters)  # noqa: S608
    return int(connection.execute("SELECT changes()").fetchone()[0])


def _look(folder: Path) -> Connection:
    _check_there(folder)
    try:
        connection = connect_to_read(folder / FILE_NAME)
        check_identity(connection, folder / FILE_NAME)
    except DatabaseErrors as error:
        raise _unreadable(folder, error) from None
    return connection


def _check_there(folder: Path) -> None:
    if not (folder / FILE_NAME).is_file():
        raise StorageError(f"there is no outbox in {folder}: name the configuration of the gateway with -c")


def _check_whole(folder: Path) -> None:
    """Refuse a damaged file that no gateway uses: opening it to write would drop commits that the gateway can save."""
    try:
        with hold(folder):
            whole = is_sound(folder / FILE_NAME, connect)
    except StorageError:
        return  # a gateway runs, and looked when it started
    except DatabaseErrors as error:
        raise _unreadable(folder, error) from None
    if not whole:
        raise StorageError(
            f"{folder / FILE_NAME} is damaged; nothing was forgotten. Start the gateway, which repairs it, then repeat"
        )


def _unreadable(folder: Path, error: Exception) -> StorageError:
    path = folder / FILE_NAME
    if fault_of(error, folder) is Degraded.CORRUPT:
        return StorageError(f"{path} is damaged: {error}. Restart the gateway: it repairs the file when it starts")
    return StorageError(f"{path} cannot be read: {error}. Check the disk, and that you may read and write the folder")
