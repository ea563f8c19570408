"""Small secrets on the disk, each under a key of its own, and erased with it: for what alerts leave behind.

`<camera>~<second>~<name>.<kind>` holds a nonce and the sealed bytes, `….key` beside it the key. Whoever deletes the key
has deleted every copy on this disk; a backup that holds both is beyond our reach.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

EVIDENCE_FOLDER = "evidence"
"""Where in the state folder what alerts leave behind lies."""

MAX_FILE_BYTES = 1 << 20
_NONCE_BYTES, _KEY_BYTES = 12, 32


class SealedFiles:
    """Files of one folder; does file I/O, so call it in a thread, from one at a time.

    Names and cameras are of a-z, 0-9, `_` and `-`.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def put(self, name: str, content: bytes, *, kind: str, camera: str, time_s: float) -> bool:
        """Keep a file; return False where there is no room for it.

        Raises:
            OSError: The disk takes nothing.
        """
        if sum(path.stat().st_size for path, _ in self._files()) + len(content) > self._max_bytes:
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{camera}~{int(time_s)}~{name}.{kind}"
        key, nonce = AESGCM.generate_key(8 * _KEY_BYTES), os.urandom(_NONCE_BYTES)
        _write(_key_of(path), key)
        _write(path, nonce + AESGCM(key).encrypt(nonce, content, path.name.encode()))
        return True

    def get(self, name: str, kind: str) -> tuple[str, float, bytes] | None:
        """Return camera, time in s and content; None where there is none, or it is not what was kept."""
        for path, (camera, time_s, each) in self._files():
            if each == name and path.suffix == f".{kind}":
                content = _opened(path)
                return None if content is None else (camera, time_s, content)
        return None

    def drop(self, name: str, kind: str) -> None:
        """Erase a file, if it is there."""
        for path, (_, _, each) in self._files():
            if each == name and path.suffix == f".{kind}":
                _erase(path)

    def forget(self, *, camera: str | None = None, since_s: float | None = None, until_s: float | None = None) -> int:
        """Erase what is of a camera, of a time or of both; return how many files."""
        gone = 0
        for path, (of_camera, time_s, _) in self._files():
            is_meant = camera is None or of_camera == camera
            if is_meant and (since_s is None or time_s + 1 > since_s) and (until_s is None or time_s < until_s):
                _erase(path)
                gone += 1
        return gone

    def _files(self) -> Iterator[tuple[Path, tuple[str, float, str]]]:
        for path in sorted(self._folder.glob("*~*~*.*")):
            camera, second, name = path.stem.split("~", 2)
            if path.suffix != ".key" and second.isdecimal():
                yield path, (camera, float(second), name)


def _key_of(path: Path) -> Path:
    return path.with_name(path.name + ".key")


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def _opened(path: Path) -> bytes | None:
    try:
        key, sealed = _key_of(path).read_bytes(), path.read_bytes()[: MAX_FILE_BYTES + 1]
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], path.name.encode())
    except (OSError, ValueError, InvalidTag):  # erased, cut short by a crash, or not ours
        return None


def _erase(path: Path) -> None:
    """Overwrite the key before its name goes, then let the file go."""
    key = _key_of(path)
    if key.exists():
        _write(key, bytes(_KEY_BYTES))
        key.unlink()
    path.unlink(missing_ok=True)
