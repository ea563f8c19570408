"""What one run of the program tells the next: that the GPU hung, so that it starts on the CPU."""

from pathlib import Path
from typing import Protocol

MOST_HANGS = 10
"""Counting stops here: it only lengthens the pause before the GPU is tried again."""


class Hangs(Protocol):
    """Remembers across the end of the process how often in a row the GPU hung."""

    def count(self) -> int:
        """Return how many runs in a row ended because the GPU hung."""

    def note(self, in_a_row: int) -> None:
        """Remember that the GPU hung so many times in a row; this process may be about to end."""

    def forget(self) -> None:
        """The GPU works again."""


class NoHangs:
    """Remembers nothing: for commands that run once."""

    def count(self) -> int:
        """Return 0."""
        return 0

    def note(self, in_a_row: int) -> None:
        """Do nothing."""

    def forget(self) -> None:
        """Do nothing."""


class HangFile:
    """The number in a small file. One that cannot be read counts as none, one that cannot be written changes nothing.

    Written without fsync: a power cut resets the GPU as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def count(self) -> int:
        """Return how many runs in a row ended because the GPU hung."""
        try:
            text = self._path.read_text(encoding="ascii", errors="replace")[:20].strip()
        except OSError:
            return 0
        return min(int(text), MOST_HANGS) if text.isascii() and text.isdigit() else 0

    def note(self, in_a_row: int) -> None:
        """Remember that the GPU hung so many times in a row."""
        self._write(str(in_a_row))

    def forget(self) -> None:
        """Begin again at 0."""
        if self.count():
            self._write("0")

    def _write(self, text: str) -> None:
        try:
            self._path.write_text(text + "\n", encoding="ascii")
        except OSError:
            return  # the end of the process must not wait for a full disk; the next run then tries the GPU at once
