"""What a box says of itself: the status of each camera, and what was counted."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.contract.fields import (
    MAX_CAMERAS,
    CalibrationLevel,
    CameraName,
    Code,
    Count,
    EpochSeconds,
    Milliseconds,
    Model,
    ModelIdentity,
    Name,
    Promise,
    Token,
)
from gateway.contract.topics import MODEL_ORDER

# Why a camera is not online: what its source says, what the box says, and what the operator wants.
SOURCE_REASONS = (
    *("auth", "codec", "crashed", "ended", "hung", "no_video", "not_found", "refused", "stalled", "timeout", "tls"),
    *("too_large", "transport", "unreachable", "unreadable"),
)
DISK_REASONS = ("disk_full", "read_only", "io_error", "folder_missing", "locked", "corrupt")
BOX_REASONS = ("starting", "waiting", "overloaded", "cpu_fallback", "quality", "operating_point", *DISK_REASONS)
OPERATOR_REASONS = ("by_config", "by_command")
STATUS_REASONS = (*SOURCE_REASONS, *BOX_REASONS, *OPERATOR_REASONS)


class RealisedRate(Model):
    """What a camera did with its promise, under the weights that judge it."""

    tracks: Count = Field(description="passages judged")
    promised_alerts: float = Field(ge=0.0, description="alerts that clean passages may have raised, as was promised")
    alerts: Count = Field(description="alerts raised, without those that an operator confirmed as triggers")
    exceeds: bool = Field(description="more than chance explains; an attack that nobody confirmed looks the same")
    last_day_tracks: Count | None = Field(
        default=None,
        description="passages judged in the last 24 hours; times the asked rate, the false alerts of such a day",
    )


class CameraStatus(Model):
    """Whether a camera is watched, on `<prefix>/<camera>/status`, retained."""

    type: Literal["spectragate.camera_status.v1"] = "spectragate.camera_status.v1"
    camera: CameraName
    state: Literal["online", "offline", "disabled", "degraded"]
    reason: Code | None = Field(
        description="why it is not online, as a word for rules; new words may come",
        json_schema_extra={"examples": list(STATUS_REASONS)},
    )
    since: EpochSeconds
    calibration: CalibrationLevel | None = None
    promise: Promise | None = None
    realised: RealisedRate | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.state == "online" and self.reason is not None:
            raise ValueError("a camera that is online needs no reason")
        return self


class CameraStats(Model):
    """What was counted for one camera since the start.

    Every frame received was looked at, skipped (more than `detect.fps` asks for), replaced by a newer one before there
    was time for it, or damaged.
    """

    camera: CameraName
    frames_received: Count
    frames_looked_at: Count
    frames_skipped: Count
    frames_replaced: Count
    frames_damaged: Count
    faces_found: Count
    faces_dropped: Count = Field(description="beyond the limit of a frame")
    faces_shed: Count = Field(description="given up because the box was overloaded")
    frame_age_ms: Milliseconds | None = Field(
        description="from the arrival of the newest frame with a face to its verdict; null where there was none"
    )
    tracks_clean: Count
    tracks_triggered: Count
    tracks_unsure: Count
    alerts_held: Count = Field(description="held back by flood control, to be had through alerts/replay")


class EnvironmentStats(Model):
    """Which detector judges an environment's cameras."""

    environment: Name
    model: ModelIdentity


class OutboxStats(Model):
    """What waits on disk to be delivered."""

    depth: Count = Field(description="messages that wait")
    oldest_s: float | None = Field(ge=0.0, description="how long the oldest of them waits; null where none does")
    bytes: Count = Field(description="of everything kept, delivered messages included")
    last_seq: Count = Field(description="the highest number given")
    evicted: Count = Field(description="messages given up since the start; gaps tell which")
    degraded: Code | None = Field(description=f"what is wrong with it, as a word: {', '.join(DISK_REASONS)}")


class BrokerStats(Model):
    """How the link to the broker is."""

    state: Literal["off", "online", "away"]
    reason: Code | None = Field(description="why it is away, or what is wrong: refused, tls, auth, taken_over, acl")
    protocol: Literal["5", "3.1.1"] | None
    connects: Count
    taken_over: Count = Field(description="how often a twin with the same client id ended our session")
    published: Count
    refused: Count = Field(description="messages the broker refused; they are kept and tried again")
    requests_dropped: Count = Field(description="messages to us that were too many or too large")
    commands_ignored: Count = Field(description="commands that were not obeyed")


class Stats(Model):
    """What was counted since the start, on `<prefix>/stats`."""

    type: Literal["spectragate.stats.v1"] = "spectragate.stats.v1"
    time: EpochSeconds
    uptime_s: float = Field(ge=0.0)
    product_version: Token
    device: Name
    environments: tuple[EnvironmentStats, ...] = Field(max_length=MAX_CAMERAS)
    outbox: OutboxStats
    broker: BrokerStats
    cameras: tuple[CameraStats, ...] = Field(max_length=MAX_CAMERAS)


