"""Reads the rows of SQLite's table pages without SQLite: what a damaged file still holds.

SQLite reaches a page through others; one damaged on the way hides all below. Here every page counts that looks like a
leaf of a table, in the file and in its write-ahead log. Whether a row is what was written, its checksum must tell. The
format: https://www.sqlite.org/fileformat2.html
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.storage.database import PAGE_BYTES
from gateway.storage.wal import FRAME_HEADER_BYTES, HEADER_BYTES

_LEAF = 13
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
_MAX_CHAIN = 300  # pages of the largest payload that is kept

Record = tuple[int, tuple[Any, ...]]


def records(database: Path, columns: int) -> Iterator[Record]:
    """Yield (row id, values) of every readable row with so many columns, the log's last: the newest come last."""
    images = list(_images(database))
    latest = dict(images)
    for _number, page in images:
        if page[0] == _LEAF:
            yield from _records_of(page, columns, latest)


def _images(database: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (page number, page) of the file and then of every frame of its log."""
    whole = database.read_bytes()
    for start in range(0, len(whole) - PAGE_BYTES + 1, PAGE_BYTES):
        yield start // PAGE_BYTES + 1, whole[start : start + PAGE_BYTES]
    log = database.with_name(database.name + "-wal")
    if not log.exists():
        return
    whole = log.read_bytes()
    step = FRAME_HEADER_BYTES + PAGE_BYTES
    for start in range(HEADER_BYTES, len(whole) - step + 1, step):
        number = int.from_bytes(whole[start : start + 4], "big")
        yield number, whole[start + FRAME_HEADER_BYTES : start + step]


def _records_of(page: bytes, columns: int, latest: dict[int, bytes]) -> Iterator[Record]:
    cells = int.from_bytes(page[3:5], "big")
    for index in range(min(cells, PAGE_BYTES // 4)):
        place = int.from_bytes(page[8 + 2 * index : 10 + 2 * index], "big")
        try:
            record = _record_at(page, place, columns, latest)
        except (IndexError, ValueError, struct.error):
            continue
        if record is not None:
            yield record


def _record_at(page: bytes, place: int, columns: int, latest: dict[int, bytes]) -> Record | None:
    length, place = _varint(page, place)
    row, place = _varint(page, place)
    usable = PAGE_BYTES
    if length <= usable - 35:
        body = page[place : place + length]
    else:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (usable - 4)
        local = local if local <= usable - 35 else least
        body = page[place : place + local] + _chained(page[place + local : place + local + 4], length - local, latest)
    return (row, values) if (values := _values(body, columns)) is not None else None


def _chained(link: bytes, missing: int, latest: dict[int, bytes]) -> bytes:
    parts = []
    for _ in range(_MAX_CHAIN):
        page = latest.get(int.from_bytes(link, "big"))
        if page is None or missing <= 0:
            break
        parts.append(page[4 : 4 + min(missing, PAGE_BYTES - 4)])
        missing -= PAGE_BYTES - 4
        link = page[:4]
    return b"".join(parts)


def _values(body: bytes, columns: int) -> tuple[Any, ...] | None:
    header_bytes, place = _varint(body, 0)
    kinds: list[int] = []
    while place < header_bytes and len(kinds) <= columns:
        kind, place = _varint(body, place)
        kinds.append(kind)
    if len(kinds) != columns:
        return None
    values = []
    place = header_bytes
    for kind in kinds:
        value, place = _value(body, place, kind)
        values.append(value)
    return tuple(values)


def _value(body: bytes, place: int, kind: int) -> tuple[Any, int]:
    """Return one value and the place after it."""
    if kind == 0:
        return None, place
    if kind < len(_INTEGER_BYTES):
        end = place + _INTEGER_BYTES[kind]
        return int.from_bytes(body[place:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", body, place)[0], place + 8
    if kind < 12:
        return kind - 8, place
    end = place + (kind - 12) // 2
    return (str(body[place:end], "utf-8") if kind % 2 else body[place:end]), end


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = data[place]
    place += 1
    if value < 0x80:
        return value, place
    value &= 0x7F
    for _ in range(8):
        byte = data[place]
        place += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place
    raise ValueError("a number without end")
