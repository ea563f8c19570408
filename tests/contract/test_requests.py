"""What others ask: read exactly, or refused with a reason; hostile bytes raise nothing else."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.requests import (
    MAX_REQUEST_BYTES,
    Feedback,
    ModelOrder,
    ReplayRequest,
    RequestError,
    read_feedback,
    read_model_order,
    read_replay_request,
    read_switch,
)

READERS: list[Callable[[bytes], object]] = [read_replay_request, read_feedback, read_switch, read_model_order]


def test_replay_request_when_it_is_one() -> None:
    """The two numbers suffice; a name may be given."""
    assert read_replay_request(b'{"from_seq": 3, "to_seq": 5}') == ReplayRequest(from_seq=3, to_seq=5)
    named = read_replay_request(b'{"from_seq":3,"to_seq":3,"requester":"desk-1"}')
    assert named.requester == "desk-1"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"3-5",
        b'{"from_seq": 5, "to_seq": 3}',
        b'{"from_seq": -1, "to_seq": 3}',
        b'{"from_seq": "1", "to_seq": 3}',
        b'{"from_seq": 1.5, "to_seq": 3}',
        b'{"from_seq": 1, "to_seq": 9007199254740993}',
        b'{"from_seq": 1, "to_seq": 3, "and": 4}',
        b'{"from_seq": 1, "to_seq": 3, "requester": "two words"}',
    ],
)
def test_replay_request_when_it_is_none(payload: bytes) -> None:
    """Anything else is refused."""
    with pytest.raises(RequestError):
        read_replay_request(payload)


def test_feedback_when_given_as_a_word_or_with_a_note() -> None:
    """A rule sends the word, a person's tool may add a note."""
    assert read_feedback(b"confirmed") == Feedback(feedback="confirmed")
    assert read_feedback(b"false_positive") == Feedback(feedback="false_positive")
    assert read_feedback(b'{"feedback": "confirmed", "note": "seen"}') == Feedback(feedback="confirmed", note="seen")


@pytest.mark.parametrize("payload", [b"", b"yes", b'{"feedback": "maybe"}', b'{"note": "x"}', b"confirmed\n"])
def test_feedback_when_it_is_none(payload: bytes) -> None:
    """Only the two words count."""
    with pytest.raises(RequestError):
        read_feedback(payload)


def test_switch_when_on_off_or_anything_else() -> None:
    """ON and OFF, as Home Assistant sends them."""
    assert read_switch(b"ON") is True
    assert read_switch(b"OFF") is False
    with pytest.raises(RequestError):
        read_switch(b"on")


@pytest.mark.parametrize(
    ("payload", "order"),
    [
        (b"rollback", ModelOrder("rollback")),
        (b"pin 3", ModelOrder("pin", 3)),
        (b"pin none", ModelOrder("pin")),
    ],
)
def test_model_order_when_it_is_one(payload: bytes, order: ModelOrder) -> None:
    """It is spelled as it is read."""
    assert read_model_order(payload) == order
    assert str(order).encode() == payload


@pytest.mark.parametrize(
    "payload", [b"", b"Rollback", b"pin", b"pin 0", b"pin -1", b"pin 3\n", b"pin 12345678901", b"\xff"]
)
def test_model_order_when_it_is_none(payload: bytes) -> None:
    """Only the three forms count."""
    with pytest.raises(RequestError):
        read_model_order(payload)


@pytest.mark.parametrize("read", READERS)
def test_request_when_it_is_too_large(read: Callable[[bytes], object]) -> None:
    """Size is looked at before the content."""
    with pytest.raises(RequestError):
        read(b"[" * (MAX_REQUEST_BYTES + 1))


@given(read=st.sampled_from(READERS), payload=st.binary(max_size=300))
def test_request_when_bytes_are_random(read: Callable[[bytes], object], payload: bytes) -> None:
    """Random bytes are refused or fit, and raise nothing else."""
    try:
        read(payload)
    except RequestError:
        return
