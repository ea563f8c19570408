"""What monitoring reads: `/metrics` in Prometheus' words, made from the daemon's own counts when it is asked."""

from collections.abc import Iterable, Iterator

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from pydantic import JsonValue
from starlette.responses import Response

from gateway.contract import messages
from gateway.contract.doorway import Doorway
from gateway.service.api import BOX_TOKEN, REFUSED
from gateway.service.window import CameraView, Distribution, EnvironmentView, Window

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CAMERA = ("camera", "environment")


def metrics_routes(window: Window, doorway: Doorway) -> APIRouter:
    """Return the route that monitoring asks."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(window, doorway))
    ProcessCollector(registry=registry)
    router = APIRouter(tags=["metrics"], responses=REFUSED, dependencies=[BOX_TOKEN])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Return every metric."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE)

    return router


class _Metrics(Collector):
    """Turns the daemon's counts into metrics."""

    def __init__(self, window: Window, doorway: Doorway) -> None:
        self._window, self._doorway = window, doorway

    def collect(self) -> Iterator[Metric]:
        """Return every metric as it is now."""
        stats, environments = self._window.stats(), self._window.environments()
        yield _gauge("ready", "Whether faces are screened and alerts kept.", float(self._window.readiness().ready))
        yield _gauge("uptime_seconds", "Since the start of the daemon.", stats.uptime_s)
        build = InfoMetricFamily("spectragate_build", "What runs, and where it screens.")
        build.add_metric((), {"version": stats.product_version, "device": stats.device})
        yield build
        cameras = self._window.cameras()
        yield from _camera_gauges(cameras)
        yield from _camera_counters(cameras)
        yield from _batches(self._window)
        yield from _outbox(stats.outbox)
        yield from _broker(stats.broker)
        yield from _environments(environments)
        yield from _drift(environments)
        yield from _updates(environments)
        yield _refused(self._doorway)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"spectragate_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"spectragate_{name}", text, value)


def _camera_gauges(cameras: Iterable[CameraView]) -> Iterator[Metric]:
    """Return a gauge for each thing a camera has at the moment; what it lacks is left out, not 0."""
    gauges = {
        name: GaugeMetricFamily(f"spectragate_camera_{name}", text, labels=CAMERA)
        for name, text in {
            "up": "Whether the camera is watched.",
            "enabled": "Whether it is switched on.",
            "alarm": "Whether a triggered face is before it now.",
            "fps": "Frames looked at per second, lately.",
            "frame_age_seconds": "From the arrival of the newest frame with a face to its verdict.",
            "calibration_tracks": "Passages in its own calibration.",
            "calibration_tracks_missing": "Passages until the asked rate of false alarms can be promised.",
            "asked_rate": "False alarms per passage that are asked for.",
            "attainable_rate": "False alarms per passage that can be promised now.",
            "judged_tracks": "Passages judged under the model of now.",
            "promised_alerts": "Alerts that these may have raised, as was promised.",
            "raised_alerts": "Alerts that they raised, without confirmed triggers.",
            "rate_exceeded": "Whether these are more than chance explains.",
            "last_day_tracks": "Passages judged in the last 24 hours; times the asked rate, the false alerts of a day.",
        }.items()
    }
    for camera in cameras:
        age_ms, promise, realised = camera.stats.frame_age_ms, camera.promise, camera.realised
        values = {
            "up": float(camera.state in {"online", "degraded"}),
            "enabled": float(camera.enabled),
            "alarm": float(camera.alarm),
            "fps": camera.fps,
            "frame_age_seconds": None if age_ms is None else age_ms / 1000.0,
            "calibration_tracks": float(camera.tracks_known),
            "calibration_tracks_missing": None if promise is None else float(promise.tracks_missing),
            "asked_rate": None if promise is None else promise.asked_rate,
            "attainable_rate": None if promise is None else promise.attainable_rate,
            "judged_tracks": None if realised is None else float(realised.tracks),
            "promised_alerts": None if realised is None else realised.promised_alerts,
            "raised_alerts": None if realised is None else float(realised.alerts),
            "rate_exceeded": None if realised is None else float(realised.exceeds),
            "last_day_tracks": None if realised is None else realised.last_day_tracks,
        }
        for name, value in values.items():
            if value is not None:
                gauges[name].add_metric((camera.camera, camera.environment), value)
    yield from gauges.values()


def _camera_counters(cameras: Iterable[CameraView]) -> Iterator[Metric]:
    received = CounterMetricFamily("spectragate_camera_frames_received", "Frames that arrived.", labels=CAMERA)
    frames = CounterMetricFamily("spectragate_camera_frames", "What became of frames.", labels=(*CAMERA, "outcome"))
    faces = CounterMetricFamily("spectragate_camera_faces", "What became of faces.", labels=(*CAMERA, "outcome"))
    tracks = CounterMetricFamily("spectragate_camera_tracks", "Finished passages.", labels=(*CAMERA, "verdict"))
    held = CounterMetricFamily("spectragate_camera_alerts_held", "Alerts held back in a flood.", labels=CAMERA)
    for camera in cameras:
        labels, stats = (camera.camera, camera.environment), camera.stats
        received.add_metric(labels, stats.frames_received)
        held.add_metric(labels, stats.alerts_held)
        for outcome in ("looked_at", "skipped", "replaced", "damaged"):
            frames.add_metric((*labels, outcome), getattr(stats, f"frames_{outcome}"))
        for outcome in ("found", "dropped", "shed"):
            faces.add_metric((*labels, outcome), getattr(stats, f"faces_{outcome}"))
        for verdict in ("clean", "triggered", "unsure"):
            tracks.add_metric((*labels, verdict), getattr(stats, f"tracks_{verdict}"))
    yield from (received, frames, faces, tracks, held)


