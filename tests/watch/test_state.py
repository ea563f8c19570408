"""The state file: whole or old, never trusted, never a traceback."""

import os
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.watch.box import Position
from gateway.watch.state import load_positions, save_positions

POSITIONS = (
    Position("spectragate/box", 9, 12.5, missing=((6, 8),), quiet=((0, 4),)),
    Position("spectragate/two", -1, float("-inf")),
)


def test_state_reads_back_what_was_written(tmp_path: Path) -> None:
    """Both over an older state and where there was none; nothing else is left in the folder."""
    path = tmp_path / "watch.json"
    assert load_positions(path) == ()
    save_positions(path, POSITIONS[:1])
    save_positions(path, POSITIONS)
    assert load_positions(path) == POSITIONS
    assert [each.name for each in tmp_path.iterdir()] == ["watch.json"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"version":2,"boxes":[]}',
        b'{"boxes":[{"source":"a","highest":-5}]}',
        b'{"boxes":[{"source":"a","highest":5,"newest_s":1.0,"missing":[[4,2]],"quiet":[]}]}',
        b'{"boxes":[{"source":"a","highest":5,"newest_s":1.0,"missing":[[1,9]],"quiet":[]}]}',
        b'{"boxes":[{"source":"a","highest":5,"newest_s":1.0,"missing":[[1,3]],"quiet":[[3,4]]}]}',
        b"\xff" * 99,
    ],
)
def test_foreign_file_is_refused_in_words(tmp_path: Path, text: bytes) -> None:
    """It is not overwritten: it may be somebody's."""
    path = tmp_path / "watch.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="is no state of `spectragate watch`"):
        load_positions(path)
    assert path.read_bytes() == text


def test_state_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A folder that is not there, or a folder in the file's place; no draft is left behind."""
    with pytest.raises(ConfigError, match="cannot be written"):
        save_positions(tmp_path / "absent" / "watch.json", POSITIONS)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        save_positions(tmp_path / "folder", POSITIONS)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_positions(tmp_path / "folder")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_state_is_durable_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced, then renamed, then the folder is synced."""
    order: list[str] = []
    sync, rename = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        order.append("sync")
        sync(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        order.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    save_positions(tmp_path / "watch.json", POSITIONS)
    assert order == ["sync", "rename", "sync"]
