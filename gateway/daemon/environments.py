"""The environments: each has its detector, its cameras' calibration, and one task that screens what they send."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.contract.bundle import Bundle, BundleError
from gateway.daemon.calibration import LiveCalibration, Memory
from gateway.daemon.plan import EnvironmentPlan
from gateway.daemon.teaching import Teaches, all_teach
from gateway.errors import ConfigError, RuntimeFault, ScoreFault, StorageError
from gateway.lane import Deliver, Detector, Parts, SourceSummary, Standing, Witness
from gateway.models.shipped import resolve_bundle
from gateway.pipeline import LiveScreening
from gateway.screening import decide
from gateway.screening.runtime import BundleDetector, InferenceThread
from gateway.storage.tables import StoredTrack
from gateway.tasks import supervise
from gateway.wording import Naming

DRAIN_S = 5.0

_log = structlog.get_logger()


BundleOf = Callable[[str, str], Bundle]
"""Returns what an environment, whose configuration names this bundle, is to run. It reads files: called in a thread."""


def configured_bundle(_environment: str, bundle: str) -> Bundle:
    """Return the bundle that the configuration names: what runs where no updates are taken.

    Raises:
        BundleError: There is no such bundle, or it is not what it says it is.
    """
    return resolve_bundle(bundle)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all environments use; `load` returns the tracks that earlier runs kept, `rates` is what cameras ask for."""

    inference: InferenceThread
    naming: Naming
    deliver: Deliver
    memory: Memory
    load: Callable[[], Awaitable[Sequence[StoredTrack]]]
    rates: Mapping[str, float]
    witnesses: tuple[Witness, ...] = ()
    bundle_of: BundleOf = configured_bundle
    teaches: Teaches = all_teach


@dataclass(frozen=True, slots=True)
class Opened:
    """A bundle with its detector and what earlier runs learnt, not in use yet; `is_guarded` is one on probation."""

    bundle: Bundle
    detector: BundleDetector
    learnt: Sequence[StoredTrack]
    is_guarded: bool = False


class Guarded:
    """A detector on probation: a batch that it scores with what is no number has no scores, and screening goes on."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores, NaN for each face (N,) of a batch that it cannot score."""
        try:
            return await self._detector.screen(pixels_NYXC)
        except ScoreFault as error:
            _log.error("batch_unscored", count=len(pixels_NYXC), reason=str(error))
            return np.full(len(pixels_NYXC), np.nan, np.float32)


@dataclass(frozen=True, slots=True)
class _Running:
    bundle: Bundle
    detector: BundleDetector
    calibration: LiveCalibration
    screening: LiveScreening
    task: asyncio.Task[None]
    plan: EnvironmentPlan


