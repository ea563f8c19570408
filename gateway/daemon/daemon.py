"""The daemon's parts, put together, and what a reload does to them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway.cameras.jobs import PeerSource
from gateway.cameras.keeper import Open
from gateway.cameras.lines import Lines
from gateway.config import Config
from gateway.config_file import read_config
from gateway.contract import messages
from gateway.contract.requests import ModelOrder
from gateway.contract.states import EnvironmentStats
from gateway.contract.topics import Topics
from gateway.daemon.adapting import Adapting
from gateway.daemon.bases import Bases
from gateway.daemon.board import Board, PassageReason
from gateway.daemon.calibration import Memory
from gateway.daemon.cameras import Camera, Cameras, Ears
from gateway.daemon.collecting import Collecting, Place
from gateway.daemon.environments import Environments, Shared, configured_bundle
from gateway.daemon.explaining import Explaining, ModelOf
from gateway.daemon.faces import FacesInView
from gateway.daemon.model_place import House
from gateway.daemon.models import Models, Updates
from gateway.daemon.naming import LiveNaming
from gateway.daemon.obligations import Obligations
from gateway.daemon.operating import OperatingPoints
from gateway.daemon.plan import Changes, Plan, changes, plan_of, reachable
from gateway.daemon.postman import Delivering, Postman
from gateway.daemon.sending import Road
from gateway.daemon.sight import Sight
from gateway.daemon.signalling import Signalling
from gateway.daemon.statistics import ClockSteps, camera_stats, outbox_stats, product_version
from gateway.daemon.teaching import witnesses
from gateway.delivery.outbox import Outbox
from gateway.errors import ConfigError, LateFault, StorageError
from gateway.lane import Outcome, Standing
from gateway.screening import decide
from gateway.screening.measured import Measured
from gateway.screening.runtime import DeviceReport, InferenceThread
from gateway.settings import BrokerSettings
from gateway.storage.tables import CalibrationTable, MarkerTable, SwitchTable

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fittings:
    """What the daemon stands on, opened before it and closed after it; `make_link` makes a link to a broker, or none.

    `positions` are those of the cameras' switches when they were read.
    """

    inference: InferenceThread
    open_source: Open
    outbox: Outbox
    topics: Topics
    make_link: Callable[["Daemon", BrokerSettings | None], Delivering]
    calibration: CalibrationTable
    switches: SwitchTable
    markers: MarkerTable
    positions: Mapping[str, bool]
    updates: Updates | None = None
    lines: Lines = field(default_factory=Lines)
    make_collecting: Callable[[Place], Collecting] | None = None
    make_explaining: Callable[[Callable[[], Environments], ModelOf], Explaining] | None = None


class Daemon:
    """Everything that runs for the cameras of one box; its tasks belong to `group`, the link to the broker to `links`.

    A fault of our own ends `group`; the link outlives it just long enough to be told that this is no clean exit.
    """

    def __init__(
        self,
        path: Path,
        fittings: Fittings,
        group: asyncio.TaskGroup,
        *,
        links: asyncio.TaskGroup | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config_file = path
        self._clock = clock
        self._fittings = fittings
        self._group = group
        self._plan = Plan({}, {}, None, {})
        self._planned = asyncio.Event()
        self._rates: dict[str, float] = {}
        self._began_s = time.monotonic()
        self._steps = ClockSteps(clock)
        outbox = fittings.outbox
        self.memory = Memory(fittings.calibration)
        self.postman = Postman(
            lambda settings: fittings.make_link(self, settings), links or group, next_seq=outbox.next_seq
        )
        self.obligations = Obligations(self.postman)
        self.operating = OperatingPoints(self, fittings.markers, model_of=self._model_of)
        self.sight = Sight(self)
        realised_of = self.operating.realised
        self.board = Board(
            self.postman, fittings.topics, reference_of=self._reference_of, realised_of=realised_of, clock=clock
        )
        self.adapting = Adapting(self.postman, fittings.topics, fittings.markers, model_of=self._model_of)
        make = fittings.make_collecting
        self.collecting = None if make is None else make(self._place())
        explains = fittings.make_explaining
        self.explaining = None if explains is None else explains(lambda: self.environments, self._model_of)
        self.models = None if fittings.updates is None else self._make_models(fittings.updates)
        self.environments = Environments(self._shared(fittings), group)
        self.faces = FacesInView(self._standing)
        screening_of = self.environments.screening
        ears = Ears(self.board.on_state, self.board.on_overload, screening_of, fittings.open_source, self.faces.see)
        self.cameras = Cameras(ears, group, switches=fittings.positions)
        self.previews = fittings.lines.watch
        self.signalling = Signalling(
            fittings.lines,
            token_of=self._publisher_token,
            allows_origin=lambda origin: origin in self._plan.origins,
            shows=self._shows,
        )

    def _shared(self, fittings: Fittings) -> Shared:
        teaches, learners = self.teaches, (self.operating, self.collecting)
        seers = (self.adapting, self.explaining, self.models, self.sight)
        return Shared(
            fittings.inference,
            LiveNaming(fittings.outbox.client_id, self.postman),
            self._deliver,
            self.memory,
            load=fittings.calibration.load,
            rates=self._rates,
            witnesses=witnesses(*seers, of_teachers=learners, teaches=teaches),
            bundle_of=configured_bundle if self.models is None else self.models.bundle_of,
            teaches=teaches,
        )

    def _make_models(self, updates: Updates) -> Models:
        shown, topics, has_drifted = self.postman, self._fittings.topics, self.adapting.has_drifted
        house = House(lambda: self.environments, self.memory, shown, topics, self._clock, self.teaches, has_drifted)
        return Models(updates, house, self._group)

    async def start(self, plan: Plan) -> None:
        """Begin everything that a plan asks for.

        Raises:
            ConfigError: A bundle cannot be used.
            StorageError: What earlier runs kept cannot be read.
        """
        await self.postman.begin(plan.mqtt, plan.cameras)
        await self.adapting.load()
        await self.operating.load()
        self._plan = Plan({}, {}, plan.mqtt, plan.fixed)
        await self._apply(plan)

    async def stop(self) -> None:
        """End the cameras and their tracks, wait until what they gave is kept, and leave the broker."""
        await self.cameras.end([camera.name for camera in self.cameras.all])
        if self.models is not None:
            await self.models.stop()
        await self.environments.end_all()
        await self.obligations.settle()
        await self.memory.flush()
        await self.adapting.flush()
        await self.operating.flush()
        for part in (self.collecting, self.explaining):
            if part is not None:
                await part.flush()
        await self.postman.end()

    async def reload(self) -> None:
        """Read the configuration again; where it is wrong, say so and change nothing."""
        try:
            config = await asyncio.to_thread(self._read_again)
            asked = plan_of(config)
            waiting = changes(self._plan, asked).after_restart
            done = await self._apply(reachable(self._plan, asked))
        except (ConfigError, LateFault, StorageError) as error:
            self.postman.tell(part="config", reason="refused")
            for line in str(error).splitlines():
                _log.error("config_refused", reason=line)
            return
        self.postman.tell(part="config", reason=None)
        _log.info(
            "config_loaded",
            cameras_ended=done.cameras_ended,
            cameras_begun=done.cameras_begun,
            environments_begun=done.environments_begun,
        )
        if waiting:
            _log.warning("config_needs_restart", keys=waiting)

    def _read_again(self) -> Config:
        config, document = read_config(self.config_file)
        if not document.value:
            # So it looks while an editor writes it, or after the disk was full; nobody means to end all cameras by it.
            raise ConfigError(f"{self.config_file}: the file is empty")
        return config

    async def _apply(self, plan: Plan) -> Changes:
        """Go from the plan that runs to another; whatever can fail comes before anything is touched."""
        what = changes(self._plan, plan)
        opened = await self.environments.open({name: plan.environments[name] for name in what.environments_begun})
        if self.models is not None:
            self.models.leave(plan.environments)
        self._rates.update({name: camera.asked_rate for name, camera in plan.cameras.items()})
        await self.cameras.end(what.cameras_ended)
        for name in what.cameras_gone:
            self.board.forget(name)
            self.faces.forget(name)
        for name in what.environments_begun:
            await self.environments.replace(name, plan.environments[name], opened[name])
        self._plan = plan
        self._planned.set()
        if what.mqtt:
            await self.postman.begin(plan.mqtt, plan.cameras)
        else:
            self.postman.know(plan.cameras)
        for name in what.cameras_begun:
            camera = self.cameras.begin(plan.cameras[name])
            self.board.show_enabled(name, is_on=camera.is_on)
        for name in [name for name in what.environments_ended if name not in plan.environments]:
            await self.environments.end(name)
        if self.models is not None:
            self.models.know(plan.environments)
        places = {name: camera.environment for name, camera in plan.cameras.items()}
        await self.adapting.know(places)
        await self.operating.know(places)
        self.sight.know(places, anew=what.watched_anew(places))
        return what

    def switch(self, name: str, is_on: bool) -> bool:  # noqa: FBT001  (called back)
        """Switch a camera by command; return whether there is one. The position outlives a restart."""
        if not self.cameras.switch(name, is_on=is_on):
            return False
        self.board.show_enabled(name, is_on=is_on)
        self._group.create_task(self._keep_position(name, is_on=is_on), name=f"switch:{name}")
        return True

    async def _keep_position(self, name: str, *, is_on: bool) -> None:
        try:
            await self._fittings.switches.set(name, enabled=is_on)
        except StorageError as error:
            _log.error("switch_not_kept", camera=name, is_on=is_on, reason=str(error))

    async def _deliver(self, outcome: Outcome) -> None:
        match outcome:
            case messages.Alert():
                self.obligations.take(outcome)
                self.board.on_alert(outcome)
            case messages.Verdict():
                self.postman.verdict(outcome)
            case _:
                self._see_device()

    def choose(self, environment: str, order: ModelOrder) -> bool:
        """Take what an operator wants of an environment's bundle; return whether there is such an environment."""
        return self.models is not None and self.models.ask(environment, order)

    def judge(self, alert_id: str, is_confirmed: bool) -> bool:  # noqa: FBT001  (called back)
        """Take an operator's word on an alert; return whether anything is known of it.

        A confirmed trigger leaves the calibration and the clean faces, so that it does not teach that triggers are
        normal; a false alert stays in the calibration, as every clean track does, and its face may teach.
        """
        if self.collecting is not None:
            self.collecting.judge(alert_id, is_confirmed=is_confirmed)
        if not is_confirmed:
            return True
        self.operating.confirm(alert_id)
        if self.board.is_open(alert_id):
            self.environments.confirm_alert(alert_id)
            return True
        self.memory.remove(alert_id)  # also what was learnt for weights that do not judge now, and may again
        return self.environments.forget_alert(alert_id)

    def _publisher_token(self, name: str) -> str | None:
        camera = self.cameras.get(name)
        source = None if camera is None else camera.plan.job.source
        return source.token if isinstance(source, PeerSource) and not source.calls else None

    def _shows(self, name: str) -> bool:
        camera = self.cameras.get(name)
        return camera is not None and camera.plan.job.viewing is not None

    def teaches(self, camera: str) -> bool:
        """Return whether a camera's passages join what is learnt: those of a recording in a loop do not."""
        return camera not in self._plan.cameras or self._plan.cameras[camera].teaches

    @property
    def plan(self) -> Plan:
        """What runs."""
        return self._plan

    @property
    def outbox(self) -> Outbox:
        """Where alerts are kept."""
        return self._fittings.outbox

    @property
    def topics(self) -> Topics:
        """Where what the box says goes."""
        return self._fittings.topics

    @property
    def device(self) -> DeviceReport:
        """Where screening runs."""
        return self._fittings.inference.report

    @property
    def measured(self) -> Measured:
        """What was measured of batches since the start."""
        return self._fittings.inference.measured

    async def keep_on_gpu(self) -> None:
        """Go back to a GPU that failed, whenever it can be had again."""
        await self._fittings.inference.keep_on_gpu()

    def on_disk(self, reason: str | None) -> None:
        """Take what is wrong with the state folder; None where nothing is any more."""
        self.on_trouble("outbox", reason)

    def on_passages(self, camera: str, reason: PassageReason, *, is_on: bool) -> None:
        """Say what a camera's passages show of how it is watched, in its status and among the alerts."""
        self.postman.tell(part=reason, reason=reason if self.board.on_passages(camera, reason, is_on=is_on) else None)

    def on_trouble(self, part: str, reason: str | None) -> None:
        """Say what is wrong with a part that all cameras share, in their status and among the alerts."""
        self.board.on_trouble(part, reason)
        self.postman.tell(part=part, reason=reason)

    def _see_device(self) -> None:
        self.on_trouble("gpu", "cpu_fallback" if self.device.degraded else None)

    def _reference_of(self, camera: str) -> decide.Reference | None:
        plan = self._plan.cameras.get(camera)
        return None if plan is None else self.environments.reference_of(camera, plan.environment)

    def _standing(self, camera: str, track_id: int) -> Standing:
        plan = self._plan.cameras.get(camera)
        return "judging" if plan is None else self.environments.standing(plan.environment, camera, track_id)

    def _place(self) -> Place:
        road = Road(
            environment_of=lambda: {name: camera.environment for name, camera in self._plan.cameras.items()},
            has_drifted=self.adapting.has_drifted,
            show=lambda state: self.postman.show(self.topics.trainer_state, messages.to_bytes(state)),
            markers=self._fittings.markers,
        )
        bases = Bases(lambda: self.environments, lambda one: None if self.models is None else self.models.base_of(one))
        return Place(road, bases.score)

    def _model_of(self, environment: str) -> messages.ModelIdentity | None:
        bundle = self.environments.bundles.get(environment)
        return None if bundle is None else bundle.identity

    async def tell_statistics(self) -> None:
        """Tick every `mqtt.stats_interval`, and after each reload, for ever."""
        while True:
            self._planned.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout((self._plan.mqtt or BrokerSettings()).stats_interval):
                    await self._planned.wait()
            self.tick()

    def tick(self) -> None:
        """Say the statistics, and every camera's word again with today's promise."""
        self._see_device()
        self._steps.look()
        self.board.refresh()
        self.postman.say(self.topics.stats, messages.to_bytes(self.stats()))

    def stats(self) -> messages.Stats:
        """Return what was counted since the start."""
        link = self.postman.link
        return messages.Stats(
            time=self._clock(),
            uptime_s=time.monotonic() - self._began_s,
            product_version=product_version(),
            device=self.device.got,
            environments=tuple(
                EnvironmentStats(environment=name, model=bundle.identity)
                for name, bundle in self.environments.bundles.items()
            ),
            outbox=outbox_stats(self._fittings.outbox.status()),
            broker=link.broker_stats(),
            cameras=tuple(self.camera_stats(camera) for camera in self.cameras.all),
        )

    def camera_stats(self, camera: Camera) -> messages.CameraStats:
        """Return what was counted for one camera."""
        return camera_stats(camera, alerts_held=self.postman.link.held_of(camera.name))
