"""A progress bar where there is a terminal; nothing where there is none."""

import sys
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """One bar, on the terminal of stdout or else of stderr; its lines never tear it. A context manager."""

    def __init__(self, what: str, *, total: int | None = None) -> None:
        on_stdout = sys.stdout.isatty()
        self._console = Console(stderr=not on_stdout, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> Self:
        """Show it."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._progress.stop()

    def restart(self, what: str) -> None:
        """Begin something new, of unknown length."""
        self._progress.reset(self._task, total=None, completed=0, description=what)

    def show(self, done: int, total: int | None) -> None:
        """Say how far it is."""
        self._progress.update(self._task, completed=done, total=None if total is None else max(done, total))

    def result(self, line: str) -> None:
        """Write one line of the result to stdout."""
        self._write(line, sys.stdout)

    def remark(self, line: str) -> None:
        """Write one line to stderr."""
        self._write(line, sys.stderr)

    def _write(self, line: str, stream: TextIO) -> None:
        if self._progress.disable or not stream.isatty():
            stream.write(line + "\n")
            stream.flush()
        else:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
