"""The watchdog: fed while work moves, and the end asked for when a part is wedged."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fakes.daemons import Box, running_daemon
from fakes.live import FakeLink, live_frame
from fakes.manager import FakeManager
from structlog.testing import capture_logs

from gateway.contract.supervision import MOST_LOOKS, Notifier, Watchdog
from gateway.daemon.watchdog import pulses_of, say_wedged
from gateway.pipeline import LiveScreening

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
        notifier = Notifier(manager.environment)
        await Watchdog(lambda: pulses_of(box.daemon), notifier, on_wedged=say_wedged, sleep=sleep).run()
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
        said = await watch(box, manager, looks=2 * MOST_LOOKS, look_s=1.0)
        loading.cancel()
    assert {tuple(words) for words in said} == {("WATCHDOG=1",)}


async def test_camera_that_shows_a_picture_a_minute_is_alive(tmp_path: Path, manager: FakeManager) -> None:
    """It is online and silent; whether its worker lives is told to who reads it, many times in between."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: box.shown.status("gate") == ("online", None))
        await box.until(lambda: box.daemon.cameras.all[0].summary.verdicts.total() == 1)  # all was screened
        said = await watch(box, manager)
    assert {tuple(words) for words in said} == {("WATCHDOG=1",)}


async def test_camera_whose_event_is_never_done_with_is_a_wedge(
    tmp_path: Path, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop runs, its worker lives, and yet nobody looks at its pictures any more."""
    hung, release = asyncio.Event(), asyncio.Event()

    async def see(*_: object) -> tuple[()]:
        hung.set()
        await release.wait()
        return ()

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
