"""When a bundle is tried again that could not be opened in time: a busy machine says nothing of a bundle. Pure."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from gateway import backoff
from gateway.errors import LateFault

_Result = TypeVar("_Result")

MOST_TRIES = 10
"""A session that hangs leaves its thread behind, so nothing is tried without end."""

FIRST_PAUSE_S = 60.0
LAST_PAUSE_S = 6 * 3600.0

AT_ONCE = 3
"""So often what cannot wait is tried without a pause."""


class Patience:
    """What is known of the one bundle that came too late; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self.sha256: str | None = None
        self._tries = 0
        self._due_s = float("inf")

    def note(self, sha256: str, now_s: float) -> float | None:
        """Count a try in vain; return the pause in seconds before the next, None where there is to be none."""
        self._tries = self._tries + 1 if sha256 == self.sha256 else 1
        self.sha256 = sha256
        if self._tries >= MOST_TRIES:
            self._due_s = float("inf")
            return None
        pause_s = backoff.pause_s(self._tries, chance=0.0, first_s=FIRST_PAUSE_S, last_s=LAST_PAUSE_S)
        self._due_s = now_s + pause_s
        return pause_s

    def allows(self, sha256: str, now_s: float) -> bool:
        """Return whether this bundle may be tried now."""
        return sha256 != self.sha256 or now_s >= self._due_s

    def forget(self) -> None:
        """Begin anew: it was opened, or is not wanted any more."""
        self.sha256, self._tries, self._due_s = None, 0, float("inf")


async def insist(on: Callable[[], Awaitable[_Result]]) -> _Result:
    """Return what a call gives; where time runs out it is made again, a few times, for it cannot wait.

    Raises:
        LateFault: Time ran out at the last try too.
    """
    for _ in range(AT_ONCE - 1):
        with suppress(LateFault):
            return await on()
    return await on()
