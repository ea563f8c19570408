"""An environment's updater by itself: the channel is asked with patience, and what waits is bounded."""

import asyncio

import numpy as np
import pytest
from fakes.screening import make_bundle

from gateway.adaptation import swap
from gateway.adaptation.updater import MOST_BATCHES, Pace, Seen, Updater
from gateway.contract.bundle import Bundle, BundleError
from gateway.errors import ExchangeError, ExchangeReason, StorageError

NEW = "a" * 64
BATCH = Seen(np.zeros((1, 32, 32, 3), np.uint8), ())


class FakePlace:
    """A place whose channel says what it is told, and that notes what is done."""

    def __init__(self, offered: str | None = None, error: Exception | None = None) -> None:
        self.offered = offered
        self.error = error
        self.asked = 0
        self.is_full = False
        self.done: list[str] = []
        self.said: list[tuple[swap.Phase, str | None, str | None]] = []
        self.changed = asyncio.Event()

    async def newest(self) -> str | None:
        """Answer as told."""
        self.asked += 1
        self.changed.set()
        if self.error is not None:
            raise self.error
        return self.offered

    async def stage(self, sha256: str) -> Bundle:
        """Stage it."""
        self.done.append(f"stage {sha256[:1]}")
        return make_bundle()

    async def score(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        """Score nothing."""
        return np.zeros(len(pixels_NYXC), np.float32)

    def learn(self, camera: str, statistic: float, alert_id: str | None) -> None:
        """Keep nothing."""

    async def activate(self) -> None:
        """Note it."""
        self.done.append("activate")

    def _write(self, what: str) -> None:
        self.changed.set()
        if self.is_full:
            raise StorageError("the disk is full")
        self.done.append(what)

    async def commit(self, sha256: str) -> None:
        """Note it."""
        self._write(f"commit {sha256[:1]}")

    async def confirm(self) -> None:
        """Note it."""
        self._write("confirm")

    async def deny(self, sha256: str, reason: str) -> None:
        """Note it."""
        self._write(f"deny {sha256[:1]}: {reason}")

    def discard(self) -> None:
        """Note it."""
        self.done.append("discard")

    async def restore(self) -> None:
        """Note it."""
        self.done.append("restore")

    async def keep_restored(self, reason: str, *, is_pinned: bool) -> None:
        """Note it."""
        self._write(f"kept: {reason}, {'stay' if is_pinned else 'go on'}")

    async def keep_pin(self, *, is_on: bool) -> None:
        """Note it."""
        self._write(f"pin {is_on}")

    def show(self, state: swap.Swap, update: str | None, reason: str | None) -> None:
        """Note it."""
        self.said.append((state.phase, update, reason))
        self.changed.set()


def updater(place: FakePlace, state: swap.Swap | None = None) -> Updater:
    """Return an updater that has not begun."""
    return Updater("hall", place, pace=Pace(poll_s=3600.0), state=state or swap.Swap(), running=make_bundle())


async def until_said(place: FakePlace, subject: Updater, phase: swap.Phase, update: str | None) -> None:
    """Run the updater until it says this."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while not place.said or place.said[-1][:2] != (phase, update) or not place.asked:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ExchangeError("x", ExchangeReason.EXPIRED), "update_stale"),
        (ExchangeError("x", ExchangeReason.UNREACHABLE), "unreachable"),
        (StorageError("x"), "unreachable"),
        (BundleError("x"), "unreachable"),
    ],
)
async def test_channel_in_trouble_is_told_and_asked_again(error: Exception, said: str) -> None:
    """No error of the channel or the disk ends the updater."""
    place = FakePlace(error=error)
    await until_said(place, updater(place), "steady", said)


async def test_offer_goes_to_the_shadow() -> None:
    """The first look brings a bundle on trial."""
    place = FakePlace(offered=NEW)
    await until_said(place, updater(place), "shadow", None)
    assert place.done == ["stage a"]


async def test_full_disk_delays_what_is_written_and_nothing_else() -> None:
    """The bundle is undone at once; what the disk is to know follows in order, and nothing is taken before that."""
    place = FakePlace(offered=NEW)
    place.is_full = True
    now_s = 0.0
    subject = Updater(
        "hall",
        place,
        pace=Pace(poll_s=1.0),
        state=swap.Swap("probation", NEW),
        running=make_bundle(),
        clock=lambda: now_s,
    )
    subject.ask(swap.RollBack())
    subject.ask(swap.Pin(is_on=False))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while not place.said or place.said[-1][0] != "steady":
            place.changed.clear()
            await place.changed.wait()
        assert (place.done, place.asked) == (["restore"], 0)
        place.is_full, now_s = False, 1000.0
        subject.ask(swap.Pin(is_on=False))
        while not place.asked:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()
    kept = [f"kept: {swap.OPERATOR}, stay", "pin False", "pin False"]
    assert place.done[:4] == ["restore", *kept]


async def test_batches_beyond_the_bound_are_dropped_and_counted() -> None:
    """A bundle that is too slow sees fewer faces; memory stays flat."""
    place = FakePlace(offered=NEW)
    subject = updater(place, swap.Swap("probation", NEW))
    for _ in range(MOST_BATCHES + 5):
        subject.on_seen(BATCH)
    assert subject.dropped == 5


async def test_nothing_waits_without_a_trial() -> None:
    """In the steady state batches are let go at once and not counted."""
    subject = updater(FakePlace())
    for _ in range(1000):
        subject.on_seen(BATCH)
    assert subject.dropped == 0
