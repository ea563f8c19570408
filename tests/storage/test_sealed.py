"""Sealed files: nothing in clear on the disk, gone with their keys, and damage is no content."""

from pathlib import Path

import pytest

from gateway.storage.sealed import SealedFiles

FACE = b"the pixels of a face" * 50


@pytest.fixture
def files(tmp_path: Path) -> SealedFiles:
    """Return an empty place."""
    return SealedFiles(tmp_path / "evidence", max_bytes=1 << 20)


def put(files: SealedFiles, name: str, *, camera: str = "gate", time_s: float = 100.0) -> bool:
    """Keep a face."""
    return files.put(name, FACE, kind="face", camera=camera, time_s=time_s)


def test_content_comes_back_and_lies_nowhere_in_clear(files: SealedFiles, tmp_path: Path) -> None:
    """Under a name, a kind, its camera and second; readable by nobody else."""
    assert put(files, "a1")
    assert files.get("a1", "face") == ("gate", 100.0, FACE)
    assert files.get("a1", "map") is None
    assert files.get("a2", "face") is None
    paths = list((tmp_path / "evidence").iterdir())
    assert len(paths) == 2
    assert not any(b"face" in path.read_bytes() for path in paths)
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}


def test_files_of_a_camera_or_a_time_are_erased_with_their_keys(files: SealedFiles, tmp_path: Path) -> None:
    """As `forget` asks; others stay."""
    put(files, "a1")
    put(files, "a2", camera="yard", time_s=200.0)
    put(files, "a3", time_s=300.0)
    assert files.forget(camera="yard") == 1
    assert files.forget(until_s=250.0) == 1
    assert files.get("a3", "face") is not None
    files.drop("a3", "face")
    assert files.forget() == 0
    assert list((tmp_path / "evidence").iterdir()) == []


def test_room_is_bounded_and_damage_is_no_content(tmp_path: Path) -> None:
    """A flipped bit, another name, a lost key: nothing comes back."""
    files = SealedFiles(tmp_path, max_bytes=1500)
    assert put(files, "a1")
    assert not put(files, "a2")
    (path,) = tmp_path.glob("*.face")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert files.get("a1", "face") is None
    path.write_bytes(content)
    assert files.get("a1", "face") is not None
    renamed = path.rename(path.with_name(path.name.replace("a1", "b1")))
    Path(f"{path}.key").rename(f"{renamed}.key")
    assert files.get("b1", "face") is None
