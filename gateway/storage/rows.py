"""A message as it lies in the outbox: compressed, with a checksum of its own, never changed once written.

That it waits for delivery is said in another table, so that a row's checksum holds for as long as the row.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.storage.database import Connection

Kind = Literal["alert", "notice", "telemetry"]

COLUMNS = "row, seq, kind, rank, topic, content_type, camera, alert_id, time_s, size, payload, crc"
MAX_PAYLOAD_BYTES = 2**20
_OVERHEAD_BYTES = 160  # what a row takes beside its payload, indexes and half-filled pages included
_INSERT = f"INSERT INTO outbox ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
_PACKED, _PLAIN = b"z", b"-"


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One stored message; `row` is its place in the order of acceptance, `time_s` when it was accepted (UTC)."""

    row: int
    seq: int | None
    kind: Kind
    rank: int
    topic: str
    content_type: str
    camera: str | None
    alert_id: str | None
    time_s: float
    payload: bytes


def pack(payload: bytes) -> bytes:
    """Return a payload as it is stored: an alert takes half the space."""
    packed = zlib.compress(payload, 1)
    return _PACKED + packed if len(packed) < len(payload) else _PLAIN + payload


def unpack(stored: bytes) -> bytes:
    """Return the payload.

    Raises:
        ValueError: This was not stored by `pack`.
    """
    if stored[:1] == _PLAIN:
        return stored[1:]
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(stored[1:], MAX_PAYLOAD_BYTES)
    except zlib.error as error:
        raise ValueError(f"a stored payload cannot be read: {error}") from None
    if stored[:1] != _PACKED or not inflater.eof:
        raise ValueError("a stored payload is cut short or too long")
    return payload


def checksum(columns: Sequence[Any]) -> int:
    """Return the checksum of a stored row from its columns up to the payload."""
    *facts, payload = columns
    return zlib.crc32(payload, zlib.crc32(repr(tuple(facts)).encode()))


def insert(connection: Connection, row: OutboxRow) -> int:
    """Write a row and return the bytes it takes; the caller has looked whether it is there."""
    stored = pack(row.payload)
    size = len(stored) + _OVERHEAD_BYTES
    facts = (row.row, row.seq, row.kind, row.rank, row.topic, row.content_type, row.camera, row.alert_id)
    columns = (*facts, float(row.time_s), size, stored)
    connection.execute(_INSERT, (*columns, checksum(columns)))
    return size


def is_stored(connection: Connection, row: int) -> bool:
    """Return whether a row is there: a commit that failed may have reached the disk after all."""
    return connection.execute("SELECT 1 FROM outbox WHERE row = ?", (row,)).fetchone() is not None


def read(columns: Sequence[Any]) -> OutboxRow | None:
    """Return the row of its columns, or None where they are not what was written."""
    row, seq, kind, rank, topic, content_type, camera, alert_id, time_s, _size, payload, crc = columns
    if not isinstance(payload, bytes) or checksum(columns[:-1]) != crc:
        return None
    try:
        whole = unpack(payload)
    except ValueError:
        return None
    return OutboxRow(row, seq, kind, rank, topic, content_type, camera, alert_id, time_s, whole)
