"""The watchdog: fed while work moves, and the end asked for when a part is wedged."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fakes.daemons import Box, running_daemon
from fakes.live import FakeLink, live_frame
from fakes.manager import FakeManager
from structlog.testing import capture_logs

from gateway.daemon.watchdog import MOST_LOOKS, Patience, Pulse, Watchdog, pulses_of
from gateway.pipeline import LiveScreening
from gateway.service.notify import Notifier

ONE = "cameras:\n  gate: {source: {type: file, path: gate.h264, loop: true}}\nscreening: {device: cpu}\n"
TRIGGERED = "WATCHDOG=trigger"


async def watch(
    box: Box, manager: FakeManager, *, looks: int = 4 * MOST_LOOKS, look_s: float = 0.02
) -> list[list[str]]:
    """Let a daemon be looked at so often at most, and return what its manager heard."""

    class Enough(Exception):
        pass

    left = looks

    async def sleep(_s: float) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Enough
        await asyncio.sleep(look_s)

    with suppress(Enough):
        await Watchdog(lambda: pulses_of(box.daemon), Notifier(manager.environment), sleep=sleep).run()
    return manager.waiting()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[FakeManager]:
    """A manager that wants to be told every ten seconds."""
    with FakeManager(tmp_path, watchdog_s=10.0) as manager:
        yield manager


@contextmanager
def stuck_thread(box: Box) -> Iterator[None]:
    """Keep the inference thread busy with something that does not end."""
    inference, release = box.daemon._fittings.inference, threading.Event()
    assert inference._thread is not None
    inference._thread._orders.put((release.wait, Future()))
    try:
        yield
    finally:
        release.set()


def accused(said: list[list[str]]) -> str:
    """Return whom the last message accuses; it must be the only one that asks for the end."""
    assert [words for words in said if TRIGGERED in words] == said[-1:]
    return said[-1][0]


async def test_idle_daemon_is_alive(tmp_path: Path, manager: FakeManager) -> None:
    """No camera has come, nothing waits: that is no reason to end."""
    async with running_daemon(tmp_path, ONE) as box:
        said = await watch(box, manager)
    assert {tuple(words) for words in said} == {("WATCHDOG=1",)}


async def test_working_daemon_is_alive(tmp_path: Path, manager: FakeManager) -> None:
    """Under load every part has work at every look, and moves."""
    async with running_daemon(tmp_path, ONE) as box, asyncio.TaskGroup() as group:
        await box.until(lambda: "gate" in box.cameras.opened)

        async def load() -> None:
            for second in range(10_000):
                box.cameras.passage("gate", white=0.9, time_s=50.0 * second)
                await asyncio.sleep(0.02)

        loading = group.create_task(load(), name="load")
        said = await watch(box, manager, looks=3 * MOST_LOOKS, look_s=0.25)
        loading.cancel()
    assert {tuple(words) for words in said} == {("WATCHDOG=1",)}


async def test_camera_that_shows_a_picture_a_minute_is_alive(tmp_path: Path, manager: FakeManager) -> None:
    """It is online and silent; whether its worker lives is told to who reads it, many times in between."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: box.shown.status("gate") == ("online", None))
        said = await watch(box, manager)
    assert {tuple(words) for words in said} == {("WATCHDOG=1",)}


async def test_camera_whose_event_is_never_done_with_is_a_wedge(
    tmp_path: Path, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop runs, its worker lives, and yet nobody looks at its pictures any more."""
    hung, release = asyncio.Event(), asyncio.Event()

    async def see(*_: object) -> None:
        hung.set()
        await release.wait()

    monkeypatch.setattr(LiveScreening, "see", see)
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.show("gate", live_frame(0))
        await hung.wait()
        with capture_logs() as logs:
            said = await watch(box, manager)
        release.set()
    assert accused(said) == "STATUS=wedged: camera:gate"
    assert [log["parts"] for log in logs if log["event"] == "wedged"] == [("camera:gate",)]


async def test_detector_that_does_not_answer_is_a_wedge(tmp_path: Path, manager: FakeManager) -> None:
    """The camera sends on, its faces wait."""
    async with running_daemon(tmp_path, ONE) as box, asyncio.TaskGroup() as group:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate", white=0.9)
        await box.until(lambda: len(box.alerts.kept) == 2)
        with stuck_thread(box):

            async def send() -> None:
                for second in range(10_000):
                    box.cameras.passage("gate", time_s=50.0 * (second + 1))
                    await asyncio.sleep(0.01)

            sending = group.create_task(send(), name="send")
            said = await watch(box, manager)
            sending.cancel()
    assert accused(said) == "STATUS=wedged: screen:default"


async def test_disk_that_does_not_answer_is_a_wedge(tmp_path: Path, manager: FakeManager) -> None:
    """Alerts wait and nothing is known to be wrong; a disk that is known to be full is waited for."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.alerts.hold = True
        box.cameras.passage("gate", white=0.9)
        await box.until(lambda: box.daemon.obligations.waiting == 2)
        box.daemon.on_disk("disk_full")
        assert not any(TRIGGERED in words for words in await watch(box, manager))
        box.daemon.on_disk(None)
        said = await watch(box, manager)
        box.alerts.release()
    assert accused(said) == "STATUS=wedged: outbox"


async def test_publisher_whose_thread_hangs_is_a_wedge(
    tmp_path: Path, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stands and it no longer comes round; a broker that is away is none."""
    async with running_daemon(tmp_path, ONE) as box:
        monkeypatch.setattr(FakeLink, "turns", 7)
        said = await watch(box, manager)
    assert accused(said) == "STATUS=wedged: publisher"


async def test_loop_that_hangs_does_not_feed(manager: FakeManager) -> None:
    """The pings come from the loop itself, not from a thread or a timer beside it."""
    moving = iter(range(1_000_000))
    watchdog = Watchdog(
        lambda: {"part": Pulse(next(moving), is_busy=True)},
        Notifier(manager.environment),
        sleep=lambda _s: asyncio.sleep(0.01),
    )
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

    await Watchdog(look, Notifier({})).run()


def test_part_is_wedged_only_after_so_many_looks_in_a_row() -> None:
    """Any move, and any moment without work, begins the count anew; a part that came new counts from then."""
    patience = Patience(3)
    still, idle = {"part": Pulse(1, is_busy=True)}, {"part": Pulse(1, is_busy=False)}
    looks = [still, still, still, {"part": Pulse(2, is_busy=True)}, still, still, still, idle, still, still, still]
    assert [patience.look(look) for look in looks] == [()] * len(looks)
    assert patience.look(still) == ("part",)
    assert patience.look({}) == ()
    assert patience.look(still) == ()
