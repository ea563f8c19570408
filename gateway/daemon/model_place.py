"""One environment's bundles as its updater sees them: the channel, the store on the disk and the detectors."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.adaptation import swap
from gateway.adaptation.exchange import Offer, admit
from gateway.adaptation.place import Answer, Said
from gateway.adaptation.shadow import Compared
from gateway.adaptation.slots import NOTHING_BEFORE, Slots
from gateway.adaptation.store import BundleStore, Loaded
from gateway.contract import messages
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.topics import Topics
from gateway.daemon.board import Shown
from gateway.daemon.calibration import Memory
from gateway.daemon.environments import Environments
from gateway.daemon.teaching import Teaches, all_teach
from gateway.errors import RuntimeFault
from gateway.screening.runtime import BundleDetector
from gateway.storage.tables import StoredTrack, kept_as

_log = structlog.get_logger()


class Source(Protocol):
    """Where bundles come from; both calls block. `adaptation.exchange.Exchange` is one."""

    @property
    def ending(self) -> str | None:
        """Which signatures will soon have to be renewed by hand, in words, as of the last look."""

    def newest(self, environment: str) -> Offer | None:
        """Return the newest bundle of an environment."""

    def fetch(self, offer: Offer) -> dict[str, bytes]:
        """Return its files, verified."""


@dataclass(frozen=True, slots=True)
class House:
    """Where bundles run, and who is told; `environments` are made after this, so it is asked for them."""

    environments: Callable[[], Environments]
    memory: Memory
    shown: Shown
    topics: Topics
    clock: Callable[[], float] = time.time
    teaches: Teaches = all_teach
    has_drifted: Callable[[str], bool] = lambda _environment: False


class SharedSource:
    """The source of all environments, which one at a time asks.

    python-tuf's cache is for one, and a channel that is slow must not take the threads that others need.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._turn = asyncio.Lock()

    @property
    def ending(self) -> str | None:
        """Which signatures will soon have to be renewed by hand, in words, as of the last look."""
        return self._source.ending

    async def newest(self, environment: str) -> Offer | None:
        """Return the newest bundle of an environment."""
        async with self._turn:
            return await asyncio.to_thread(self._source.newest, environment)

    async def fetch(self, offer: Offer) -> dict[str, bytes]:
        """Return its files, verified."""
        async with self._turn:
            return await asyncio.to_thread(self._source.fetch, offer)


