"""What systemd is told, by a socket that stands for it, and when it is told that all is well."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes.manager import FakeManager

from gateway.contract.supervision import TRIGGER, Notifier, Patience, Pulse, Watchdog


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


async def test_loop_that_hangs_does_not_feed(tmp_path: Path) -> None:
    """The pings come from the loop itself, not from a thread or a timer beside it."""
    moving = iter(range(1_000_000))
    with FakeManager(tmp_path, watchdog_s=10.0) as manager:
        watchdog = Watchdog(
            lambda: {"part": Pulse(next(moving), is_busy=True)},
            Notifier(manager.environment),
            on_wedged=pytest.fail,
            sleep=lambda _s: asyncio.sleep(0.01),
        )
        await _hang_once(watchdog, manager)


async def _hang_once(watchdog: Watchdog, manager: FakeManager) -> None:
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(watchdog.run(), name="watchdog")
        await asyncio.to_thread(manager.until, "WATCHDOG=1")
        manager.waiting()
        time.sleep(0.3)  # noqa: ASYNC251 (this is the wedge)
        assert manager.waiting() == []
        await asyncio.to_thread(manager.until, "WATCHDOG=1")
        feeding.cancel()


async def test_nothing_is_watched_without_a_manager() -> None:
    """Run by hand nobody would start it again."""

    def look() -> Mapping[str, Pulse]:
        raise AssertionError

    await Watchdog(look, Notifier({}), on_wedged=pytest.fail).run()


def test_part_is_wedged_only_after_so_many_looks_in_a_row() -> None:
    """Any move, and any moment without work, begins the count anew; a part that came new counts from then."""
    patience = Patience(3)
    still, idle = {"part": Pulse(1, is_busy=True)}, {"part": Pulse(1, is_busy=False)}
    looks = [still, still, still, {"part": Pulse(2, is_busy=True)}, still, still, still, idle, still, still, still]
    assert [patience.look(look) for look in looks] == [()] * len(looks)
    assert patience.look(still) == ("part",)
    assert patience.look({}) == ()
    assert patience.look(still) == ()


async def test_wedged_part_is_told_before_the_end_is_asked_for(tmp_path: Path) -> None:
    """By its name, once, and after pings for as long as it might still move."""
    accused: list[tuple[str, ...]] = []
    with FakeManager(tmp_path, watchdog_s=10.0) as manager:
        await Watchdog(
            lambda: {"part": Pulse(1, is_busy=True), "other": Pulse(1, is_busy=False)},
            Notifier(manager.environment),
            on_wedged=accused.append,
            sleep=lambda _s: asyncio.sleep(0),
        ).run()
        said = manager.waiting()
    assert accused == [("part",)]
    assert said == [["WATCHDOG=1"]] * 7 + [["STATUS=wedged: part", TRIGGER]]