class Environments:
    """All environments that run; their tasks belong to `group`."""

    def __init__(self, shared: Shared, group: asyncio.TaskGroup) -> None:
        self._shared = shared
        self._group = group
        self._running: dict[str, _Running] = {}
        self.summaries: dict[str, SourceSummary] = {}

    async def open(self, plans: Mapping[str, EnvironmentPlan]) -> dict[str, Opened]:
        """Open every bundle that these environments need; where one cannot be used, none stays open.

        Raises:
            ConfigError: A bundle cannot be used.
            LateFault: One was not open in time.
            RuntimeFault: onnxruntime fails.
        """
        opened: dict[str, Opened] = {}
        learnt = await self._shared.load() if plans else ()
        for name, plan in plans.items():
            try:
                bundle = await asyncio.to_thread(self._shared.bundle_of, name, plan.bundle)
                opened[name] = Opened(bundle, await self._shared.inference.open(bundle), learnt)
            except (BundleError, RuntimeFault) as error:
                for each in opened.values():
                    each.detector.release()
                if isinstance(error, RuntimeFault):
                    raise
                raise ConfigError(f"environments.{name}.bundle: {plan.bundle}: {error}") from None
        return opened

    def begin(self, name: str, plan: EnvironmentPlan, opened: Opened) -> None:
        """Let an environment screen from now on; one that runs under this name is to be ended by `end` after."""
        shared = self._shared
        calibration = self._calibration(name, opened)
        detector = Guarded(opened.detector) if opened.is_guarded else opened.detector
        parts = Parts(
            opened.bundle,
            detector,
            calibration,
            shared.naming,
            batch_size=plan.batch_size,
            witnesses=shared.witnesses,
        )
        screening = LiveScreening(
            parts,
            environment=name,
            deliver=shared.deliver,
            max_wait_s=plan.max_wait_s,
            summaries=self.summaries,
        )
        task = self._group.create_task(supervise(f"screen:{name}", screening.run), name=f"screen:{name}")
        self._running[name] = _Running(opened.bundle, opened.detector, calibration, screening, task, plan)
        version = opened.bundle.identity.version
        _log.info(
            "environment_begun", environment=name, bundle=plan.bundle, version=version, tracks_known=calibration.tracks
        )

    def _calibration(self, name: str, opened: Opened) -> LiveCalibration:
        """Return what tracks are judged by.

        Under the same weights it goes on: tracks that end while the detector changes are not on the disk yet.
        """
        running = self._running.get(name)
        if running is not None and running.bundle.identity.sha256 == opened.bundle.identity.sha256:
            return running.calibration
        calibration = LiveCalibration(
            opened.bundle, name, self._shared.rates, self._shared.memory, teaches=self._shared.teaches
        )
        calibration.take_up(opened.learnt)
        return calibration

    async def replace(self, name: str, plan: EnvironmentPlan, opened: Opened) -> None:
        """Give an environment another detector; its cameras do not notice."""
        before = self._running.get(name)
        self.begin(name, plan, opened)
        if before is not None:
            await _end(before)

    async def activate(self, name: str, bundle: Bundle, detector: BundleDetector, *, is_guarded: bool) -> None:
        """Let an environment judge by another bundle from now on; what its cameras gave before, the old one judges.

        Tracks under way end and begin anew, so that no track mixes the scores of two bundles. Nothing waits for this.
        """
        await self._shared.memory.flush()  # what the shadow run learnt for these weights
        try:
            learnt = await self._shared.load()
        except StorageError as error:  # it learns anew
            _log.error("calibration_not_taken_up", environment=name, reason=str(error))
            learnt = ()
        running = self._running.get(name)
        if running is None:  # the environment ended meanwhile
            detector.release()
            return
        await self.replace(name, running.plan, Opened(bundle, detector, learnt, is_guarded))

    async def open_bundle(self, bundle: Bundle) -> BundleDetector:
        """Open and self-test another bundle beside those in use.

        Raises:
            BundleError: It fails its self-test.
            LateFault: It was not open in time.
            RuntimeFault: onnxruntime refuses it.
        """
        return await self._shared.inference.open(bundle)

    async def score(self, environment: str, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the detector of an environment says of faces, beside its cameras.

        Raises:
            RuntimeFault: There is no such environment, or its detector fails.
        """
        running = self._running.get(environment)
        if running is None:
            raise RuntimeFault(f"environment {environment} has ended")
        return await running.detector.screen(pixels_NYXC)

    @property
    def is_busy(self) -> bool:
        """Whether faces of any camera wait for a detector or are with one."""
        return any(each.screening.is_busy or each.screening.waiting for each in self._running.values())

    async def end(self, name: str) -> None:
        """End an environment: what waits is still screened."""
        await _end(self._running.pop(name))

    async def end_all(self) -> None:
        """End all of them."""
        async with asyncio.TaskGroup() as group:
            for name in tuple(self._running):
                group.create_task(self.end(name), name=f"end:{name}")

    def detector(self, environment: str) -> BundleDetector:
        """Return what judges an environment's cameras now."""
        return self._running[environment].detector

    def screening(self, environment: str) -> LiveScreening:
        """Return what screens an environment's cameras now."""
        return self._running[environment].screening

    def standing(self, environment: str, camera: str, track_id: int) -> Standing:
        """Return how a camera's track stands; `judging` also where none of this id is under way."""
        running = self._running.get(environment)
        return "judging" if running is None else running.screening.standing(camera, track_id)

    def reference_of(self, camera: str, environment: str) -> decide.Reference | None:
        """Return what a camera's next track would be judged against."""
        running = self._running.get(environment)
        return None if running is None else running.calibration.reference(camera, environment)

    def tracks_known(self, environment: str, camera: str | None = None) -> int:
        """Return how many tracks the calibration of an environment knows, or of one of its cameras."""
        running = self._running.get(environment)
        if running is None:
            return 0
        return running.calibration.tracks if camera is None else running.calibration.tracks_of(camera)

    def forget_alert(self, alert_id: str) -> bool:
        """Take the track of an alert out of the calibration; return whether it was in it."""
        return sum(running.calibration.forget(alert_id) for running in self._running.values()) > 0

    def confirm_alert(self, alert_id: str) -> None:
        """Keep the track of an alert, which is still under way, out of the calibration."""
        for running in self._running.values():
            running.calibration.confirm(alert_id)

    @property
    def bundles(self) -> Mapping[str, Bundle]:
        """The bundle of each environment."""
        return {name: running.bundle for name, running in self._running.items()}

    @property
    def work(self) -> Mapping[str, tuple[int, bool]]:
        """How many batches each environment has screened, and whether it has any to screen."""
        return {name: (each.screening.batches, each.screening.is_busy) for name, each in self._running.items()}

    @property
    def batches(self) -> Mapping[str, int]:
        """How many batches each environment has screened, for whoever watches that work moves."""
        return {name: running.screening.batches for name, running in self._running.items()}


async def _end(running: _Running) -> None:
    await running.screening.close()
    done, _ = await asyncio.wait({running.task}, timeout=DRAIN_S)
    if not done:
        running.task.cancel()
    running.detector.release()
