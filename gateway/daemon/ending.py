"""The end of the process in time, whatever hangs: a disk, a name server, a child that does not answer.

Good order is tried first. What then still hangs is left behind: alerts that were accepted are on the disk already,
workers end with their parent, and the start after a kill is the start after any other end.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import structlog

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What the daemon is told by."""

_log = structlog.get_logger()


def hold_signals() -> None:
    """Let what comes while the daemon's code is loaded wait for `take_signals`; a signal would end the process else."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def take_signals() -> None:
    """Let signals through, those that were held first."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leave(code: int) -> NoReturn:
    """End the process now, with what was printed; everything of ours has ended in good order before.

    What Python and native libraries would still do is of no use to anybody and can go wrong: a thread that is just
    writing a line, or one of a library that nobody joined, makes them abort, which looks like a crash to a supervisor.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


class Ending:
    """Ends the process some time after it was asked to end, unless it has ended by itself; `leave` is how."""

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        self._leave = leave
        self._timer: threading.Timer | None = None
        self.exit_code = 1

    def begin(self, within_s: float) -> None:
        """Let the process end within so many seconds; asked again, nothing changes."""
        if self._timer is None:
            self._timer = threading.Timer(within_s, self._cut_off, args=(within_s,))
            self._timer.name, self._timer.daemon = "ending", True
            self._timer.start()

    def _cut_off(self, after_s: float) -> None:
        _log.error("end_cut_off", after_s=after_s)
        self._leave(self.exit_code)
