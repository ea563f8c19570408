"""What one run tells the next of a GPU that hung."""

from pathlib import Path

import pytest

from gateway.screening.hangs import MOST_HANGS, HangFile, NoHangs


def test_hangs_are_remembered_across_runs(tmp_path: Path) -> None:
    """Another object, as another process has it, reads the number; forgotten is forgotten."""
    path = tmp_path / "gpu-hangs"
    assert HangFile(path).count() == 0
    HangFile(path).note(2)
    assert HangFile(path).count() == 2
    HangFile(path).forget()
    assert HangFile(path).count() == 0


@pytest.mark.parametrize(("content", "count"), [(b"", 0), (b"x", 0), (b"\xff", 0), (b"-3", 0), (b"9" * 9, MOST_HANGS)])
def test_damaged_file_stops_nothing(tmp_path: Path, content: bytes, count: int) -> None:
    """Whatever a power cut left there, the program starts."""
    path = tmp_path / "gpu-hangs"
    path.write_bytes(content)
    assert HangFile(path).count() == count


def test_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """The process ends because of the hang, not because of the note."""
    hangs = HangFile(tmp_path / "absent" / "gpu-hangs")
    hangs.note(1)
    hangs.forget()
    assert hangs.count() == 0


def test_commands_remember_nothing() -> None:
    """A command that runs once has no state."""
    hangs = NoHangs()
    hangs.note(3)
    hangs.forget()
    assert hangs.count() == 0
