"""The file operations of the store do what the operating system can promise."""

from pathlib import Path

import pytest

from gateway.adaptation.disk import DISK, replace_file


def test_replace_file_leaves_the_new_content_alone(tmp_path: Path) -> None:
    """After a replacement nothing of the old file or of the way there is left."""
    path = tmp_path / "a.json"
    replace_file(DISK, path, b"old, and longer")
    replace_file(DISK, path, b"new")
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


def test_write_keeps_others_out(tmp_path: Path) -> None:
    """Files of the store are for its owner alone."""
    DISK.make_folder(tmp_path / "deep" / "er")
    DISK.write(tmp_path / "deep" / "er" / "a", b"x")
    assert (tmp_path / "deep" / "er" / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "deep" / "er").stat().st_mode & 0o777 == 0o700


def test_write_refuses_a_link(tmp_path: Path) -> None:
    """A link in the place of a file would let another user choose what is overwritten."""
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        DISK.write(tmp_path / "a", b"theirs")
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_remove_takes_files_and_empty_folders(tmp_path: Path) -> None:
    """Removing what is gone already is fine; a folder that holds something stays."""
    DISK.remove(tmp_path / "gone")
    DISK.make_folder(tmp_path / "f")
    DISK.write(tmp_path / "f" / "a", b"")
    with pytest.raises(OSError, match="not empty"):
        DISK.remove(tmp_path / "f")
    DISK.remove(tmp_path / "f" / "a")
    DISK.remove(tmp_path / "f")
    assert not list(tmp_path.iterdir())
