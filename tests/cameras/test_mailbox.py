"""The slot between reading and looking: the newest frame wins, and every frame is counted once."""

import select
import threading
from collections.abc import Iterator

import pytest

from gateway.cameras.mailbox import Counts, Mailbox
from gateway.cameras.stream import FeedHeader, LiveFrame
from gateway.errors import SourceError
from gateway.values import ClockSource

FRAME = LiveFrame(64, 36, 0.0, 0.0, 0.0, ClockSource.ARRIVAL, None)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Yield an empty mailbox."""
    box = Mailbox()
    yield box
    box.close()


def has_news(mailbox: Mailbox) -> bool:
    """Say whether the looker would wake."""
    return bool(select.select([mailbox], [], [], 0)[0])


def test_the_newest_frame_wins_when_nobody_looks(mailbox: Mailbox) -> None:
    """One waits, the others are counted as replaced; frames are numbered as they were received."""
    mailbox.skip()
    for _ in range(3):
        mailbox.put(FRAME)
    waiting = mailbox.collect().waiting
    assert waiting is not None
    assert waiting[0] == 3
    assert mailbox.counts() == Counts(received=4, skipped=1, replaced=2)
    mailbox.looked_at()
    assert mailbox.counts() == Counts(received=4, looked_at=1, skipped=1, replaced=2)


def test_a_frame_is_taken_once(mailbox: Mailbox) -> None:
    """Nothing waits after it was taken."""
    mailbox.put(FRAME)
    assert mailbox.collect().waiting is not None
    assert mailbox.collect().waiting is None


def test_the_looker_wakes_only_when_there_is_news(mailbox: Mailbox) -> None:
    """Counting wakes nobody; a frame, the opening and the end do."""
    mailbox.skip()
    mailbox.damaged()
    assert not has_news(mailbox)
    for tell in (lambda: mailbox.put(FRAME), lambda: mailbox.opened(FeedHeader(1, 1, 25.0, "h264")), mailbox.wake):
        tell()
        assert has_news(mailbox)
        mailbox.collect()
        assert not has_news(mailbox)


def test_the_end_stays_when_it_was_told(mailbox: Mailbox) -> None:
    """The last frame is still there, and the reason does not go away."""
    mailbox.put(FRAME)
    error = SourceError("gone")
    mailbox.end(error)
    news = mailbox.collect()
    assert news.waiting is not None
    assert (news.is_over, news.error) == (True, error)
    assert mailbox.collect().is_over


def test_no_frame_is_counted_twice_when_two_threads_hurry(mailbox: Mailbox) -> None:
    """Received is the sum of the others when all is quiet."""

    def read() -> None:
        for _ in range(3000):
            mailbox.put(FRAME)
            mailbox.skip()
            mailbox.damaged()

    reader = threading.Thread(target=read)
    reader.start()
    while reader.is_alive():
        if mailbox.collect().waiting is not None:
            mailbox.looked_at()
    if mailbox.collect().waiting is not None:
        mailbox.looked_at()
    counts = mailbox.counts()
    assert counts.received == counts.looked_at + counts.skipped + counts.replaced + counts.damaged
    assert counts.skipped == counts.damaged == 3000
