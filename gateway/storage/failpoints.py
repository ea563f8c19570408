"""Places where a test ends the process, as a power cut or `kill -9` would: named, and nothing at all in production.

The variable is read once, when the module is imported. No configuration key can set it: whoever can set a process's
environment can end the process anyway.
"""

import os
import signal
from collections.abc import Callable

VARIABLE = "SPECTRAGATE_TEST_FAIL_POINT"

FAIL_POINTS = (
    "storage.before_open",
    "storage.after_open",
    "storage.after_begin",
    "outbox.after_insert",
    "outbox.before_commit",
    "outbox.after_commit",
    "outbox.before_reply",
    "outbox.after_delivered",
    "outbox.after_evict",
    "storage.after_checkpoint",
    "storage.setting_aside",
)
"""Every name that may stand in the variable, as `name` or `name:nth`."""


def _go_on(_name: str) -> None:
    pass


def killer(text: str) -> Callable[[str], None]:
    """Return a function that ends this process with SIGKILL at the nth time it is called with the name in `text`.

    Raises:
        ValueError: There is no such fail-point.
    """
    wanted, _, nth = text.partition(":")
    if wanted not in FAIL_POINTS:
        raise ValueError(f"{VARIABLE}={text!r}: there is no fail-point {wanted!r}")
    left = int(nth or 1)

    def count_down(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return count_down


_reached: Callable[[str], None] = killer(os.environ[VARIABLE]) if VARIABLE in os.environ else _go_on


def fail_point(name: str) -> None:
    """Say that the program is at this place."""
    _reached(name)


def arm(text: str) -> None:
    """Do for this process what the variable does: for tests that fork one that has imported everything."""
    global _reached  # noqa: PLW0603 (one process has one way to end)
    _reached = killer(text)
