"""How far a long command is: a bar on a terminal, plain lines otherwise, always on stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PAUSE_S = 5.0
"""Without a terminal a step that goes on for long is told again no more often than this."""


class Steps:
    """The steps of one command; a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._what = ""
        self._told_s = 0.0

    def __enter__(self) -> Self:
        """Show it."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._bar.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Say what is being done and how far it is."""
        if not self._bar.disable:
            self._bar.update(self._task, description=what, completed=done, total=total)
            return
        now_s = time.monotonic()
        if what.partition(",")[0] != self._what or done == total or now_s - self._told_s >= PAUSE_S:
            self._what, self._told_s = what.partition(",")[0], now_s
            self._console.print(f"{what}  {done}/{total}" if total > 1 else what, markup=False)
