"""Faces at rest: opened by their key alone, and every loss of a key is said in words."""

import base64
import os
import stat
from pathlib import Path

import pytest

from trainer.vault import KeyFileError, KeyHandle, ServiceKeys, VaultError, make_keys

SET, PART = "a" * 64, "b" * 64


def keys_at(path: Path) -> ServiceKeys:
    """Return the keys of a file, made where there is none."""
    make_keys(path)
    return ServiceKeys.load(path)


def test_a_part_is_opened_by_the_key_of_its_set_alone(tmp_path: Path) -> None:
    """What is kept shows nothing of it; under another name, set or key, changed or cut it is not opened."""
    keys = keys_at(tmp_path / "faces.key")
    sealed_key = keys.new_key(SET)
    content = bytes(range(256)) * 40
    sealed = keys.open(sealed_key, SET).seal(content, PART)
    assert content[:16] not in sealed
    assert keys.open(sealed_key, SET).open(sealed, PART) == content
    assert keys.open(sealed_key, SET).seal(content, PART) != sealed
    others = [
        (keys.open(sealed_key, SET), sealed, SET),
        (keys.open(keys.new_key(SET), SET), sealed, PART),
        (keys.open(sealed_key, SET), sealed[:-1], PART),
        (keys.open(sealed_key, SET), b"", PART),
        (keys.open(sealed_key, SET), bytes([sealed[0] ^ 1]) + sealed[1:], PART),
    ]
    for key, given, name in others:
        with pytest.raises(VaultError, match=r"part [ab]{12}… of the clean set was changed"):
            key.open(given, name)


def test_the_key_of_a_set_is_opened_by_the_services_keys_alone(tmp_path: Path) -> None:
    """One that was lost, changed, of another set or erased is told in its own words; an old one below is enough."""
    keys, other = keys_at(tmp_path / "faces.key"), keys_at(tmp_path / "other.key")
    sealed_key = keys.new_key(SET)
    assert base64.b64decode((tmp_path / "faces.key").read_bytes()) not in base64.b64decode(sealed_key.partition(":")[2])
    for asked, sealed, clean_set, words in (
        (other, sealed_key, SET, r"under key [0-9a-f]{8}, which is not in faces_key \(other.key\)"),
        (keys, sealed_key[:-4] + "AAA=", SET, "was changed"),
        (keys, sealed_key + "!", SET, "was changed"),
        (keys, sealed_key, PART, "was changed"),
        (keys, None, SET, "was erased"),
    ):
        with pytest.raises(VaultError, match=words):
            asked.open(sealed, clean_set)
    (tmp_path / "both.key").write_bytes(b"".join((tmp_path / name).read_bytes() for name in ("other.key", "faces.key")))
    (tmp_path / "both.key").chmod(0o600)
    both = ServiceKeys.load(tmp_path / "both.key")
    both.open(sealed_key, SET)
    other.open(both.new_key(SET), SET)  # the newest stands first


def test_a_key_and_its_name_are_on_the_disk_before_anything_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after the first set must not leave faces that nobody can open; no key shows where it is printed."""
    synced: list[bool] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    assert make_keys(tmp_path / "keys" / "faces.key")
    assert synced == [False, True]
    keys = ServiceKeys.load(tmp_path / "keys" / "faces.key")
    assert repr(keys) == f"ServiceKeys(file={tmp_path / 'keys' / 'faces.key'!r})"


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    """Another start finds the same; nothing else is left in the folder."""
    file = tmp_path / "keys/faces.key"
    assert [make_keys(file), make_keys(file)] == [True, False]
    assert [path.name for path in file.parent.iterdir()] == ["faces.key"]
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFileError, match="cannot be written"):
        make_keys(file / "below")


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"short\n", b"A" * 43 + b"=\nno base64!\n", b"A" * 43 + b"=\n" * 9]
)
def test_a_key_file_that_is_none_is_told_what_it_needs(tmp_path: Path, content: bytes) -> None:
    """And how a key is made; nothing of the content is repeated."""
    file = tmp_path / "faces.key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"faces\.key: needs 1 to 16 lines, .*openssl rand -base64 32"):
        ServiceKeys.load(file)


def test_a_key_file_that_all_may_read_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    file = tmp_path / "faces.key"
    make_keys(file)
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        ServiceKeys.load(file)
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        KeyHandle(clean_set=SET, sealed_key=None, faces_key=tmp_path / "none").open()
