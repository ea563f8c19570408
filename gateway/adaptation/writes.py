"""What the disk is still to be told of an environment's bundles, in order; a full disk delays that and nothing else."""

from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from gateway import backoff
from gateway.errors import StorageError

FIRST_PAUSE_S = 5.0
MOST_PAUSE_S = 60.0
"""A disk that took nothing is tried again so often, at least."""

Write = Callable[[], Awaitable[None]]

_log = structlog.get_logger()


class Writes:
    """The writes of one environment that wait for its disk."""

    def __init__(self, environment: str, clock: Callable[[], float]) -> None:
        self._environment = environment
        self._clock = clock
        self._waiting: deque[Write] = deque()
        self._refused = 0
        self.due_s = float("inf")
        """When the disk is to be tried again, by the clock; infinity where nothing waits."""

    def __bool__(self) -> bool:
        """Return whether anything waits."""
        return bool(self._waiting)

    async def add(self, write: Write) -> bool:
        """Write this after what waits; return whether anything was written."""
        self._waiting.append(write)
        return await self.go_on()

    async def go_on(self) -> bool:
        """Write what waits as far as the disk takes it; return whether anything was written."""
        self.due_s = float("inf")
        has_written = False
        while self._waiting:
            try:
                await self._waiting[0]()
            except StorageError as error:
                self._refused += 1
                pause_s = backoff.pause_s(self._refused, chance=0.0, first_s=FIRST_PAUSE_S, last_s=MOST_PAUSE_S)
                self.due_s = self._clock() + pause_s
                if self._refused == 1:
                    _log.error("model_not_kept", environment=self._environment, reason=str(error))
                return has_written
            self._waiting.popleft()
            self._refused = 0
            has_written = True
        return has_written
