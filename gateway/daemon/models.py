"""Each environment's way from bundle to bundle, between the channel, the store on the disk and the detectors."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.adaptation import swap
from gateway.adaptation.exchange import Offer, admit
from gateway.adaptation.place import PACE, Answer, Finished, Pace, Said, Seen
from gateway.adaptation.shadow import Compared
from gateway.adaptation.slots import NOTHING_BEFORE, Slots
from gateway.adaptation.store import BundleStore, Loaded
from gateway.adaptation.updater import Updater
from gateway.contract import messages
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.requests import ModelOrder
from gateway.contract.topics import Topics
from gateway.daemon.board import Shown
from gateway.daemon.calibration import Memory
from gateway.daemon.environments import Environments
from gateway.daemon.teaching import Teaches, all_teach
from gateway.daemon.watching import look_for_ever
from gateway.errors import RuntimeFault, StorageError
from gateway.models.shipped import resolve_bundle
from gateway.screening import decide
from gateway.screening.runtime import BundleDetector
from gateway.storage.tables import StoredTrack, kept_as
from gateway.tasks import supervise
from gateway.values import Screening, TrackedFace

START_WINDOW_S = 60.0
MOST_STARTS = 3
"""So many starts in the window without one that ended well undo the bundle that was in use."""

_log = structlog.get_logger()


class Source(Protocol):
    """Where bundles come from; both calls block. `adaptation.exchange.Exchange` is one."""

    def newest(self, environment: str) -> Offer | None:
        """Return the newest bundle of an environment."""

    def fetch(self, offer: Offer) -> dict[str, bytes]:
        """Return its files, verified."""


@dataclass(frozen=True, slots=True)
class Updates:
    """What bundles need: the state folder, where new ones come from, if from anywhere, and how fast it goes."""

    folder: Path
    source: Source | None = None
    pace: Pace = PACE


@dataclass(frozen=True, slots=True)
class House:
    """Where bundles run, and who is told; `environments` are made after this, so it is asked for them."""

    environments: Callable[[], Environments]
    memory: Memory
    shown: Shown
    topics: Topics
    clock: Callable[[], float] = time.time
    teaches: Teaches = all_teach


class Models:
    """The updaters of all environments; a witness of what their cameras are judged by."""

    def __init__(self, updates: Updates, house: House, group: asyncio.TaskGroup) -> None:
        self._updates = updates
        self._house = house
        self._group = group
        self._configured: dict[str, str] = {}
        self._store = BundleStore(
            updates.folder / "bundles", factory=lambda name: resolve_bundle(self._configured[name])
        )
        self._updaters: dict[str, Updater] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def bundle_of(self, environment: str, configured: str) -> Bundle:
        """Return what an environment is to run, for a thread; one with which the gateway does not stay up is undone.

        Raises:
            BundleError: Even the one that the configuration names cannot be used.
            StorageError: The disk cannot be used.
        """
        is_start = environment not in self._configured
        self._configured[environment] = configured
        if is_start:
            self._store.change(environment, partial(_started, now_s=self._house.clock()))
        loaded = self._store.load(environment)
        for fault in loaded.faults:
            _log.error("model_damaged", environment=environment, reason=fault)
        return loaded.bundle

    def know(self, environments: Mapping[str, Bundle]) -> None:
        """Keep an updater for each environment that runs, and for no other."""
        for name in [name for name in self._updaters if name not in environments]:
            self._tasks.pop(name).cancel()
            del self._updaters[name]
            self._house.shown.clear(self._house.topics.model_state(name))
        for name, bundle in environments.items():
            if name not in self._updaters:
                self._begin(name, bundle)

    async def run(self) -> None:
        """Let every environment look at the disk when somebody wrote on it, for ever."""
        await look_for_ever(lambda: (self._store.slots_folder,), self._look)

    def _look(self) -> None:
        for updater in self._updaters.values():
            updater.look()

    async def stop(self) -> None:
        """End well: this start does not count against the bundle."""
        for task in self._tasks.values():
            task.cancel()
        for name in self._updaters:
            try:
                await asyncio.to_thread(self._store.change, name, Slots.healthy)
            except StorageError as error:  # what is left to do at the end matters more
                _log.error("model_not_kept", environment=name, reason=str(error))

    def ask(self, environment: str, order: ModelOrder) -> bool:
        """Take what the operator wants of an environment; return whether there is one that can be asked now."""
        updater = self._updaters.get(environment)
        return updater is not None and updater.ask(order)

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],  # noqa: ARG002  (a Protocol's)
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Show a batch to the bundle on trial."""
        if environment in self._updaters:
            self._updaters[environment].on_seen(Seen(pixels_NYXC, screenings))

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Show it the end of a track."""
        if environment in self._updaters:
            is_judged = verdict.statistic is not None
            end = Finished(camera, verdict.track_id, verdict.faces_seen, verdict.alert_id, is_judged)
            self._updaters[environment].on_finished(end)

    def _begin(self, name: str, bundle: Bundle) -> None:
        slots = self._store.slots(name)
        place = _Place(name, self._store, self._updates.source, self._house)
        phase: swap.Phase = "probation" if slots.probation and slots.active == bundle.identity.sha256 else "steady"
        state = swap.Swap(phase, slots.active if phase == "probation" else None, slots.pinned is not None)
        updater = Updater(name, place, pace=self._updates.pace, state=state, running=bundle)
        self._updaters[name] = updater
        part = f"updater:{name}"
        self._tasks[name] = self._group.create_task(supervise(part, updater.run), name=part)


class _Place:
    """One environment, as its updater sees it."""

    def __init__(self, name: str, store: BundleStore, source: Source | None, house: House) -> None:
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

    async def newest(self) -> str | None:
        if self._source is None:
            return None
        offer = await asyncio.to_thread(self._source.newest, self._name)
        slots = await asyncio.to_thread(self._store.slots, self._name)
        if offer is None or offer.sha256 in slots.denied or slots.pinned is not None:
            return None
        self._offer = offer
        return None if offer.sha256 == self._running().identity.sha256 else offer.sha256

    async def stage(self, sha256: str) -> Bundle:
        if self._offer is None or self._offer.sha256 != sha256:
            raise BundleError(f"bundle {sha256[:12]}… is not offered any more")
        bundle = await asyncio.to_thread(self._fetch, self._offer)
        self._staged = bundle, await self._house.environments().open_bundle(bundle)
        return bundle

    def _fetch(self, offer: Offer) -> Bundle:
        if self._source is None:
            raise BundleError(f"bundle {offer.sha256[:12]}… comes from nowhere")
        files = self._source.fetch(offer)
        admit(files, offer, self._store.slots(self._name))
        bundle = self._store.stage(self._name, files)
        if bundle.identity.sha256 != offer.sha256:
            raise BundleError(f"bundle {bundle.identity.sha256[:12]}… came where {offer.sha256[:12]}… was offered")
        return bundle

    async def score(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        return await self._on_trial()[1].screen(pixels_NYXC)

    async def compare(self, pixels_NYXC: NDArray[np.uint8]) -> Compared | None:
        trial, in_use = self._on_trial()[1], self._house.environments().detector(self._name)
        scores_N = await trial.screen(pixels_NYXC)
        try:
            in_use_N = await in_use.screen(pixels_NYXC)
        except RuntimeFault:
            return None
        return Compared(scores_N.tolist(), in_use_N.tolist(), trial.took_s, in_use.took_s)

    def in_use(self) -> Bundle:
        return self._running()

    def learn(self, camera: str, statistic: float, alert_id: str | None) -> None:
        if not self._house.teaches(camera):
            return
        kept = kept_as(self._name, self._on_trial()[0].identity.sha256)
        self._house.memory.add(StoredTrack(camera, kept, statistic, alert_id))

    async def activate(self) -> bool:
        bundle, detector = self._on_trial()
        slots = await asyncio.to_thread(self._store.slots, self._name)
        if not slots.wants(bundle.identity.sha256, bundle.manifest.version):
            return False
        self._staged, self._activated_version = None, bundle.manifest.version
        await self._house.environments().activate(self._name, bundle, detector, is_guarded=True)
        return True

    async def commit(self, sha256: str) -> None:
        version = self._activated_version
        await self._change(lambda slots: slots.activated(sha256, version))

    async def confirm(self) -> None:
        sha256 = self._running().identity.sha256
        await self._change(lambda slots: slots.confirmed() if slots.active == sha256 else slots)

    async def deny(self, sha256: str, reason: str) -> None:
        await self._change(lambda slots: slots.with_denied(sha256, reason))

    def discard(self) -> None:
        if self._staged is not None:
            self._staged[1].release()
            self._staged = None

    async def check_before(self) -> None:
        if await asyncio.to_thread(self._is_factory, self._running()):
            raise BundleError(NOTHING_BEFORE)

    async def restore(self) -> str | None:
        undone = self._running()
        is_factory = await asyncio.to_thread(self._is_factory, undone)
        if not is_factory:
            self._undone.add(undone.identity.sha256)
        loaded = await asyncio.to_thread(self._load_before)
        await self._let_judge(loaded.bundle, is_guarded=False)
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
        def step(slots: Slots) -> Slots:
            after = slots if undone is None else slots.with_denied(undone, reason)
            return after.staying() if is_pinned else after

        await self._change(step)
        self._undone.discard(undone or "")

    async def choose(self, version: int | None) -> None:
        await asyncio.to_thread(self._store.choose, self._name, version, check=_anything)

    async def named(self) -> swap.Named | None:
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
        slots = await asyncio.to_thread(self._store.slots, self._name)
        loaded = await asyncio.to_thread(self._store.load, self._name, slots)
        if loaded.bundle.identity.sha256 != sha256:
            raise BundleError(f"bundle {sha256[:12]}… is not what the disk names any more")
        await self._let_judge(loaded.bundle, is_guarded=slots.probation and loaded.slot == "active")
        return loaded.bundle

    def show(self, said: Said) -> None:
        if said.answer is not self._answered:
            self._answered, self._answered_at_s = said.answer, self._house.clock()
        state = messages.ModelState(
            environment=self._name,
            time=self._house.clock(),
            state=said.state.phase,
            model=self._running().identity,
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


def _started(slots: Slots, *, now_s: float) -> Slots:
    """Note a start; a bundle that was active at too many that did not end well is undone."""
    begun = slots.with_start(now_s)
    if slots.active is None or begun.starts_within(now_s, START_WINDOW_S) < MOST_STARTS:
        return begun
    _log.error("model_undone", reason="the gateway did not stay up with it", version=slots.active[:12])
    return begun.restored("the gateway did not stay up with it")
