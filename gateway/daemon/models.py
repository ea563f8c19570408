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
from gateway.adaptation.slots import Slots
from gateway.adaptation.store import BundleStore, Loaded
from gateway.adaptation.updater import Finished, Pace, Seen, Updater
from gateway.contract import messages
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.topics import Topics
from gateway.daemon.board import Shown
from gateway.daemon.calibration import Memory, kept_as
from gateway.daemon.environments import Environments
from gateway.errors import StorageError
from gateway.models.shipped import resolve_bundle
from gateway.screening import decide
from gateway.screening.runtime import BundleDetector
from gateway.storage.tables import StoredTrack
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
    """What new bundles need: the state folder, where they come from, and how fast it goes."""

    folder: Path
    source: Source
    pace: Pace


@dataclass(frozen=True, slots=True)
class House:
    """Where bundles run, and who is told; `environments` are made after this, so it is asked for them."""

    environments: Callable[[], Environments]
    memory: Memory
    shown: Shown
    topics: Topics
    clock: Callable[[], float] = time.time


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

    async def stop(self) -> None:
        """End well: this start does not count against the bundle."""
        for task in self._tasks.values():
            task.cancel()
        for name in self._updaters:
            try:
                await asyncio.to_thread(self._store.change, name, Slots.healthy)
            except StorageError as error:  # what is left to do at the end matters more
                _log.error("model_not_kept", environment=name, reason=str(error))

    def ask(self, environment: str, event: swap.RollBack | swap.Pin) -> bool:
        """Take what the operator wants of an environment; return whether there is one."""
        updater = self._updaters.get(environment)
        if updater is None:
            return False
        updater.ask(event)
        return True

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
            end = Finished(camera, verdict.track_id, verdict.faces_seen, verdict.alert_id)
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

    def __init__(self, name: str, store: BundleStore, source: Source, house: House) -> None:
        self._name = name
        self._store = store
        self._source = source
        self._house = house
        self._offer: Offer | None = None
        self._staged: tuple[Bundle, BundleDetector] | None = None
        self._activated_version = 0

    async def newest(self) -> str | None:
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
        files = self._source.fetch(offer)
        admit(files, offer, self._store.slots(self._name))
        bundle = self._store.stage(self._name, files)
        if bundle.identity.sha256 != offer.sha256:
            raise BundleError(f"bundle {bundle.identity.sha256[:12]}… came where {offer.sha256[:12]}… was offered")
        return bundle

    async def score(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        return await self._on_trial()[1].screen(pixels_NYXC)

    def learn(self, camera: str, statistic: float, alert_id: str | None) -> None:
        kept = kept_as(self._name, self._on_trial()[0].identity.sha256)
        self._house.memory.add(StoredTrack(camera, kept, statistic, alert_id))

    async def activate(self) -> None:
        bundle, detector = self._on_trial()
        self._staged, self._activated_version = None, bundle.manifest.version
        await self._house.environments().activate(self._name, bundle, detector, is_guarded=True)

    async def commit(self, sha256: str) -> None:
        version = self._activated_version
        await self._change(lambda slots: slots.activated(sha256, version))

    async def confirm(self) -> None:
        await self._change(Slots.confirmed)

    async def deny(self, sha256: str, reason: str) -> None:
        await self._change(lambda slots: slots.with_denied(sha256, reason))

    def discard(self) -> None:
        if self._staged is not None:
            self._staged[1].release()
            self._staged = None

    async def restore(self) -> None:
        loaded = await asyncio.to_thread(self._load_before)
        if loaded.bundle.identity.sha256 != self._running().identity.sha256:
            detector = await self._house.environments().open_bundle(loaded.bundle)
            await self._house.environments().activate(self._name, loaded.bundle, detector, is_guarded=False)

    def _load_before(self) -> Loaded:
        slots = self._store.slots(self._name)
        # Otherwise the disk never learnt that the one in use was activated.
        is_committed = slots.active == self._running().identity.sha256
        return self._store.load(self._name, slots.restored("") if is_committed else slots)

    async def keep_restored(self, reason: str, *, is_pinned: bool) -> None:
        await self._change(lambda slots: slots.rolled_back(reason) if is_pinned else slots.restored(reason))

    async def keep_pin(self, *, is_on: bool) -> None:
        await self._change(lambda slots: slots.with_pin((slots.active or "factory") if is_on else None))

    def show(self, state: swap.Swap, update: str | None, reason: str | None) -> None:
        said = messages.ModelState(
            environment=self._name,
            time=self._house.clock(),
            state=state.phase,
            model=self._running().identity,
            candidate=state.candidate,
            pinned=state.is_pinned,
            update=update,
            reason=None if reason is None else reason[:500],
        )
        self._house.shown.show(self._house.topics.model_state(self._name), messages.to_bytes(said))

    def _running(self) -> Bundle:
        return self._house.environments().bundles[self._name]

    def _on_trial(self) -> tuple[Bundle, BundleDetector]:
        if self._staged is None:
            raise BundleError(f"environment {self._name}: no bundle is on trial")
        return self._staged

    async def _change(self, step: Callable[[Slots], Slots]) -> None:
        await asyncio.to_thread(self._store.change, self._name, step)


def _started(slots: Slots, *, now_s: float) -> Slots:
    """Note a start; a bundle that was active at too many that did not end well is undone."""
    begun = slots.with_start(now_s)
    if slots.active is None or begun.starts_within(now_s, START_WINDOW_S) < MOST_STARTS:
        return begun
    _log.error("model_undone", reason="the gateway did not stay up with it", version=slots.active[:12])
    return begun.restored("the gateway did not stay up with it")
