"""Faces at rest: a clean set is sealed under a key of its own, and that key under a key of the service (AES-256-GCM).

The service's keys lie in a file, one a line as base64: the first seals the keys of new sets, each opens what it
sealed, so a key is replaced by a new first line and goes when no set needs it. A set's key is kept sealed beside its
description and is forgotten with its faces: copies of them that are left anywhere are noise from then on.
"""

import base64
import binascii
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, ConfigDict, Field

KEY_BYTES = 32
MOST_KEYS = 16
_MAX_FILE_BYTES = 4096
_NONCE_BYTES = 12
_OF_ALL = 0o007


class KeyFileError(Exception):
    """The file of the service's keys cannot be used; the text names it and says what to do."""


class VaultError(Exception):
    """Faces or their key cannot be opened; the text says why."""


class SetKey:
    """The key of one clean set; only ever in memory."""

    def __init__(self, key: bytes, clean_set: str) -> None:
        self._cipher, self._clean_set = AESGCM(key), clean_set

    def seal(self, content: bytes, part: str) -> bytes:
        """Return a part as it may lie on a disk: a nonce and the ciphertext, bound to its set and its name."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, self._bound_to(part))

    def open(self, sealed: bytes, part: str) -> bytes:
        """Return the bytes of a part.

        Raises:
            VaultError: They were changed, or are of another set.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound_to(part))
        except (InvalidTag, ValueError):
            raise VaultError(f"part {part[:12]}… of the clean set was changed where it is kept") from None

    def _bound_to(self, part: str) -> bytes:
        return f"{self._clean_set}/{part}".encode()


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """The keys that seal the keys of clean sets, newest first, and the file that they came from."""

    file: Path
    _keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read the keys.

        Raises:
            KeyFileError: There is no such file, it holds something else, or every account of the machine may read it.
        """
        try:
            with file.open("rb") as handle:
                is_open_to_all = os.fstat(handle.fileno()).st_mode & _OF_ALL
                content = handle.read(_MAX_FILE_BYTES)
        except OSError as error:
            raise KeyFileError(f"{file}: cannot be read: {error.strerror}") from None
        if is_open_to_all:
            raise KeyFileError(f"{file}: every account of this machine may read it; chmod 600 it")
        lines = [line.strip() for line in content.splitlines() if line.strip() and not line.startswith(b"#")]
        try:
            keys = tuple(base64.b64decode(line, validate=True) for line in lines)
        except binascii.Error:
            keys = ()
        if not 0 < len(keys) <= MOST_KEYS or any(len(key) != KEY_BYTES for key in keys):
            raise KeyFileError(
                f"{file}: needs 1 to {MOST_KEYS} lines, each {KEY_BYTES} random bytes as base64; "
                f"`openssl rand -base64 {KEY_BYTES}` prints one"
            )
        return cls(file.absolute(), keys)

    def new_key(self, clean_set: str) -> str:
        """Return a new key for a clean set, sealed."""
        key, nonce = secrets.token_bytes(KEY_BYTES), os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._keys[0]).encrypt(nonce, key, clean_set.encode())
        return f"{_name_of(self._keys[0])}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str | None, clean_set: str) -> SetKey:
        """Return the key of a clean set.

        Raises:
            VaultError: It was forgotten, or sealed by a key that is not here.
        """
        if sealed is None:
            raise VaultError("the key of the clean set was erased, and its faces with it")
        name, _, text = sealed.partition(":")
        found = next((key for key in self._keys if _name_of(key) == name), None)
        if found is None:
            raise VaultError(
                f"the clean set was sealed under key {name}, which is not in faces_key ({self.file.name}); "
                "put that key back into it"
            )
        try:
            content = base64.b64decode(text, validate=True)
            key = AESGCM(found).decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], clean_set.encode())
        except (InvalidTag, ValueError):
            raise VaultError("the key of the clean set was changed where it is kept") from None
        return SetKey(key, clean_set)


class KeyHandle(BaseModel):
    """What opens a clean set for whoever may read the service's keys, and nobody else: it may be passed on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clean_set: str = Field(max_length=64)
    sealed_key: str | None = Field(max_length=256)
    faces_key: Path

    def open(self) -> SetKey:
        """Return the key of the clean set.

        Raises:
            KeyFileError: The service's keys cannot be read on this machine.
            VaultError: They do not open it.
        """
        return ServiceKeys.load(self.faces_key).open(self.sealed_key, self.clean_set)


def make_keys(file: Path) -> bool:
    """Make the file with one key, for this account alone; return False where there is one already.

    Raises:
        KeyFileError: It cannot be written.
    """
    if file.exists():
        return False
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            handle.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        try:
            os.link(fresh, file)  # whoever is second takes the key of the first
        except FileExistsError:
            return False
        finally:
            fresh.unlink()
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)  # or a power cut could take what sealed a set
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyFileError(f"{file}: cannot be written: {error.strerror}") from None
    return True


def _name_of(key: bytes) -> str:
    """Return what a key is called; it tells nothing of the key."""
    return hashlib.sha256(b"spectragate faces key" + key).hexdigest()[:8]
