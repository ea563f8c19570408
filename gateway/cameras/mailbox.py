"""What the thread that reads a camera hands to the one that looks: the newest frame, nothing older, and the counts."""

import contextlib
import os
import threading
from collections import deque
from dataclasses import dataclass, replace

from gateway.cameras.stream import FeedHeader, LiveFrame
from gateway.cameras.wire import Message
from gateway.errors import SourceError


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the frames so far; a frame that waits or is being looked at is in `received` alone."""

    received: int = 0
    looked_at: int = 0
    skipped: int = 0
    replaced: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What has happened: the size once it is known, the newest frame with its number, and how reading ended."""

    opened: FeedHeader | None
    waiting: tuple[int, LiveFrame] | None
    is_over: bool
    error: SourceError | None
    said: tuple[Message, ...] = ()


class Mailbox:
    """One slot between two threads; `fileno` becomes readable when there is news."""

    def __init__(self) -> None:
        """Make the descriptor that wakes the looker."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._opened: FeedHeader | None = None
        self._waiting: tuple[int, LiveFrame] | None = None
        self._is_over = False
        self._error: SourceError | None = None
        self._counts = Counts()
        self._said: deque[Message] = deque(maxlen=64)  # answers, one for each thing that the parent asks

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._wake

    def wake(self) -> None:
        """Let the looker look up, for example from a signal handler."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the descriptor back, once no thread uses it."""
        os.close(self._wake)

    def opened(self, header: FeedHeader) -> None:
        """Say what the source is; once."""
        with self._lock:
            self._opened = header
        self.wake()

    def say(self, message: Message) -> None:
        """Let the looker, which alone writes to the parent, say this."""
        with self._lock:
            self._said.append(message)
        self.wake()

    def skip(self) -> None:
        """Count a frame that nobody needs to look at."""
        with self._lock:
            self._counts = replace(self._counts, received=self._counts.received + 1, skipped=self._counts.skipped + 1)

    def damaged(self) -> None:
        """Count a frame that must not be looked at."""
        with self._lock:
            self._counts = replace(self._counts, received=self._counts.received + 1, damaged=self._counts.damaged + 1)

    def put(self, frame: LiveFrame) -> None:
        """Put a frame into the slot, in the place of one that still waits there."""
        with self._lock:
            counts = self._counts
            replaced = counts.replaced + (self._waiting is not None)
            self._waiting = (counts.received, frame)
            self._counts = replace(counts, received=counts.received + 1, replaced=replaced)
        self.wake()

    def end(self, error: SourceError | None) -> None:
        """Say that nothing more comes, and why if that is not as it should be."""
        with self._lock:
            self._is_over, self._error = True, error
        self.wake()

    def collect(self) -> News:
        """Take the news; a frame that is taken will be looked at."""
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            news = News(self._opened, self._waiting, self._is_over, self._error, tuple(self._said))
            self._said.clear()
            self._opened = self._waiting = None
        return news

    def looked_at(self) -> None:
        """Count the frame that was taken."""
        with self._lock:
            self._counts = replace(self._counts, looked_at=self._counts.looked_at + 1)

    def counts(self) -> Counts:
        """Return what became of the frames so far."""
        with self._lock:
            return self._counts
