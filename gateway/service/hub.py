"""Events on their way to whoever listens: each listener has a line of its own, bounded, which drops its oldest."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

MOST_LISTENERS = 32
MOST_WAITING = 256


class TooManySubscribers(Exception):
    """As many listen as may."""


@dataclass(frozen=True, slots=True)
class HubEvent:
    """One event: its name, its JSON, and the number it was given here."""

    name: str
    data: str
    number: int


class Subscription:
    """One listener's line; iterate over it. It ends when the hub closes or it is cut."""

    def __init__(self, most_waiting: int) -> None:
        self._waiting: deque[HubEvent] = deque(maxlen=most_waiting)
        self._stirred = asyncio.Event()
        self._is_over = False
        self.dropped = 0

    def put(self, event: HubEvent) -> None:
        """Let an event wait; the oldest goes where too many do. A line that has ended takes none."""
        if self._is_over:
            return
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(event)
        self._stirred.set()

    def end(self) -> None:
        """Let the iteration end once nothing waits."""
        self._is_over = True
        self._stirred.set()

    def cut(self) -> None:
        """End at once: what waits is not handed out."""
        self._waiting.clear()
        self.end()

    async def next(self, within_s: float) -> HubEvent | None:
        """Return the next event, or None where none comes in time.

        Raises:
            StopAsyncIteration: The line has ended and nothing waits.
        """
        while not self._waiting:
            if self._is_over:
                raise StopAsyncIteration
            self._stirred.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._stirred.wait()
            except TimeoutError:
                return None
        return self._waiting.popleft()


class Hub:
    """Hands every event to every listener; never waits."""

    def __init__(self, *, most_listeners: int = MOST_LISTENERS, most_waiting: int = MOST_WAITING) -> None:
        self._most_listeners = most_listeners
        self._most_waiting = most_waiting
        self._listeners: set[Subscription] = set()
        self._number = 0
        self._is_closed = False
        self._dropped_before = 0

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @property
    def dropped(self) -> int:
        """How many events listeners were too slow for."""
        return self._dropped_before + sum(each.dropped for each in self._listeners)

    def publish(self, name: str, data: str) -> None:
        """Hand an event to everybody."""
        self._number += 1
        event = HubEvent(name, data, self._number)
        for listener in self._listeners:
            listener.put(event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """Listen from now on.

        Raises:
            TooManySubscribers: As many listen as may, or the hub is closed.
        """
        if self._is_closed or len(self._listeners) >= self._most_listeners:
            raise TooManySubscribers(f"{len(self._listeners)} listen already")
        listener = Subscription(self._most_waiting)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._dropped_before += listener.dropped

    def close(self) -> None:
        """Let every line end."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()
