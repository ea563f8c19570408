"""What the HTTP side may see of the daemon and ask of it: values that do not change, and a few commands.

The daemon implements `Window` and, where cameras may push WebRTC, `Signalling`. Nothing else of it is known here.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field, JsonValue

from gateway.contract import messages
from gateway.contract.bundle import Training
from gateway.contract.evaluation import Evaluation
from gateway.contract.fields import (
    CalibrationLevel,
    CameraName,
    Code,
    Count,
    EpochSeconds,
    Model,
    ModelIdentity,
    Name,
    Promise,
)
from gateway.contract.requests import ModelOrder
from gateway.service.hub import Subscription


class CameraView(Model):
    """One camera as it is now; `stats` count since the start."""

    camera: CameraName
    environment: Name
    enabled: bool
    state: Literal["online", "offline", "disabled", "degraded"]
    reason: Code | None
    since: EpochSeconds = Field(description="since when it has this state")
    fps: float = Field(ge=0.0, description="frames looked at per second, lately")
    alarm: bool = Field(description="whether a triggered face is before it now")
    tracks_known: Count = Field(description="passages in its own calibration")
    teaches: bool = Field(description="whether its passages join it; those of a recording in a loop do not")
    calibration: CalibrationLevel | None
    promise: Promise | None
    realised: messages.RealisedRate | None = Field(default=None, description="what it did with its promise so far")
    stats: messages.CameraStats


class EnvironmentView(Model):
    """One environment: its cameras, its model, what its calibration knows, and the words of its adaptation."""

    environment: Name
    bundle: str
    cameras: tuple[CameraName, ...]
    model: ModelIdentity
    tracks_known: Count
    batches: Count
    drift: JsonValue = Field(default=None, description="its drift state as MQTT tells it; null where none is measured")
    model_state: JsonValue = Field(default=None, description="its model state as MQTT tells it; null without updates")


class ModelView(Model):
    """One model that is in use, and where."""

    model: ModelIdentity
    environments: tuple[Name, ...]
    created: str = Field(description="the day on which it was made")
    made_for: str = Field(description="the environment it was made for, as its bundle says")
    parent_sha256: str | None = Field(description="the bundle that it went on from")
    gate_sha256: str | None = Field(description="digest of the report of the gates that it passed; null for a release")
    training: Training = Field(description="what its bundle says of how it was made")
    clean_tracks: Count = Field(description="passages behind its factory calibration")
    calibrated_on: str = Field(description="whose passages those are")


class ExplanationView(Model):
    """What in an alert's most suspicious face spoke for a trigger: what its score loses without it.

    `waiting` is one that is being made; ask again. `busy` is a box that had no time, `other_model` a face whose model
    is not in use any more, `unknown` an alert of which nothing is kept.
    """

    alert_id: Name
    state: Literal["waiting", "done", "unknown", "busy", "other_model"]
    score: float | None = None
    places: tuple[tuple[float, ...], ...] = Field(default=(), description="squares of the face, in rows from the top")
    bands: tuple[float, ...] = Field(default=(), description="bands of frequencies, from coarse to fine")
    edges: tuple[float, ...] = Field(default=(), description="edges of the bands, as shares of the finest detail")


class Readiness(Model):
    """Whether faces are screened and alerts are kept; `reasons` say what is missing, as words for rules."""

    ready: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram: how many values were at most each bound, all of them, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum: float


@dataclass(frozen=True, slots=True)
class Measures:
    """How screening goes: sizes of batches, and seconds that each took, by device."""

    batch_faces: Distribution
    inference_s: dict[str, Distribution]


class Window(Protocol):
    """The daemon as the HTTP side sees it; nothing here waits."""

    def readiness(self) -> Readiness:
        """Return whether the box screens."""

    def stats(self) -> messages.Stats:
        """Return what was counted since the start."""

    def measures(self) -> Measures:
        """Return how screening goes."""

    def cameras(self) -> tuple[CameraView, ...]:
        """Return every camera, in the order of the configuration."""

    def camera(self, name: str) -> CameraView | None:
        """Return one camera, or None where there is none of this name."""

    def alerts(self) -> tuple[messages.Alert, ...]:
        """Return the newest message of each of the latest alerts, newest first."""

    def environments(self) -> tuple[EnvironmentView, ...]:
        """Return every environment."""

    def models(self) -> tuple[ModelView, ...]:
        """Return every model in use."""

    def evaluation(self, sha256: str) -> Evaluation | None:
        """Return what a bundle was judged on; None where nothing is known of that."""

    def trainer(self) -> JsonValue:
        """Return the trainer's state as MQTT tells it; None where there is none."""

    def judge(self, alert_id: str, judgement: Literal["false_positive", "confirmed"], note: str | None = None) -> bool:
        """Take an operator's word on an alert; return whether there is such an alert."""

    def choose(self, environment: str, order: ModelOrder) -> bool:
        """Take what an operator wants of an environment's bundle; return whether there is one that can be asked.

        Raises:
            RequestsWait: Too much is wanted of it already.
        """

    def explanation(self, alert_id: str) -> ExplanationView | None:
        """Return what spoke for an alert, or let it be found; None where no explanations are kept."""

    def switch(self, camera: str, *, is_on: bool) -> bool:
        """Switch a camera, for good; return whether there is one of this name."""

    def subscribe(self) -> AbstractAsyncContextManager[Subscription]:
        """Return a line of events from now on: `alert`, `camera`, `environment`, `stats`.

        Raises:
            TooManySubscribers: When it is entered.
        """


@dataclass(frozen=True, slots=True)
class Signalled:
    """The answer to an offer: an HTTP status, the SDP or nothing, the session's name, and why not."""

    status: int
    body: bytes
    session: str | None
    reason: str


class Signalling(Protocol):
    """WebRTC's handshake, relayed: what is offered and answered is opaque here."""

    def token_of(self, camera: str) -> str | None:
        """Return what a publisher for this camera must show; None where no publisher is expected."""

    def allows_origin(self, origin: str) -> bool:
        """Return whether pages of another site may publish."""

    async def offer(self, camera: str, sdp: bytes) -> Signalled:
        """Hand an offer to the camera's worker and return its answer."""

    async def hang_up(self, camera: str, session: str) -> bool:
        """End a session; return whether there was one."""

    async def view(self, camera: str, sdp: bytes) -> Signalled:
        """Hand a viewer's offer to the camera's worker and return its answer."""

    def leave(self, camera: str, session: str) -> bool:
        """End a viewer's session; return whether there was one. Never waits."""