class ModelPlace:
    """One environment, as its updater sees it."""

    def __init__(self, name: str, store: BundleStore, source: SharedSource | None, house: House) -> None:
        self._name = name
        self._store = store
        self._source = source
        self._house = house
        self._offer: Offer | None = None
        self._staged: tuple[Bundle, BundleDetector] | None = None
        self._activated_version = 0
        self._undone: set[str] = set()
        """What was undone and the disk does not know of yet."""
        self._answered: Answer | None = None
        self._answered_at_s = 0.0
        self._shown: messages.ModelIdentity | None = None
        self._since_s = 0.0

    async def newest(self) -> str | None:
        """Return the digest of a bundle that is offered, is new here and is not in use, or None."""
        if self._source is None:
            return None
        self._offer = offer = await self._source.newest(self._name)
        slots = await asyncio.to_thread(self._store.slots, self._name)
        if offer is None or offer.sha256 in slots.denied or slots.pinned is not None:
            return None
        is_new = slots.wants(offer.sha256, offer.version)
        if not is_new and await asyncio.to_thread(self._lies_here, offer.sha256):
            return None  # an operator left it for another one
        return None if offer.sha256 == self._running().identity.sha256 else offer.sha256

    def _lies_here(self, sha256: str) -> bool:
        try:
            self._store.open(sha256)
        except BundleError:
            return False
        return True

    @property
    def ending(self) -> str | None:
        """Which signatures will soon have to be renewed by hand, in words, as of the last look."""
        return None if self._source is None else self._source.ending

    async def stage(self, sha256: str) -> Bundle | None:
        """Fetch, verify, store, load and self-test a bundle; None where an operator chose otherwise meanwhile."""
        offer = self._offer
        if self._source is None or offer is None or offer.sha256 != sha256:
            raise BundleError(f"bundle {sha256[:12]}… is not offered any more")
        files = await self._source.fetch(offer)
        if (await asyncio.to_thread(self._store.slots, self._name)).pinned is not None:
            return None  # an operator chose otherwise meanwhile
        bundle = await asyncio.to_thread(self._put, offer, files)
        self._staged = bundle, await self._house.environments().open_bundle(bundle)
        return bundle

    def _put(self, offer: Offer, files: Mapping[str, bytes]) -> Bundle:
        admit(files, offer, self._store.slots(self._name))
        self._store.sweep()
        bundle = self._store.stage(self._name, files)
        if bundle.identity.sha256 != offer.sha256:
            raise BundleError(f"bundle {bundle.identity.sha256[:12]}… came where {offer.sha256[:12]}… was offered")
        return bundle

    async def score(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores of the bundle that was staged."""
        return await self._on_trial()[1].screen(pixels_NYXC)

    async def compare(self, pixels_NYXC: NDArray[np.uint8]) -> Compared | None:
        """Let the bundle that was staged and the one in use score the same faces."""
        trial, in_use = self._on_trial()[1], self._house.environments().detector(self._name)
        scores_N = await trial.screen(pixels_NYXC)
        try:
            in_use_N = await in_use.screen(pixels_NYXC)
        except RuntimeFault:
            return None
        return Compared(scores_N.tolist(), in_use_N.tolist(), trial.took_s, in_use.took_s)

    def in_use(self) -> Bundle:
        """Return the bundle in use."""
        return self._running()

    def has_drifted(self) -> bool:
        """Return whether the environment's pictures have changed under the bundle in use."""
        return self._house.has_drifted(self._name)

    def learn(self, camera: str, statistic: float, alert_id: str | None) -> None:
        """Keep a track for the calibration of the bundle that was staged."""
        if not self._house.teaches(camera):
            return
        kept = kept_as(self._name, self._on_trial()[0].identity.sha256)
        self._house.memory.add(StoredTrack(camera, kept, statistic, alert_id))

    async def activate(self) -> bool:
        """Let the bundle that was staged judge, if the disk still wants it."""
        bundle, detector = self._on_trial()
        slots = await asyncio.to_thread(self._store.slots, self._name)
        if not slots.wants(bundle.identity.sha256, bundle.manifest.version):
            return False
        self._staged, self._activated_version = None, bundle.manifest.version
        await self._house.environments().activate(self._name, bundle, detector, is_guarded=True)
        return True

    async def commit(self, sha256: str) -> None:
        """Write down that it is in use."""
        version = self._activated_version
        await self._change(lambda slots: slots.activated(sha256, version))

    async def confirm(self) -> None:
        """Write down that what judges is good."""
        sha256 = self._running().identity.sha256
        await self._change(lambda slots: slots.confirmed() if slots.active == sha256 else slots)

    async def deny(self, sha256: str, reason: str) -> None:
        """Write down that it is never to run."""
        await self._change(lambda slots: slots.with_denied(sha256, reason))

    def discard(self) -> None:
        """Give the session of the bundle that was staged back."""
        if self._staged is not None:
            self._staged[1].release()
            self._staged = None

    async def check_before(self) -> None:
        """Refuse where there is no bundle to go back to."""
        if await asyncio.to_thread(self._is_factory, self._running()):
            raise BundleError(NOTHING_BEFORE)

    async def restore(self) -> str | None:
        """Let the bundle before the one in use judge; return which was undone, None where it was the factory's."""
        undone = self._running()
        is_factory = await asyncio.to_thread(self._is_factory, undone)
        if not is_factory:
            self._undone.add(undone.identity.sha256)
        loaded = await asyncio.to_thread(self._load_before)
        try:
            await self._let_judge(loaded.bundle, is_guarded=False)
        except BundleError as error:
            if loaded.slot == "factory":
                raise
            _log.error("model_damaged", environment=self._name, reason=f"{loaded.slot}: {error}")
            await self._let_judge(await asyncio.to_thread(self._store.factory, self._name), is_guarded=False)
        return None if is_factory else undone.identity.sha256

    def _is_factory(self, bundle: Bundle) -> bool:
        return bundle.identity == self._store.factory(self._name).identity

    def _load_before(self) -> Loaded:
        slots = self._store.slots(self._name)
        for sha256 in self._undone:
            slots = slots.with_denied(sha256, "")
        return self._store.load(self._name, slots)

    async def _let_judge(self, bundle: Bundle, *, is_guarded: bool) -> None:
        if bundle.identity != self._running().identity:
            detector = await self._house.environments().open_bundle(bundle)
            await self._house.environments().activate(self._name, bundle, detector, is_guarded=is_guarded)

    async def keep_restored(self, undone: str | None, reason: str, *, is_pinned: bool) -> None:
        """Write down which bundle was undone, and whether what judges now is to stay."""

        def step(slots: Slots) -> Slots:
            after = slots if undone is None else slots.with_denied(undone, reason)
            return after.staying() if is_pinned else after

        await self._change(step)
        self._undone.discard(undone or "")

    async def choose(self, version: int | None) -> None:
        """Write down that a version that lies here is to run and to stay; None: that new ones are taken again."""
        await asyncio.to_thread(self._store.choose, self._name, version, check=_anything)

    async def named(self) -> swap.Named | None:
        """Return what the disk names, or None where it says nothing that can be believed."""
        return await asyncio.to_thread(self._named)

    def _named(self) -> swap.Named | None:
        slots = self._store.written(self._name)
        if slots is None:  # a disk that cannot be read just now names nothing
            return None
        running = self._running().identity.sha256
        is_active = running == slots.active  # what is in use needs no look at its files
        loaded = None if is_active else self._store.load(self._name, slots)
        sha256 = running if loaded is None else loaded.bundle.identity.sha256
        return swap.Named(
            sha256,
            is_running=sha256 == running,
            is_on_probation=slots.probation and (loaded is None or loaded.slot == "active"),
            is_pinned=slots.pinned is not None,
        )

    async def follow(self, sha256: str) -> Bundle:
        """Let the bundle that the disk names judge, and return it."""
        slots = await asyncio.to_thread(self._store.slots, self._name)
        loaded = await asyncio.to_thread(self._store.load, self._name, slots)
        if loaded.bundle.identity.sha256 != sha256:
            raise BundleError(f"bundle {sha256[:12]}… is not what the disk names any more")
        await self._let_judge(loaded.bundle, is_guarded=slots.probation and loaded.slot == "active")
        return loaded.bundle

    def show(self, said: Said) -> None:
        """Say how things stand."""
        if said.answer is not self._answered:
            self._answered, self._answered_at_s = said.answer, self._house.clock()
        running = self._running().identity
        if running != self._shown:
            self._shown, self._since_s = running, self._house.clock()
        state = messages.ModelState(
            environment=self._name,
            time=self._house.clock(),
            state=said.state.phase,
            model=running,
            since=self._since_s,
            candidate=said.state.candidate,
            pinned=said.state.is_pinned,
            update=said.update,
            reason=_short(said.reason),
            answer=None if said.answer is None else _answer(said.answer, self._answered_at_s),
        )
        self._house.shown.show(self._house.topics.model_state(self._name), messages.to_bytes(state))

    def _running(self) -> Bundle:
        return self._house.environments().bundles[self._name]

    def _on_trial(self) -> tuple[Bundle, BundleDetector]:
        if self._staged is None:
            raise BundleError(f"environment {self._name}: no bundle is on trial")
        return self._staged

    async def _change(self, step: Callable[[Slots], Slots]) -> None:
        await asyncio.to_thread(self._store.change, self._name, step)


def _anything(_bundle: Bundle) -> None:
    """Take it: its self-test comes when it is opened."""


def _short(text: str | None) -> str | None:
    return None if text is None else text[:500]


def _answer(answer: Answer, time_s: float) -> messages.ModelAnswer:
    return messages.ModelAnswer(
        order=str(answer.order),
        time=time_s,
        result="done" if answer.refusal is None else "refused",
        reason=_short(answer.refusal),
    )
