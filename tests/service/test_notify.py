"""What systemd is told, by a socket that stands for it."""

import os
from pathlib import Path

import pytest
from fakes.manager import FakeManager

from gateway.service.notify import Notifier


def test_words_arrive_in_one_message(tmp_path: Path) -> None:
    """A reader sees readiness and status together, and a reload with its moment."""
    with FakeManager(tmp_path) as manager:
        notifier = Notifier(manager.environment)
        notifier.ready("2 cameras")
        notifier.reloading()
        notifier.stopping()
        first, second, third = manager.read(), manager.read(), manager.read()
    assert first == ["READY=1", "STATUS=2 cameras"]
    assert second[0] == "RELOADING=1"
    assert second[1].startswith("MONOTONIC_USEC=")
    assert third[0] == "STOPPING=1"


def test_abstract_address_is_reached(tmp_path: Path) -> None:
    """User managers and containers name one with @ in front."""
    with FakeManager(f"@spectragate-test-{os.getpid()}") as manager:
        assert Notifier(manager.environment).tell("READY=1")
        assert manager.read() == ["READY=1"]


def test_nobody_is_told_without_a_manager(tmp_path: Path) -> None:
    """By hand or in a container nothing is said and nothing fails, also where the socket is gone."""
    assert not Notifier({}).tell("READY=1")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")


def test_full_socket_does_not_hold_up_the_daemon(tmp_path: Path) -> None:
    """A manager that reads nothing costs the daemon nothing but the message."""
    with FakeManager(tmp_path) as manager:
        notifier = Notifier(manager.environment)
        assert not all(notifier.tell("WATCHDOG=1") for _ in range(5000))


@pytest.mark.parametrize(
    ("watchdog", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
    ids=["none", "ours", "of another process", "off", "nonsense"],
)
def test_watchdog_is_ours_or_none(watchdog: dict[str, str], expected: float | None) -> None:
    """It is fed where the manager asks this very process to."""
    assert Notifier({"NOTIFY_SOCKET": "@nobody", **watchdog}).watchdog_s == expected
