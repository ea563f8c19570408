"""Each environment's way from bundle to bundle, between the channel, the store on the disk and the detectors."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.adaptation import swap
from gateway.adaptation.place import PACE, Finished, Pace, Seen
from gateway.adaptation.slots import Slots
from gateway.adaptation.store import BundleStore
from gateway.adaptation.updater import Updater
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.requests import ModelOrder
from gateway.daemon.model_place import House, ModelPlace, SharedSource, Source
from gateway.daemon.plan import EnvironmentPlan
from gateway.daemon.watching import look_for_ever
from gateway.errors import StorageError
from gateway.models.shipped import resolve_bundle
from gateway.screening import decide
from gateway.tasks import supervise
from gateway.values import Screening, TrackedFace

START_WINDOW_S = 60.0
MOST_STARTS = 3
"""So many starts in the window without one that ended well undo the bundle that was in use."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Updates:
    """What bundles need: the state folder, where new ones come from, if from anywhere, and how fast it goes."""

    folder: Path
    source: Source | None = None
    pace: Pace = PACE


class Models:
    """The updaters of all environments; a witness of what their cameras are judged by."""

    def __init__(self, updates: Updates, house: House, group: asyncio.TaskGroup) -> None:
        self._updates = updates
        self._house = house
        self._group = group
        self._configured: dict[str, str] = {}
        self._store = self._store_of(lambda name: self._configured[name])
        self._source = None if updates.source is None else SharedSource(updates.source)
        self._begun: set[str] = set()
        self._updaters: dict[str, Updater] = {}
        self._places: dict[str, ModelPlace] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _store_of(self, configured: Callable[[str], str]) -> BundleStore:
        return BundleStore(self._updates.folder / "bundles", factory=lambda name: resolve_bundle(configured(name)))

    def bundle_of(self, environment: str, configured: str) -> Bundle:
        """Return what an environment is to run, for a thread; one with which the gateway does not stay up is undone.

        Raises:
            BundleError: Even the one that the configuration names cannot be used.
        """
        if environment not in self._begun:
            self._begun.add(environment)
            try:
                self._store.change(environment, partial(_started, now_s=self._house.clock()))
            except StorageError as error:  # a disk that takes nothing is no reason not to screen
                _log.error("model_not_kept", environment=environment, reason=str(error))
        # What is asked for may still be refused: until `know`, what is configured stays.
        loaded = self._store_of(lambda _name: configured).load(environment)
        for fault in loaded.faults:
            _log.error("model_damaged", environment=environment, reason=fault)
        return loaded.bundle

    def base_of(self, adapted: Bundle) -> Bundle | None:
        """Return what a bundle was adapted from, for a thread; None where it is not here."""
        parent, environment = adapted.manifest.parent_sha256, adapted.manifest.environment
        if environment in self._configured and (factory := self._store.factory(environment)).identity.sha256 == parent:
            return factory
        try:
            return None if parent is None else self._store.open(parent)
        except BundleError:
            return None

    def leave(self, environments: Mapping[str, EnvironmentPlan]) -> None:
        """End the updaters of environments that will not run by their configured bundle any more; before they change.

        A bundle on trial beside another than the configured one would be judged by faces that are not for it.
        """
        asked = {name: plan.bundle for name, plan in environments.items()}
        for name in [name for name in self._updaters if asked.get(name) != self._configured[name]]:
            self._tasks.pop(name).cancel()
            del self._updaters[name]
            self._places.pop(name).discard()
            if name not in environments:
                self._house.shown.clear(self._house.topics.model_state(name))

    def know(self, environments: Mapping[str, EnvironmentPlan]) -> None:
        """Keep an updater for each of these environments, which all run; after `leave`."""
        self._configured = {name: plan.bundle for name, plan in environments.items()}
        for name in environments:
            if name not in self._updaters:
                self._begin(name, self._house.environments().bundles[name])

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
        """Take what the operator wants of an environment; return whether there is one that takes bundles.

        Raises:
            RequestsWait: Too much is wanted of it already.
        """
        updater = self._updaters.get(environment)
        if updater is None:
            return False
        updater.ask(order)
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
            end = Finished(camera, verdict.track_id, verdict.faces_seen, verdict.alert_id, verdict.statistic)
            self._updaters[environment].on_finished(end)

    def _begin(self, name: str, bundle: Bundle) -> None:
        slots = self._store.slots(name)
        place = self._places[name] = ModelPlace(name, self._store, self._source, self._house)
        phase: swap.Phase = "probation" if slots.probation and slots.active == bundle.identity.sha256 else "steady"
        state = swap.Swap(phase, slots.active if phase == "probation" else None, slots.pinned is not None)
        updater = Updater(name, place, pace=self._updates.pace, state=state, running=bundle)
        self._updaters[name] = updater
        part = f"updater:{name}"
        self._tasks[name] = self._group.create_task(supervise(part, updater.run), name=part)


def _started(slots: Slots, *, now_s: float) -> Slots:
    """Note a start; a bundle that was active at too many that did not end well is undone."""
    begun = slots.with_start(now_s)
    if slots.active is None or begun.starts_within(now_s, START_WINDOW_S) < MOST_STARTS:
        return begun
    _log.error("model_undone", reason="the gateway did not stay up with it", version=slots.active[:12])
    return begun.restored("the gateway did not stay up with it")
