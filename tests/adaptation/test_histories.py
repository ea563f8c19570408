"""Thousands of random histories of one environment: whatever comes in whatever order, a verified bundle judges.

The real updater on a place in memory, whose every step may be the last one before the power goes, and whose disk may be
full. Histories are drawn from a seed that a failure prints.
"""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from fakes.screening import make_bundle
from numpy.typing import NDArray
from structlog.testing import capture_logs

from gateway.adaptation import swap
from gateway.adaptation.place import PACE, Said
from gateway.adaptation.slots import Slots
from gateway.adaptation.updater import Updater
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.requests import ModelOrder
from gateway.errors import ExchangeError, ExchangeReason, RuntimeFault, StorageError

FACTORY = "f" * 64
BUNDLE = make_bundle()
MOST_EVENTS = 30


class PowerCut(Exception):
    """The process is gone."""


def digest(version: int) -> str:
    """Return the digest of a version."""
    return f"{version:064x}"


@dataclass
class MemoryPlace:
    """An environment whose disk is `slots`: what is there outlives a cut, what is in use does not."""

    draw: random.Random
    slots: Slots = field(default_factory=Slots)
    verified: set[str] = field(default_factory=set)
    """What lies on the disk, whole."""
    offered: int = 0
    is_full: bool = False
    running: str = FACTORY
    staged: str | None = None
    undone: set[str] = field(default_factory=set)
    may_cut: bool = True
    activated: int = 0

    def step(self) -> None:
        """The power may go here."""
        if self.may_cut and self.draw.random() < 0.02:
            raise PowerCut
        self.check()

    def check(self) -> None:
        """What must hold at every instant."""
        assert self.running == FACTORY or self.running in self.verified
        assert self.loads() == FACTORY or self.loads() in self.verified

    def loads(self) -> str:
        """Return what the disk says is to run, as the store loads it."""
        for sha256 in (self.slots.active, self.slots.previous):
            if sha256 is not None and sha256 not in self.slots.denied:
                return sha256
        return FACTORY

    def write(self, after: Slots) -> None:
        """Have slots on the disk, if it takes them."""
        self.step()
        if self.is_full:
            raise StorageError("the disk is full")
        assert after.active is None or after.active not in after.denied
        assert after.floor_version >= self.slots.floor_version
        assert set(self.slots.denied) <= set(after.denied)
        self.slots = after
        self.step()

    ending = None

    async def newest(self) -> str | None:
        """Offer the newest version, or fail."""
        self.step()
        if self.draw.random() < 0.2:
            raise ExchangeError("away", ExchangeReason.UNREACHABLE)
        sha256 = digest(self.offered)
        is_wanted = self.offered > 0 and sha256 not in self.slots.denied and self.slots.pinned is None
        return sha256 if is_wanted and sha256 != self.running else None

    async def stage(self, sha256: str) -> Bundle:
        """Put it on the disk; now and then it is not what it should be."""
        self.step()
        chance = self.draw.random()
        if chance < 0.1 or int(sha256, 16) <= self.slots.floor_version:
            raise BundleError("not what was signed, or old")
        if chance < 0.2 or self.is_full:
            raise StorageError("the disk is full")
        self.verified.add(sha256)
        self.step()
        if chance < 0.3:
            raise RuntimeFault("its self-test fails")
        self.staged = sha256
        return BUNDLE

    async def score(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Nobody passes here."""
        return np.zeros(len(pixels_NYXC), np.float32)

    async def compare(self, pixels_NYXC: NDArray[np.uint8]) -> None:
        """Nobody passes here."""

    def in_use(self) -> Bundle:
        """Return what has the right form."""
        return BUNDLE

    def learn(self, camera: str, statistic: float, alert_id: str | None) -> None:
        """Nobody passes here."""

    async def activate(self) -> bool:
        """Let it judge, where it is wanted still."""
        self.step()
        assert self.staged is not None
        if not self.slots.wants(self.staged, int(self.staged, 16)):
            return False
        self.running, self.staged = self.staged, None
        self.activated += 1
        self.step()
        return True

    async def commit(self, sha256: str) -> None:
        """Write it down."""
        self.write(self.slots.activated(sha256, int(sha256, 16)))

    async def confirm(self) -> None:
        """Write it down."""
        self.write(self.slots.confirmed() if self.slots.active == self.running else self.slots)

    async def deny(self, sha256: str, reason: str) -> None:
        """Write it down."""
        self.write(self.slots.with_denied(sha256, reason))

    def discard(self) -> None:
        """Forget what is staged."""
        self.staged = None

    async def check_before(self) -> None:
        """Refuse on the factory's."""
        if self.running == FACTORY:
            raise BundleError("nothing to go back to")

    async def restore(self) -> str | None:
        """Let the one before judge."""
        self.step()
        undone = self.running
        self.undone |= {undone} - {FACTORY}
        before = self.slots
        for sha256 in self.undone:
            self.slots = self.slots.with_denied(sha256, "")
        self.running, self.slots = self.loads(), before
        self.step()
        return None if undone == FACTORY else undone

    async def keep_restored(self, undone: str | None, reason: str, *, is_pinned: bool) -> None:
        """Write it down."""
        after = self.slots if undone is None else self.slots.with_denied(undone, reason)
        self.write(after.staying() if is_pinned else after)
        self.undone.discard(undone or "")

    async def choose(self, version: int | None) -> None:
        """Write it down, as the command line would."""
        if version is None:
            self.write(self.slots.with_pin(None))
        elif digest(version) not in self.verified:
            raise BundleError("no such version lies here")
        else:
            sha256 = digest(version)
            self.write(self.slots.activated(sha256, version).with_pin(sha256))

    async def named(self) -> swap.Named | None:
        """Return what somebody else wrote."""
        named = self.loads()
        is_new = self.slots.probation and named == self.slots.active
        return swap.Named(named, named == self.running, is_new, self.slots.pinned is not None)

    async def follow(self, sha256: str) -> Bundle:
        """Let it judge, unless no session opens."""
        self.step()
        if self.draw.random() < 0.1 and sha256 != FACTORY:
            raise RuntimeFault("no session")
        assert sha256 == self.loads()
        self.running = sha256
        self.step()
        return BUNDLE

    def show(self, said: Said) -> None:
        """Nobody listens."""


def began(place: MemoryPlace) -> Updater:
    """Begin as a new process does: the disk is the truth."""
    place.staged, place.undone, place.running = None, set(), place.loads()
    slots = place.slots
    on_probation = slots.probation and slots.active == place.running
    state = swap.Swap("probation" if on_probation else "steady", slots.active if on_probation else None)
    return Updater("hall", place, pace=PACE, state=state, running=BUNDLE, clock=lambda: 0.0)


async def happen(draw: random.Random, place: MemoryPlace, updater: Updater) -> None:
    """Let one thing happen."""
    candidate = updater.state.candidate
    match draw.randrange(9):
        case 0:
            place.offered += draw.randrange(3)
        case 1 | 2:
            await updater._poll()
        case 3 | 4 if candidate is not None:
            await updater._take(swap.Passed(candidate))
        case 5 if candidate is not None:
            await updater._take(swap.Failed(candidate, "it flags everybody"))
        case 6:
            version = draw.choice((None, draw.randrange(1, place.offered + 2)))
            await updater._obey(draw.choice((ModelOrder("rollback"), ModelOrder("pin", version))))
        case 7:
            write_by_hand(draw, place)
            updater.look()
        case 8:
            place.is_full = not place.is_full and draw.random() < 0.5


def write_by_hand(draw: random.Random, place: MemoryPlace) -> None:
    """Let the command line install, go back, or take a pin back."""
    fit = [each for each in place.verified if each not in place.slots.denied]
    match draw.randrange(3):
        case 0 if fit and not place.is_full:
            sha256 = draw.choice(sorted(fit))
            place.write(place.slots.activated(sha256, int(sha256, 16)))
        case 1 if place.slots.active is not None and not place.is_full:
            place.write(place.slots.rolled_back("by hand"))
        case 2 if not place.is_full:
            place.write(place.slots.with_pin(None))


async def settle(place: MemoryPlace, updater: Updater) -> None:
    """Let the disk have room and everything be written and followed, as it is between two events."""
    place.is_full = False
    await updater._writes.go_on()
    await updater._look_at_disk()


async def history(seed: int) -> tuple[int, int]:
    """Live one history; return how often the power went, and how many bundles came to judge."""
    draw = random.Random(seed)
    place, cuts = MemoryPlace(draw), 0
    updater = began(place)
    for _ in range(MOST_EVENTS):
        try:
            await happen(draw, place, updater)
            if draw.random() < 0.3:
                await settle(place, updater)
        except PowerCut:
            cuts += 1
            updater = began(place)
        place.check()
    place.may_cut = False
    await settle(place, updater)
    assert place.running == place.loads(), f"seed {seed}: what judges is not what the disk names"
    assert place.running not in place.slots.denied, f"seed {seed}: a denied bundle judges"
    assert updater.state.phase not in {"activating", "restoring", "staging"}, f"seed {seed}: stuck"
    assert updater.state.is_pinned == (place.slots.pinned is not None), f"seed {seed}: the pin is not what was written"
    return cuts, place.activated


async def live(count: int) -> None:
    """Live so many histories, none of them the same, and see that they were not empty."""
    cuts = activated = 0
    for seed in range(count):
        with capture_logs():
            cut, came = await history(seed)
        cuts, activated = cuts + cut, activated + came
    assert cuts > count / 10
    assert activated > count / 10


async def test_histories_end_with_a_verified_bundle_that_the_disk_names() -> None:
    """Offers, failures, orders, the command line, a full disk and power cuts, in any order."""
    await live(300)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_ten_thousand_histories_end_with_a_verified_bundle_that_the_disk_names() -> None:
    """The same, often enough for what is rare."""
    await live(10_000)
