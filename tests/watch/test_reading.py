"""What a message means to a subscriber."""

import pytest
from fakes.boxes import TOPICS, FakeBox, alert, flood_notice, gap_notice

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import ReplayEnd, to_bytes
from gateway.watch.reading import Numbered, Presence, Unreadable, read

ALERTS, REPLAYED = TOPICS.alerts, TOPICS.replayed


@pytest.mark.parametrize(
    ("topic", "payload", "meaning"),
    [
        (TOPICS.available, b"online", Presence(here=True)),
        (TOPICS.available, b"stopped", Presence(here=False)),
        (TOPICS.available, b"offline", Presence(here=False)),
        ("plant/lobby/status", b"{}", None),
        ("other/alerts", b"{}", None),
    ],
)
def test_plain_words_and_foreign_topics(topic: str, payload: bytes, meaning: object) -> None:
    """Presence is a word; what is no alert is nobody's business here."""
    assert read(topic, payload, TOPICS) == meaning


def test_alert_stands_in_its_line() -> None:
    """Its number, its box and its camera; the bytes as they came."""
    payload = to_bytes(alert(7))
    reading = read(ALERTS, payload, TOPICS)
    assert isinstance(reading, Numbered)
    assert (reading.seq, reading.source, reading.subject) == (7, "spectragate/box", "lobby")
    assert reading.payload == payload


def test_notices_name_the_numbers_they_explain() -> None:
    """Gone for good, or held back."""
    gap, flood = (read(ALERTS, to_bytes(one), TOPICS) for one in (gap_notice(9, 2, 5), flood_notice(9, 2, 5)))
    assert isinstance(gap, Numbered)
    assert isinstance(flood, Numbered)
    assert (gap.gone, gap.held, flood.gone, flood.held) == (((2, 5),), (), (), ((2, 5),))


def test_end_of_a_replay_counts_on_its_topic_alone() -> None:
    """On the topic of alerts it is nobody's message."""
    end = FakeBox().answer(b'{"from_seq":0,"to_seq":9,"requester":"w"}')[-1]
    assert isinstance(read(REPLAYED, end, TOPICS), ReplayEnd)
    assert isinstance(read(ALERTS, end, TOPICS), Unreadable)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff\xfe", b"null", b"[" * 20_000, to_bytes(EXAMPLES["an hour of one camera"])],
)
def test_anything_else_is_unreadable(payload: bytes) -> None:
    """Bytes that are no alert are a value, not an exception."""
    assert isinstance(read(ALERTS, payload, TOPICS), Unreadable)
    assert isinstance(read(TOPICS.available, payload, TOPICS), Unreadable)


def test_id_that_does_not_match_its_number_is_unreadable() -> None:
    """A flipped digit must not open a gap of a million alerts."""
    garbled = to_bytes(alert(7)).replace(b'"seq":7', b'"seq":7000000')
    assert isinstance(read(ALERTS, garbled, TOPICS), Unreadable)
