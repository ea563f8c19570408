"""Clean faces on the disk: encrypted under a key of each camera's hour, aged out, and erased with the key.

`clean/<camera>/<hour>.key` and `.faces`; a record is its length, a nonce and the sealed face. Whoever deletes the key
has deleted every copy of that hour's records on this disk; a backup that holds both is beyond our reach.
"""

import json
import os
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.adaptation.collect import CleanFace, Sighting
from gateway.contract.geometry import MAX_CROP_PX

FOLDER = "clean"
HOUR_S = 3600.0
RETENTION_S = 7 * 24 * 3600.0
MAX_BYTES = 512 * 2**20
_NONCE_BYTES, _KEY_BYTES = 12, 32
_MAX_RECORD_BYTES = 3 * MAX_CROP_PX**2 + 4096
_LENGTH = struct.Struct(">I")


class CleanSets:
    """The faces that wait to be used; does file I/O, so call it in a thread, from one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    @property
    def size_bytes(self) -> int:
        """How much room the faces take."""
        return sum(path.stat().st_size for path in self._folder.glob("*/*.faces"))

    def add(self, face: CleanFace) -> bool:
        """Keep a face; return False where there is no room for more.

        Raises:
            OSError: The disk takes nothing.
        """
        if self.size_bytes > MAX_BYTES:
            return False
        hour = int(face.time_s // HOUR_S)
        folder = self._folder / face.camera
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts: dict[str, float | str] = {
            "time_s": face.time_s,
            "score": face.score,
            "side_px": face.pixels_YXC.shape[0],
        }
        if face.alert_id is not None:
            facts["alert_id"] = face.alert_id
        plain = json.dumps(facts).encode() + b"\n" + face.pixels_YXC.tobytes()
        nonce = os.urandom(_NONCE_BYTES)
        key = _key(folder / f"{hour}.key") or _make_key(folder / f"{hour}.key")
        record = nonce + AESGCM(key).encrypt(nonce, plain, _bound_to(face.camera, hour))
        _append(folder / f"{hour}.faces", _LENGTH.pack(len(record)) + record)
        return True

    def sightings(self, cameras: frozenset[str]) -> list[Sighting]:
        """Return when these cameras saw the faces that are kept, in that order; what cannot be opened is left out."""
        found = [Sighting(face.camera, face.time_s) for face in self._each(cameras)]
        return sorted(found, key=lambda seen: seen.time_s)

    def faces(self, seen: Collection[Sighting]) -> list[CleanFace]:
        """Return these faces, in the order of time; all of them lie in memory at once: ask for no more than needed."""
        wanted = frozenset(seen)
        cameras = frozenset(each.camera for each in wanted)
        found = [face for face in self._each(cameras) if Sighting(face.camera, face.time_s) in wanted]
        return sorted(found, key=lambda face: face.time_s)

    def _each(self, cameras: frozenset[str]) -> Iterator[CleanFace]:
        for path in self._folder.glob("*/*.faces"):
            if path.parent.name in cameras:
                yield from _read(path)

    def forget(self, *, camera: str | None = None, since_s: float | None = None, until_s: float | None = None) -> int:
        """Erase the hours of a camera, of a time or of both; return how many. An hour goes as a whole."""
        gone = 0
        for path in sorted(self._folder.glob("*/*.faces")):
            begins_s = int(path.stem) * HOUR_S
            is_meant = camera is None or path.parent.name == camera
            is_late = since_s is None or begins_s + HOUR_S > since_s
            if is_meant and is_late and (until_s is None or begins_s < until_s):
                _erase(path)
                gone += 1
        return gone

    def forget_alerts(self, alert_ids: Collection[str]) -> int:
        """Erase the hours in which faces were kept because these alerts were called false; return how many."""
        gone = 0
        for path in sorted(self._folder.glob("*/*.faces")):
            if any(face.alert_id in alert_ids for face in _read(path)):
                _erase(path)
                gone += 1
        return gone

    def sweep(self, now_s: float) -> int:
        """Erase what is older than `RETENTION_S`; return how many hours."""
        return self.forget(until_s=now_s - RETENTION_S - HOUR_S)


def _bound_to(camera: str, hour: int) -> bytes:
    return f"{camera}/{hour}".encode()


def _key(path: Path) -> bytes | None:
    """Return an hour's key, None where there is none: it never came, was cut off on its way, or is being erased."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    return key if len(key) == _KEY_BYTES and any(key) else None


def _make_key(path: Path) -> bytes:
    """Return a new key; what lies beside it was to be erased with the one before, or was never sealed."""
    path.with_suffix(".faces").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    key = AESGCM.generate_key(8 * _KEY_BYTES)
    _append(path, key)
    return key


def _append(path: Path, content: bytes) -> None:
    """Append after the last whole record: a crash or a full disk may have left a part of one."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+b") as handle:
        handle.seek(handle.truncate(_end_of_whole(handle)))
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def _end_of_whole(handle: BinaryIO) -> int:
    end, size_bytes = 0, os.fstat(handle.fileno()).st_size
    while len(head := handle.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        if not _NONCE_BYTES < length <= _MAX_RECORD_BYTES or end + _LENGTH.size + length > size_bytes:
            break
        end += _LENGTH.size + length
        handle.seek(end)
    return end


def _erase(path: Path) -> None:
    """Overwrite the key before its name goes, then let the records go."""
    key = path.with_suffix(".key")
    if key.exists():
        with key.open("r+b") as handle:
            handle.write(bytes(_KEY_BYTES))
            handle.flush()
            os.fsync(handle.fileno())
        key.unlink()
    path.unlink()


def _read(path: Path) -> Iterator[CleanFace]:
    key = _key(path.with_suffix(".key"))
    if key is None:
        return
    cipher = AESGCM(key)
    with path.open("rb") as handle:
        while len(head := handle.read(_LENGTH.size)) == _LENGTH.size:
            (length,) = _LENGTH.unpack(head)
            if not _NONCE_BYTES < length <= _MAX_RECORD_BYTES:
                return
            record = handle.read(length)
            try:
                bound_to = _bound_to(path.parent.name, int(path.stem))
                plain = cipher.decrypt(record[:_NONCE_BYTES], record[_NONCE_BYTES:], bound_to)
            except InvalidTag:  # cut short by a crash, or not ours
                continue
            yield _opened(path.parent.name, plain)


def _opened(camera: str, plain: bytes) -> CleanFace:
    head, _, pixels = plain.partition(b"\n")
    facts = json.loads(head)
    side_px = facts["side_px"]
    pixels_YXC = np.frombuffer(pixels, np.uint8).reshape(side_px, side_px, 3)
    return CleanFace(camera, facts["time_s"], facts["score"], pixels_YXC, facts.get("alert_id"))
