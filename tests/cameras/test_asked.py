"""What a parent asks of a worker: its form, and its way between threads."""

import pytest

from gateway.cameras.asked import HangUp, Hearing, Inbox, Leave, Offer, RemoteAnswer, Show, View, pack

ASKS = [
    Offer(7, b"v=0"),
    RemoteAnswer(b"v=0\r\n"),
    HangUp(),
    Show(is_on=True),
    Show(is_on=False),
    View(8, b"v=0"),
    Leave(8),
]


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_what_is_asked_is_heard_in_whatever_parts_it_comes(step: int) -> None:
    """Streams have no messages."""
    data = b"".join(map(pack, ASKS))
    hearing = Hearing()
    parts = [data[start : start + step] for start in range(0, len(data), step)]
    assert [ask for part in parts for ask in hearing.take(part)] == ASKS


@pytest.mark.parametrize("data", [b"\x00" + b"\xff" * 8, b"\x09" + b"\x00" * 8])
def test_a_word_is_refused_when_no_parent_would_say_it(data: bytes) -> None:
    """Too long, or of no known kind: a fault of our own."""
    with pytest.raises(ValueError, match="the parent asks"):
        list(Hearing().take(data))


def test_an_inbox_hands_on_in_order_and_knows_its_end() -> None:
    """It holds a few asks: the parent waits for each answer."""
    inbox = Inbox()
    for number in range(6):
        inbox.put(Offer(number, b""))
    assert [ask.number for ask in inbox.collect() if isinstance(ask, Offer)] == [2, 3, 4, 5]
    assert list(inbox.collect()) == []
    inbox.close()
    assert inbox.is_closed
