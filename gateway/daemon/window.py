"""The daemon as its HTTP side sees it: what goes out is overheard, what is asked is looked up, nothing waits."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, NoReturn

import structlog
from pydantic import JsonValue, TypeAdapter

from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.contract.evaluation import Evaluation
from gateway.contract.requests import ModelOrder
from gateway.contract.topics import OFF, ON, Asked
from gateway.daemon.cameras import Camera
from gateway.daemon.daemon import Daemon
from gateway.daemon.statistics import outbox_stats
from gateway.delivery.commands import Obeyed
from gateway.delivery.outbox import Outbox
from gateway.errors import StorageError
from gateway.models.shipped import evaluation_of, is_shipped
from gateway.screening.explain import EDGES
from gateway.screening.measured import Histogram
from gateway.service.hub import Hub, Subscription
from gateway.service.window import (
    CameraView,
    Distribution,
    EnvironmentView,
    ExplanationView,
    Measures,
    ModelView,
    Readiness,
)

MOST_ALERTS = 500
FPS_EVERY_S = 2.0
"""Frames are counted over at least so long: workers tell their counts about once a second."""

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)

_log = structlog.get_logger()


class DaemonWindow:
    """Implements `service.window.Window` over a daemon, and remembers its latest alerts."""

    def __init__(self, daemon: Daemon, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._daemon = daemon
        self._monotonic = monotonic
        self._alerts: OrderedDict[str, messages.Alert] = OrderedDict()
        self._frames: dict[str, int] = {}
        self._fps: dict[str, float] = {}
        self._looked_at_s = monotonic()
        self._evaluations: dict[str, Evaluation | None] = {}  # of shipped bundles alone
        self.hub = Hub()
        daemon.postman.overhear(self)

    async def load(self, outbox: Outbox) -> None:
        """Learn the latest alerts of earlier runs; without a disk that can be read, none."""
        last_seq = outbox.status().last_seq
        try:
            rows = await outbox.between(max(0, last_seq - MOST_ALERTS), last_seq, MOST_ALERTS)
        except StorageError as error:
            _log.error("alerts_unreadable", reason=str(error))
            return
        unknown = 0
        for row in rows:
            try:
                message = messages.parse(row.payload)
            except messages.MessageError:  # of another version of the gateway
                unknown += 1
                continue
            if isinstance(message, messages.Alert):
                self._remember(message)
        if unknown:
            _log.warning("alerts_unreadable", reason=f"{unknown} are of another version, and not shown")

    async def run(self) -> NoReturn:
        """Measure how many frames a second each camera's worker looks at, for ever."""
        while True:
            await asyncio.sleep(FPS_EVERY_S)
            self.measure_fps()

    def measure_fps(self) -> None:
        """Compare the frames of every camera with those of the last time."""
        now_s = self._monotonic()
        span_s = now_s - self._looked_at_s
        if span_s <= 0.0:
            return
        self._looked_at_s = now_s
        counts = {camera.name: camera.frames.looked_at for camera in self._daemon.cameras.all}
        self._fps = {name: max(0, count - self._frames.get(name, count)) / span_s for name, count in counts.items()}
        self._frames = counts

    def on_alert(self, alert: messages.Alert) -> None:
        """Remember an alert and tell it."""
        self._remember(alert)
        self.hub.publish("alert", alert.model_dump_json())

    def on_word(self, topic: str, payload: bytes | None) -> None:
        """Tell that a camera's, an environment's or the box's word has changed."""
        path = topic.removeprefix(f"{self._daemon.topics.prefix}/").split("/")
        match path:
            case ["stats"] if payload is not None:
                self.hub.publish("stats", payload.decode())
            case ["environments", environment, *_]:
                self.hub.publish("environment", _JSON.dump_json({"environment": environment}).decode())
            case [camera, "status" | "alert" | "enabled", *_]:
                self.hub.publish("camera", _JSON.dump_json({"camera": camera}).decode())

    def readiness(self) -> Readiness:
        """Return whether the box screens: cameras are seen, and alerts can be kept."""
        reasons = []
        if not self._daemon.plan.environments:
            reasons.append("starting")
        elif not self._daemon.plan.cameras:
            reasons.append("no_cameras")
        wanted = [camera.name for camera in self._daemon.cameras.all if camera.is_on]
        words = [self._daemon.board.state_of(name) for name in wanted]
        if wanted and not any(word is not None and word[0] in {"online", "degraded"} for word in words):
            reasons.append("no_camera_online")
        disk = outbox_stats(self._daemon.outbox.status()).degraded
        if disk is not None:
            reasons.append(disk)
        return Readiness(ready=not reasons, reasons=tuple(reasons))

    def stats(self) -> messages.Stats:
        """Return what was counted since the start."""
        return self._daemon.stats()

    def measures(self) -> Measures:
        """Return how screening goes."""
        measured = self._daemon.measured
        devices = {device: _distribution(each) for device, each in measured.took_s.items()}
        return Measures(_distribution(measured.faces), devices)

    def cameras(self) -> tuple[CameraView, ...]:
        """Return every camera, in the order of the configuration."""
        return tuple(self._view(camera) for camera in self._daemon.cameras.all)

    def camera(self, name: str) -> CameraView | None:
        """Return one camera, or None where there is none of this name."""
        camera = self._daemon.cameras.get(name)
        return None if camera is None else self._view(camera)

    def _view(self, camera: Camera) -> CameraView:
        name, environment = camera.name, camera.plan.environment
        status = self._daemon.board.status_of(name)
        return CameraView(
            camera=name,
            environment=environment,
            enabled=camera.is_on,
            state="offline" if status is None else status.state,
            reason="starting" if status is None else status.reason,
            since=0.0 if status is None else status.since,
            fps=self._fps.get(name, 0.0),
            alarm=self._daemon.board.is_alarmed(name),
            tracks_known=self._daemon.environments.tracks_known(environment, name),
            teaches=self._daemon.teaches(name),
            calibration=None if status is None else status.calibration,
            promise=None if status is None else status.promise,
            realised=None if status is None else status.realised,
            stats=self._daemon.camera_stats(camera),
        )

    def alerts(self) -> tuple[messages.Alert, ...]:
        """Return the newest message of each of the latest alerts, newest first."""
        return tuple(reversed(self._alerts.values()))

    def environments(self) -> tuple[EnvironmentView, ...]:
        """Return every environment."""
        daemon = self._daemon
        prefix = daemon.topics.prefix
        return tuple(
            EnvironmentView(
                environment=name,
                bundle=daemon.plan.environments[name].bundle,
                cameras=tuple(camera for camera, plan in daemon.plan.cameras.items() if plan.environment == name),
                model=bundle.identity,
                tracks_known=daemon.environments.tracks_known(name),
                batches=daemon.environments.batches[name],
                drift=self._word(f"{prefix}/environments/{name}/drift/state"),
                model_state=self._word(f"{prefix}/environments/{name}/model/state"),
            )
            for name, bundle in daemon.environments.bundles.items()
            if name in daemon.plan.environments
        )

    def models(self) -> tuple[ModelView, ...]:
        """Return every model in use."""
        users: dict[str, list[str]] = {}
        bundles = self._daemon.environments.bundles
        for name, bundle in bundles.items():
            users.setdefault(bundle.identity.sha256, []).append(name)
        return tuple(_model_view(bundles[names[0]], tuple(names)) for names in users.values())

    def evaluation(self, sha256: str) -> Evaluation | None:
        """Return what a bundle was judged on; None where nothing is known of that."""
        if sha256 not in self._evaluations:
            if not is_shipped(sha256):
                return None
            self._evaluations[sha256] = evaluation_of(sha256)
        return self._evaluations[sha256]

    def trainer(self) -> JsonValue:
        """Return the trainer's state as MQTT tells it; None where there is none."""
        return self._word(self._daemon.topics.trainer_state)

    def judge(self, alert_id: str, judgement: Literal["false_positive", "confirmed"], note: str | None = None) -> bool:
        """Take an operator's word on an alert; return whether there is such an alert."""
        is_known = alert_id in self._alerts
        is_taken = self._daemon.judge(alert_id, judgement == "confirmed")
        if is_known or (is_taken and judgement == "confirmed"):
            self._tell_obeyed(Obeyed(Asked("feedback", alert_id), judgement, note))
            return True
        return False

    def choose(self, environment: str, order: ModelOrder) -> bool:
        """Take what an operator wants of an environment's bundle; return whether there is one that can be asked.

        Raises:
            RequestsWait: Too much is wanted of it already.
        """
        is_taken = self._daemon.choose(environment, order)
        if is_taken:
            self._tell_obeyed(Obeyed(Asked("model", environment), str(order)))
        return is_taken

    def explanation(self, alert_id: str) -> ExplanationView | None:
        """Return what spoke for an alert, or let it be found; None where no explanations are kept."""
        if self._daemon.explaining is None:
            return None
        told = self._daemon.explaining.ask(alert_id)
        if told.explanation is None:
            return ExplanationView(alert_id=alert_id, state=told.state)
        found = told.explanation
        return ExplanationView(
            alert_id=alert_id, state=told.state, score=found.score, places=found.places, bands=found.bands, edges=EDGES
        )

    def switch(self, camera: str, *, is_on: bool) -> bool:
        """Switch a camera, for good; return whether there is one of this name."""
        is_known = self._daemon.switch(camera, is_on)
        if is_known:
            self._tell_obeyed(Obeyed(Asked("enabled", camera), ON if is_on else OFF))
        return is_known

    def _tell_obeyed(self, done: Obeyed) -> None:
        """Tell it among the alerts, as of commands over MQTT: no stolen session disables a camera in silence."""
        _log.warning("command_obeyed", command=done.asked.what, name=done.asked.name, value=done.value)
        self._daemon.postman.tell_command(done)

    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """Return a line of events from now on."""
        return self.hub.subscribe()

    def _remember(self, alert: messages.Alert) -> None:
        self._alerts[alert.data.alert_id] = alert
        self._alerts.move_to_end(alert.data.alert_id)
        if len(self._alerts) > MOST_ALERTS:
            self._alerts.popitem(last=False)

    def _word(self, topic: str) -> JsonValue:
        payload = self._daemon.postman.word(topic)
        return None if payload is None else _JSON.validate_json(payload)


def _model_view(bundle: Bundle, environments: tuple[str, ...]) -> ModelView:
    manifest, calibration = bundle.manifest, bundle.calibration
    return ModelView(
        model=bundle.identity,
        environments=environments,
        created=manifest.created,
        made_for=manifest.environment,
        parent_sha256=manifest.parent_sha256,
        gate_sha256=manifest.gate_sha256,
        training=manifest.training,
        clean_tracks=len(calibration.clean_tracks),
        calibrated_on=calibration.source,
    )


def _distribution(histogram: Histogram) -> Distribution:
    return Distribution(histogram.bounds, histogram.cumulated(), histogram.count, histogram.sum)
