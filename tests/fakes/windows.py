"""A daemon as the HTTP side sees it, without one: two cameras, an alert, and a hub to publish on."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal

from fakes.boxes import alert
from pydantic import JsonValue

from gateway.contract import messages
from gateway.contract.bundle import DataDigest, Training
from gateway.contract.evaluation import Evaluation
from gateway.contract.examples import EXAMPLES
from gateway.contract.requests import ModelOrder, RequestsWait
from gateway.service.hub import Hub, Subscription
from gateway.service.window import (
    CameraView,
    Distribution,
    EnvironmentView,
    ExplanationView,
    Measures,
    ModelView,
    Readiness,
    Signalled,
)

IDENTITY = messages.ModelIdentity(version=3, sha256="ab" * 32, profile="paper")
TOKEN, PASSWORD, GATE_TOKEN, YARD_TOKEN = "t" * 32, "open sesame", "gate-" + "g" * 32, "yard-" + "y" * 32
STUDIO = "https://studio.example"
ANSWER = b"v=0\r\nanswer"


def camera_stats(name: str) -> messages.CameraStats:
    """Return what was counted for a camera."""
    return messages.CameraStats(
        camera=name,
        frames_received=250,
        frames_looked_at=50,
        frames_skipped=190,
        frames_replaced=7,
        frames_damaged=3,
        faces_found=42,
        faces_dropped=2,
        faces_shed=1,
        frame_age_ms=81.5,
        tracks_clean=9,
        tracks_triggered=1,
        tracks_unsure=2,
        alerts_held=0,
    )


def camera_view(name: str, **fields: object) -> CameraView:
    """Return a camera that is online."""
    values: dict[str, object] = {
        "camera": name,
        "environment": "default",
        "enabled": True,
        "state": "online",
        "reason": None,
        "since": 1_769_860_000.0,
        "fps": 4.9,
        "alarm": False,
        "tracks_known": 12,
        "teaches": True,
        "calibration": "factory",
        "promise": messages.Promise(asked_rate=0.001, attainable_rate=0.05, tracks_missing=987),
        "stats": camera_stats(name),
        **fields,
    }
    return CameraView.model_validate(values)


@dataclass
class FakeWindow:
    """Implements `service.window.Window` over values that a test sets."""

    hub: Hub = field(default_factory=Hub)
    ready: Readiness = field(default_factory=lambda: Readiness(ready=True, reasons=()))
    latest: list[messages.Alert] = field(default_factory=lambda: [alert(2, alert_id="a2"), alert(1, alert_id="a1")])
    switched: list[tuple[str, bool]] = field(default_factory=list)
    judged: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chosen: list[tuple[str, str]] = field(default_factory=list)
    orders_wait: bool = False
    names: tuple[str, ...] = ("gate", "yard")
    drift: JsonValue = None
    model_state: JsonValue = None
    parent: str | None = None
    judged_on: dict[str, Evaluation] = field(default_factory=dict)
    views: dict[str, CameraView] = field(default_factory=dict)
    explained: dict[str, ExplanationView] = field(default_factory=dict)

    def readiness(self) -> Readiness:
        """Return what the test says."""
        return self.ready

    def stats(self) -> messages.Stats:
        """Return the contract's example with our cameras."""
        example = _stats_example()
        assert isinstance(example, messages.Stats)
        return example.model_copy(update={"cameras": tuple(camera_stats(name) for name in self.names)})

    def measures(self) -> Measures:
        """Return three batches on the CPU."""
        return Measures(
            Distribution((1.0, 8.0, 32.0), (1, 2, 3), 3, 30.0), {"cpu": Distribution((0.01, 0.1), (2, 3), 3, 0.06)}
        )

    def cameras(self) -> tuple[CameraView, ...]:
        """Return the cameras, as the test sets them."""
        return tuple(self.views.get(name) or camera_view(name) for name in self.names)

    def camera(self, name: str) -> CameraView | None:
        """Return one of them."""
        return next((each for each in self.cameras() if each.camera == name), None)

    def alerts(self) -> tuple[messages.Alert, ...]:
        """Return the alerts, newest first."""
        return tuple(self.latest)

    def environments(self) -> tuple[EnvironmentView, ...]:
        """Return one environment."""
        return (
            EnvironmentView(
                environment="default",
                bundle="paper",
                cameras=self.names,
                model=IDENTITY,
                tracks_known=24,
                batches=3,
                drift=self.drift,
                model_state=self.model_state,
            ),
        )

    def models(self) -> tuple[ModelView, ...]:
        """Return one model."""
        training = Training(
            command="spectragate-trainer pretrain",
            seed=0,
            epochs=1,
            perturbations=("white_block",),
            data=(DataDigest(name="index", sha256="cd" * 32, pictures=2742, use="train"),),
        )
        return (
            ModelView(
                model=IDENTITY,
                environments=("default",),
                created="2026-01-31",
                made_for="default",
                parent_sha256=self.parent,
                gate_sha256=None,
                training=training,
                clean_tracks=500,
                calibrated_on="passages of 187 people",
            ),
        )

    def evaluation(self, sha256: str) -> Evaluation | None:
        """Return what the test says."""
        return self.judged_on.get(sha256)

    def trainer(self) -> JsonValue:
        """Return that there is none."""
        return None

    def judge(self, alert_id: str, judgement: Literal["false_positive", "confirmed"], note: str | None = None) -> bool:
        """Note what was judged."""
        self.judged.append((alert_id, judgement))
        if note is not None:
            self.notes.append(note)
        return any(each.data.alert_id == alert_id for each in self.latest)

    def choose(self, environment: str, order: ModelOrder) -> bool:
        """Note what was wanted."""
        if self.orders_wait:
            raise RequestsWait("8 orders for default wait already")
        self.chosen.append((environment, str(order)))
        return environment == "default"

    def explanation(self, alert_id: str) -> ExplanationView | None:
        """Return what the test says."""
        return self.explained.get(alert_id)

    def switch(self, camera: str, *, is_on: bool) -> bool:
        """Note what was switched."""
        self.switched.append((camera, is_on))
        return camera in self.names

    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """Listen to the hub."""
        return self.hub.subscribe()


def _stats_example() -> messages.Message:
    return next(each for each in EXAMPLES.values() if isinstance(each, messages.Stats))


@dataclass
class FakeSignalling:
    """Implements `service.window.Signalling`: answers every offer, or what the test says."""

    answer: Signalled = field(default_factory=lambda: Signalled(201, ANSWER, "s1", ""))
    offers: list[tuple[str, bytes]] = field(default_factory=list)
    views: list[tuple[str, bytes]] = field(default_factory=list)
    sessions: set[tuple[str, str]] = field(default_factory=lambda: {("gate", "s1")})

    def token_of(self, camera: str) -> str | None:
        """Return the tokens of two cameras."""
        return {"gate": GATE_TOKEN, "yard": YARD_TOKEN}.get(camera)

    def allows_origin(self, origin: str) -> bool:
        """Return whether it is the studio."""
        return origin == STUDIO

    async def offer(self, camera: str, sdp: bytes) -> Signalled:
        """Note an offer and answer it."""
        self.offers.append((camera, sdp))
        return self.answer

    async def hang_up(self, camera: str, session: str) -> bool:
        """End a session."""
        return self.leave(camera, session)

    async def view(self, camera: str, sdp: bytes) -> Signalled:
        """Note a viewer's offer and answer it."""
        self.views.append((camera, sdp))
        return self.answer

    def leave(self, camera: str, session: str) -> bool:
        """End a viewer's session."""
        known = (camera, session) in self.sessions
        self.sessions.discard((camera, session))
        return known
