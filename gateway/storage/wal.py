"""Looks into SQLite's write-ahead log for what SQLite itself passes over in silence.

At the first frame whose checksum fails SQLite takes the log as ended: right after a power cut, when only what was never
synced can be torn. A flipped bit makes it drop everything behind it, committed as it may be, without a word.
"""

import struct
from pathlib import Path

from gateway.storage.database import PAGE_BYTES

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
_MAGIC_LITTLE, _MAGIC_BIG = 0x377F0682, 0x377F0683

Sums = tuple[int, int]


def hides_commits(log: Path) -> bool:
    """Return whether commits lie behind a frame (or a header) that is not what was written."""
    data = log.read_bytes() if log.exists() else b""
    if len(data) < HEADER_BYTES + FRAME_HEADER_BYTES + PAGE_BYTES:
        return False
    magic = struct.unpack_from(">I", data)[0]
    order = "<" if magic == _MAGIC_LITTLE else ">"
    sums = _add(data[:24], (0, 0), order)
    if magic not in {_MAGIC_LITTLE, _MAGIC_BIG} or sums != struct.unpack_from(">2I", data, 24):
        return True
    salts = data[16:24]
    holds = True
    for start in range(HEADER_BYTES, len(data) - FRAME_HEADER_BYTES - PAGE_BYTES + 1, FRAME_HEADER_BYTES + PAGE_BYTES):
        header = data[start : start + FRAME_HEADER_BYTES]
        if holds:
            page = data[start + FRAME_HEADER_BYTES : start + FRAME_HEADER_BYTES + PAGE_BYTES]
            sums = _add(page, _add(header[:8], sums, order), order)
            holds = header[8:16] == salts and sums == struct.unpack_from(">2I", header, 16)
        elif header[8:16] == salts and header[4:8] != b"\0\0\0\0":
            return True
    return False


def _add(data: bytes, sums: Sums, order: str) -> Sums:
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for word in words:
        first = (first + word + second) & 0xFFFFFFFF
        second = (second + next(words) + first) & 0xFFFFFFFF
    return first, second
