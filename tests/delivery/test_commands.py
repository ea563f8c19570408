"""Commands: obeyed only where allowed, and never anything but what they may do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.contract.requests import ModelOrder, RequestsWait
from gateway.contract.topics import Asked
from gateway.delivery.commands import Commands, Ears, Obeyed
from gateway.delivery.packets import Incoming
from gateway.settings import COMMANDS_PER_MINUTE

SWITCH, JUDGE, CHOOSE = Asked("enabled", "lobby"), Asked("feedback", "3f0c"), Asked("model", "indoor")


class Box:
    """Takes note of what it is told to do."""

    def __init__(self, *, allowed: bool = True) -> None:
        """A box with a camera `lobby`."""
        self.now_s = 0.0
        self.done: list[tuple[str, bool | ModelOrder]] = []
        ears = Ears(self._do, self._do, self._do)
        self.commands = Commands(allowed=allowed, ears=ears, monotonic=lambda: self.now_s)

    def _do(self, name: str, what: bool | ModelOrder) -> bool:
        self.done.append((name, what))
        return name in {"lobby", "3f0c", "indoor"}


def incoming(payload: bytes, *, retain: bool = False) -> Incoming:
    """Return a message as it comes in."""
    return Incoming("t", payload, retain=retain)


@pytest.mark.parametrize(
    ("asked", "payload", "done", "value"),
    [
        (SWITCH, b"OFF", ("lobby", False), "OFF"),
        (SWITCH, b"ON", ("lobby", True), "ON"),
        (JUDGE, b"confirmed", ("3f0c", True), "confirmed"),
        (JUDGE, b'{"feedback": "false_positive", "note": "x"}', ("3f0c", False), "false_positive"),
        (CHOOSE, b"rollback", ("indoor", ModelOrder("rollback")), "rollback"),
        (CHOOSE, b"pin 12", ("indoor", ModelOrder("pin", 12)), "pin 12"),
        (CHOOSE, b"pin none", ("indoor", ModelOrder("pin")), "pin none"),
    ],
)
def test_command_when_allowed(asked: Asked, payload: bytes, done: tuple[str, object], value: str) -> None:
    """It is done and told."""
    box = Box()

    note = "x" if b"note" in payload else None
    assert box.commands.obey(asked, incoming(payload)) == Obeyed(asked, value, note)
    assert box.done == [done]
    assert (box.commands.obeyed, box.commands.ignored) == (1, 0)


@pytest.mark.parametrize("asked", [SWITCH, JUDGE, CHOOSE])
def test_command_when_not_allowed(asked: Asked) -> None:
    """Nothing is done, not even looked at; it is counted."""
    box = Box(allowed=False)

    assert box.commands.obey(asked, incoming(b"OFF")) is None
    assert box.done == []
    assert box.commands.ignored == 1


def test_order_when_too_many_wait() -> None:
    """It is not obeyed, and the log says that, not that there were no such environment."""

    def full(_environment: str, _order: ModelOrder) -> bool:
        raise RequestsWait("8 orders for indoor wait already")

    commands = Commands(allowed=True, ears=Ears(on_model=full), monotonic=lambda: 0.0)
    with capture_logs() as logs:
        assert commands.obey(CHOOSE, incoming(b"rollback")) is None
    assert [log["reason"] for log in logs] == ["8 orders for indoor wait already"]
    assert (commands.obeyed, commands.ignored) == (0, 1)


def test_command_when_it_is_retained_unknown_or_nonsense() -> None:
    """A retained one would come again with every connection; a wrong one does nothing."""
    box = Box()

    assert box.commands.obey(SWITCH, incoming(b"OFF", retain=True)) is None
    assert box.commands.obey(SWITCH, incoming(b"off")) is None
    assert box.done == []
    assert box.commands.obey(Asked("enabled", "yard"), incoming(b"OFF")) is None
    assert box.commands.ignored == 3


@given(st.sampled_from([SWITCH, JUDGE, CHOOSE]), st.binary(max_size=100))
def test_command_when_bytes_are_random(asked: Asked, payload: bytes) -> None:
    """Whatever a broker sends is obeyed or counted, and raises nothing."""
    box = Box()
    done = box.commands.obey(asked, incoming(payload))
    assert (done is None) == (box.commands.ignored == 1)


def test_commands_when_they_come_in_a_flood() -> None:
    """Only so many a minute are obeyed: each is told in a notice, and those must not crowd alerts out."""
    box = Box()
    with capture_logs() as logs:
        for _ in range(1_000):
            box.commands.obey(SWITCH, incoming(b"OFF"))
    assert (len(box.done), box.commands.ignored) == (COMMANDS_PER_MINUTE, 1_000 - COMMANDS_PER_MINUTE)
    assert len([entry for entry in logs if entry["event"] == "command_ignored"]) < 50

    box.now_s += 60.0
    assert box.commands.obey(SWITCH, incoming(b"ON")) == Obeyed(SWITCH, "ON")