def _batches(window: Window) -> Iterator[Metric]:
    measures = window.measures()
    sizes = HistogramMetricFamily("spectragate_batch_faces", "Faces per call of the detector.")
    sizes.add_metric((), _buckets(measures.batch_faces), measures.batch_faces.sum)
    yield sizes
    took = HistogramMetricFamily("spectragate_inference_seconds", "Time per call of the detector.", labels=("device",))
    for device, each in measures.inference_s.items():
        took.add_metric((device,), _buckets(each), each.sum)
    yield took


def _buckets(each: Distribution) -> list[tuple[str, float]]:
    bounded = [(repr(bound), float(count)) for bound, count in zip(each.bounds, each.counts, strict=True)]
    return [*bounded, ("+Inf", float(each.count))]


def _outbox(outbox: messages.OutboxStats) -> Iterator[Metric]:
    yield _gauge("outbox_depth", "Messages that wait for the broker.", outbox.depth)
    yield _gauge("outbox_oldest_seconds", "How long the oldest of them waits, or 0.", outbox.oldest_s or 0.0)
    yield _gauge("outbox_bytes", "Size of everything kept.", outbox.bytes)
    yield _counter("outbox_evicted", "Messages given up for want of space.", outbox.evicted)
    yield _gauge("outbox_degraded", "Whether the disk takes nothing.", float(outbox.degraded is not None))


def _broker(broker: messages.BrokerStats) -> Iterator[Metric]:
    yield _gauge("broker_up", "Whether the broker is connected.", float(broker.state == "online"))
    yield _counter("broker_connects", "Connections made.", broker.connects)
    yield _counter("broker_taken_over", "Connections that a twin of our client id ended.", broker.taken_over)
    yield _counter("broker_published", "Messages the broker took.", broker.published)
    yield _counter("broker_refused", "Messages the broker refused.", broker.refused)
    yield _counter("broker_requests_dropped", "Messages to us: too many or too large.", broker.requests_dropped)
    yield _counter("broker_commands_ignored", "Commands that were not obeyed.", broker.commands_ignored)


def _environments(environments: Iterable[EnvironmentView]) -> Iterator[Metric]:
    labels = ("environment",)
    tracks = GaugeMetricFamily("spectragate_calibration_tracks", "Passages in a calibration.", labels=labels)
    batches = CounterMetricFamily("spectragate_batches", "Calls of the detector.", labels=labels)
    model = InfoMetricFamily("spectragate_model", "The model that judges.", labels=labels)
    for each in environments:
        tracks.add_metric((each.environment,), each.tracks_known)
        batches.add_metric((each.environment,), each.batches)
        identity = each.model
        words = {"version": str(identity.version), "sha256": identity.sha256, "profile": identity.profile}
        model.add_metric((each.environment,), words)
    yield from (tracks, batches, model)


def _drift(environments: Iterable[EnvironmentView]) -> Iterator[Metric]:
    """Return every number that a camera's drift state holds, under the name that it has there."""
    drifted = GaugeMetricFamily("spectragate_drifted", "Whether a camera's pictures drifted.", labels=("environment",))
    labels = ("environment", "camera", "figure")
    figures = GaugeMetricFamily("spectragate_drift", "Figures of a camera's drift state.", labels=labels)
    for each in environments:
        if not isinstance(each.drift, dict):
            continue
        drifted.add_metric((each.environment,), float(each.drift.get("state") == "drifted"))
        for camera, figure, value in _figures(each.drift.get("cameras")):
            figures.add_metric((each.environment, camera, figure), value)
    yield from (drifted, figures)


def _updates(environments: Iterable[EnvironmentView]) -> Iterator[Metric]:
    """Return how each environment's bundle stands; nothing where none is taken up while it runs."""
    phases = GaugeMetricFamily(
        "spectragate_model_phase", "1 at where the bundle stands.", labels=("environment", "phase")
    )
    pinned = GaugeMetricFamily("spectragate_model_pinned", "Whether no other is taken.", labels=("environment",))
    for each in environments:
        if isinstance(each.model_state, dict):
            phases.add_metric((each.environment, str(each.model_state.get("state"))), 1.0)
            pinned.add_metric((each.environment,), float(each.model_state.get("pinned") is True))
    yield from (phases, pinned)


def _refused(doorway: Doorway) -> Metric:
    text = "Connections and requests not let in: too many or too often from one address."
    refused = CounterMetricFamily("spectragate_http_refused", text, labels=("reason",))
    for reason, count in doorway.refused.items():
        refused.add_metric((reason,), count)
    return refused


def _figures(cameras: JsonValue) -> Iterator[tuple[str, str, float]]:
    for camera in cameras if isinstance(cameras, list) else []:
        words = camera if isinstance(camera, dict) else {}
        for figure, value in words.items():
            if isinstance(value, int | float):
                yield str(words.get("camera")), figure, float(value)
