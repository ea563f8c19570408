"""The examples: one of every kind, as the documents and the documentation show them."""

from typing import get_args

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, Message, to_bytes


def test_examples_when_counted_cover_every_message() -> None:
    """Nobody adds a message without showing what it looks like."""
    assert {type(message) for message in EXAMPLES.values()} == set(get_args(Message))


def test_examples_of_alerts_when_compared_show_live_and_replay() -> None:
    """The two ways an alert differs, with and without latency, are both shown."""
    alerts = [message.data for message in EXAMPLES.values() if isinstance(message, Alert)]

    assert {data.replay for data in alerts} == {False, True}
    assert all((data.latency_ms is None) == data.replay for data in alerts)


def test_examples_when_written_are_all_different_events() -> None:
    """Ids are unique, as subscribers rely on it."""
    events = [message for message in EXAMPLES.values() if hasattr(message, "id")]

    assert len({message.id for message in events}) == len(events)
    assert all(len(to_bytes(message)) < 2_000 for message in EXAMPLES.values())