class DriftChange(Model):
    """What is different in a camera's pictures."""

    scalar: Code = Field(
        description="brightness, blur, high_band (energy of the finest detail), score (the detector's), or spectrum",
        json_schema_extra={"examples": ["brightness", "blur", "high_band", "score", "spectrum"]},
    )
    change: Code = Field(
        description="a word for rules; new words may come",
        json_schema_extra={"examples": ["darker", "brighter", "light_varies", "blurred", "sharper", "less_detail"]},
    )
    before: float = Field(description="its mean over the tracks of the reference")
    now: float = Field(description="its mean over the newest tracks")
    since: EpochSeconds | None = Field(
        description="when its mean was seen to move; null where only its spread did, or not yet"
    )


class CameraDrift(Model):
    """Whether a camera's pictures are still those that it began with."""

    camera: CameraName
    state: Literal["learning", "steady", "drifted"]
    since: EpochSeconds = Field(description="when this state began, by the camera's tracks")
    tracks: Count = Field(description="tracks looked at under these weights")
    reference_tracks: Count = Field(description="tracks that the reference has, or is to have while it is learnt")
    statistic: float | None = Field(description="how far the newest tracks are from the reference; null while learning")
    threshold: float | None = Field(description="beyond which it is drift")
    causes: tuple[DriftChange, ...] = Field(max_length=8, description="what is different, the largest first")
    words: str = Field(max_length=500, description="the same in words")


class DriftState(Model):
    """Drift of an environment's cameras, on `<prefix>/environments/<environment>/drift/state`, retained."""

    type: Literal["spectragate.drift_state.v1"] = "spectragate.drift_state.v1"
    environment: Name
    time: EpochSeconds
    state: Literal["learning", "steady", "drifted"] = Field(
        description="drifted where a camera's pictures are, learning while no camera's are known"
    )
    model: ModelIdentity
    cameras: tuple[CameraDrift, ...] = Field(max_length=MAX_CAMERAS)


class TrainerJob(Model):
    """What becomes of an environment's newest clean set."""

    environment: Name
    job: str = Field(min_length=1, max_length=64, description="its name at the trainer")
    state: Literal["queued", "running", "published", "refused", "cancelled"]
    reason: str | None = Field(max_length=500, description="why it was refused or cancelled, in words")
    version: Count | None = Field(description="of the bundle that was published; null before")


class CleanSetProgress(Model):
    """How far an environment's next clean set is; numbers alone."""

    environment: Name
    state: Literal["collecting", "held", "ready"] = Field(
        description="held: enough faces, which wait until they are old enough; ready: they go when the trainer is there"
    )
    kept: Count = Field(description="faces that are kept")
    old_enough: Count = Field(description="of these, those that have waited long enough")
    wanted: Count = Field(description="so many must be old enough")
    lacks: str | None = Field(max_length=500, description="what is still missing, in words; null where nothing is")


class TrainerState(Model):
    """The link to the trainer, what is collected for it, and its jobs, on `<prefix>/trainer/state`, retained."""

    type: Literal["spectragate.trainer_state.v1"] = "spectragate.trainer_state.v1"
    time: EpochSeconds
    state: Literal["idle", "online", "away", "refused"] = Field(
        description="how the last exchange went: idle before the first, away where the trainer could not be reached"
    )
    reason: str | None = Field(max_length=500, description="why it is away or refuses, in words")
    jobs: tuple[TrainerJob, ...] = Field(max_length=MAX_CAMERAS)
    clean_sets: tuple[CleanSetProgress, ...] = Field(
        default=(), max_length=MAX_CAMERAS, description="of the environments that have drifted"
    )


class ModelAnswer(Model):
    """What came of the last order on `<prefix>/environments/<environment>/model/set`."""

    order: str = Field(pattern=MODEL_ORDER)
    time: EpochSeconds
    result: Literal["done", "refused"]
    reason: str | None = Field(max_length=500, description="why it was refused, in words")


class ModelState(Model):
    """Which bundle judges an environment, and how the next one is doing."""

    type: Literal["spectragate.model_state.v1"] = "spectragate.model_state.v1"
    environment: Name
    time: EpochSeconds
    state: Literal["steady", "staging", "shadow", "activating", "probation", "restoring"]
    model: ModelIdentity = Field(description="what judges now")
    since: EpochSeconds = Field(description="when it began to judge, or when the gateway started with it")
    candidate: str | None = Field(
        pattern=r"^[0-9a-f]{64}$", description="the manifest's digest of the bundle under way; null where none is"
    )
    pinned: bool = Field(description="no other bundle is taken until this is taken back")
    update: Code | None = Field(
        description="why no new bundle can be had, or soon will not be; null where nothing is wrong",
        json_schema_extra={"examples": ["unreachable", "update_stale", "update_expires"]},
    )
    reason: str | None = Field(max_length=500, description="why the last bundle was undone or refused, in words")
    answer: ModelAnswer | None = Field(default=None, description="to the last order over MQTT; null where none came")
