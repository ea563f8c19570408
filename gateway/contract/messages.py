"""The messages that leave the box: what they say, their bytes, and back.

Alerts and verdicts are CloudEvents 1.0 in structured JSON; status and statistics are flat. Every message names its
kind and version in `type`. Times are epoch seconds UTC, boxes pixels of the full-size frame, sizes px, areas px².
Whether an `end_time` lies after its `start_time` is not checked: a camera's clock may be set back.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from gateway.contract.topics import MAX_NAME_LENGTH, NAME_PATTERN, RESERVED_WORDS, check_camera_name

MAX_MESSAGE_BYTES = 32_768
MAX_CAMERAS = 64
CLOUDEVENTS_TYPE = "application/cloudevents+json; charset=utf-8"  # of alerts and verdicts
JSON_TYPE = "application/json"  # of status and statistics
_MAX_INTEGER = 2**53 - 1  # the last integer every JSON reader keeps exactly


class MessageError(ValueError):
    """These bytes are no message of ours, or this message cannot become bytes."""


Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME_LENGTH)]
CameraName = Annotated[
    Name,
    AfterValidator(check_camera_name),
    Field(json_schema_extra={"not": {"enum": sorted(RESERVED_WORDS)}}),
]
EpochSeconds = Annotated[float, Field(ge=0.0, le=253_402_300_799.0)]  # up to the year 9999, the last RFC 3339 has
Count = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=_MAX_INTEGER)]
Probability = Annotated[float, Field(gt=0.0, le=1.0)]
Milliseconds = Annotated[float, Field(ge=0.0)]
Token = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=256)]  # visible ASCII, no space
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=MAX_NAME_LENGTH)]
CalibrationLevel = Literal["camera", "environment", "factory"]
FrameTimeSource = Literal["rtcp_ntp", "arrival", "file_pts"]


class _Model(BaseModel):
    """Frozen, exact types, no unknown keys, no NaN and no infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",  # so that to_bytes meets them, and refuses
        json_schema_serialization_defaults_required=True,  # every field is written, so the schema promises it
    )


def _check_corners(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    if x1 > x2 or y1 > y2:
        raise ValueError("a box is [x1, y1, x2, y2] with x1 ≤ x2 and y1 ≤ y2")
    return box


Box = Annotated[
    tuple[float, float, float, float],
    AfterValidator(_check_corners),
    # In words that JSON Schema draft 07, which AsyncAPI speaks, has as well.
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]


class ModelIdentity(_Model):
    """Which weights judged: the bundle's version, the digest of its manifest and its profile."""

    version: Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    profile: Name


class Promise(_Model):
    """What the calibration can hold: the rate of false alarms per track asked for, and the one attainable now."""

    asked_rate: Probability
    attainable_rate: Probability
    tracks_missing: Count = Field(description="clean tracks still needed until the asked rate is attainable")


class LatencyMs(_Model):
    """Where the time went between the frame's arrival and the publisher, in ms."""

    decode: Milliseconds
    queue: Milliseconds
    infer: Milliseconds
    publish: Milliseconds


class Band(_Model):
    """One DCT coefficient that stands out: vertical frequency `u`, horizontal frequency `v`."""

    u: Count
    v: Count
    excess: float = Field(description="how far above clean faces, in their standard deviations")


class Evidence(_Model):
    """References and numbers, never pictures."""

    snapshot: Token | None = None
    heatmap: Token | None = None
    top_bands: tuple[Band, ...] | None = Field(default=None, max_length=16)


def _latency_may_be_absent(schema: dict[str, Any]) -> None:
    schema["required"].remove("latency_ms")
    del schema["properties"]["latency_ms"]["default"]


class AlertData(_Model):
    """What is known of a triggered track at this moment."""

    model_config = ConfigDict(json_schema_extra=_latency_may_be_absent)

    alert_id: Name = Field(description="the same over new, update and end of one track")
    seq: Count = Field(description="counts the alert messages of this box; a gap means a lost message")
    type: Literal["new", "update", "end"]
    severity: Literal["watch", "alert", "critical"]
    camera: CameraName
    environment: Name
    track_id: Positive
    frame_time: EpochSeconds = Field(description="when the frame was taken that caused this message")
    frame_time_source: FrameTimeSource
    start_time: EpochSeconds = Field(description="when the track began")
    end_time: EpochSeconds | None = Field(description="when the track ended; null until then")
    label: Literal["face"] = "face"
    score: float = Field(description="the track's statistic, which is compared with the threshold")
    top_score: float = Field(description="the highest score of a single face of the track")
    p_value: Probability | None = Field(description="null where the calibration cannot support one")
    threshold: float = Field(description="the statistic from which on a track counts as triggered")
    box: Box
    frame_width: Positive
    frame_height: Positive
    area: float = Field(ge=0.0, description="of the box")
    frames_seen: Positive
    calibration: CalibrationLevel
    model: ModelIdentity
    latency_ms: LatencyMs | None = Field(default=None, description="absent in a replay")
    evidence: Evidence = Evidence()
    replay: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.type == "end") != (self.end_time is not None):
            raise ValueError("end_time belongs to a message of type end, and to no other")
        if self.replay and self.latency_ms is not None:
            raise ValueError("a replay has no latency: its output must not depend on the machine")
        return self


class VerdictData(_Model):
    """What the box says of a finished track; a recogniser may let pass what is `clean`."""

    camera: CameraName
    environment: Name
    track_id: Positive
    verdict: Literal["clean", "triggered", "unsure"]
    reason: Literal["quality", "calibration"] | None = Field(description="why unsure")
    alert_id: Name | None = Field(default=None, description="of the alert that was raised for the track")
    score: float | None = Field(description="the track's statistic; null with too few usable faces")
    top_score: float | None
    p_value: Probability | None
    threshold: float | None
    start_time: EpochSeconds
    end_time: EpochSeconds
    frame_time_source: FrameTimeSource
    frames_seen: Positive
    faces_usable: Count
    box: Box | None = Field(default=None, description="of the face with the highest score")
    frame_width: Positive
    frame_height: Positive
    calibration: CalibrationLevel | None
    promise: Promise | None
    model: ModelIdentity
    replay: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.verdict == "unsure") != (self.reason is not None):
            raise ValueError("a reason belongs to the verdict unsure, and to no other")
        if self.verdict != "unsure" and self.score is None:
            raise ValueError(f"the verdict {self.verdict} needs a score")
        return self


class _Event(_Model):
    """The CloudEvents attributes; `(source, id)` names one message, and subscribers drop duplicates by it."""

    specversion: Literal["1.0"]
    id: Token
    source: Token
    time: str = Field(json_schema_extra={"format": "date-time"})
    subject: CameraName
    datacontenttype: Literal["application/json"]

    def _check_envelope(self, camera: str, happened_s: float) -> None:
        if self.subject != camera:
            raise ValueError("subject must be the camera of the data")
        if self.time != rfc3339(happened_s):
            raise ValueError("time must be the time of the data in RFC 3339, UTC, with microseconds")


class _Envelope(TypedDict):
    specversion: Literal["1.0"]
    id: str
    source: str
    time: str
    subject: str
    datacontenttype: Literal["application/json"]


def _envelope(event_id: str, source: str, camera: str, *, happened_s: float) -> _Envelope:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "time": rfc3339(happened_s),
        "subject": camera,
        "datacontenttype": "application/json",
    }


class Alert(_Event):
    """One change of a triggered track, on `<prefix>/alerts`; `time` is the data's `frame_time`."""

    type: Literal["spectragate.alert.v1"] = "spectragate.alert.v1"
    data: AlertData

    @classmethod
    def of(cls, data: AlertData, *, event_id: str, source: str) -> Self:
        """Wrap `data`; subject and time follow from it."""
        return cls(**_envelope(event_id, source, data.camera, happened_s=data.frame_time), data=data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_envelope(self.data.camera, self.data.frame_time)
        return self


class Verdict(_Event):
    """One finished track, on `<prefix>/verdicts`; `time` is the data's `end_time`."""

    type: Literal["spectragate.verdict.v1"] = "spectragate.verdict.v1"
    data: VerdictData

    @classmethod
    def of(cls, data: VerdictData, *, event_id: str, source: str) -> Self:
        """Wrap `data`; subject and time follow from it."""
        return cls(**_envelope(event_id, source, data.camera, happened_s=data.end_time), data=data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_envelope(self.data.camera, self.data.end_time)
        return self


class CameraStatus(_Model):
    """Whether a camera is watched, on `<prefix>/<camera>/status`, retained."""

    type: Literal["spectragate.camera_status.v1"] = "spectragate.camera_status.v1"
    camera: CameraName
    state: Literal["online", "offline", "disabled", "degraded"]
    reason: Code | None = Field(description="why it is not online, as a word for rules: no_keyframe, cpu_fallback")
    since: EpochSeconds
    calibration: CalibrationLevel | None = None
    promise: Promise | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.state == "online" and self.reason is not None:
            raise ValueError("a camera that is online needs no reason")
        return self


class CameraStats(_Model):
    """What was counted for one camera since the start."""

    camera: CameraName
    frames_looked_at: Count
    frames_skipped: Count
    frames_damaged: Count
    faces_found: Count
    faces_dropped: Count
    tracks_clean: Count
    tracks_triggered: Count
    tracks_unsure: Count


class Stats(_Model):
    """What was counted since the start, on `<prefix>/stats`."""

    type: Literal["spectragate.stats.v1"] = "spectragate.stats.v1"
    time: EpochSeconds
    uptime_s: float = Field(ge=0.0)
    product_version: Token
    model: ModelIdentity
    device: Name
    messages_published: Count
    messages_waiting: Count
    cameras: tuple[CameraStats, ...] = Field(max_length=MAX_CAMERAS)


Message = Alert | Verdict | CameraStatus | Stats
_ANY_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def _fields(message: Message) -> dict[str, object]:
    fields: dict[str, Any] = message.model_dump(mode="json")
    if isinstance(message, Alert) and message.data.latency_ms is None:
        del fields["data"]["latency_ms"]  # absent, not null: a replay says nothing of it
    return fields


def to_bytes(message: Message) -> bytes:
    """Return the message as JSON in UTF-8: keys in the order of the model, floats that read back exactly.

    Raises:
        MessageError: It is larger than `MAX_MESSAGE_BYTES`, or holds NaN or infinity.
    """
    try:
        text = json.dumps(_fields(message), separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise MessageError(f"a {message.type} message cannot be written: {error}") from error
    payload = text.encode()
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"a {message.type} message has {len(payload)} bytes: at most {MAX_MESSAGE_BYTES} go out")
    return payload


def parse(payload: bytes) -> Message:
    """Return the message these bytes are.

    Raises:
        MessageError: They are none; the text says where and why.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"a message has at most {MAX_MESSAGE_BYTES} bytes, not {len(payload)}")
    try:
        return _ANY_MESSAGE.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][:6]) or "the whole"
        raise MessageError(f"not a message of ours, {place}: {first['msg'][:200]}") from None


def rfc3339(epoch_s: float) -> str:
    """Return the time in UTC as `2026-01-31T12:00:00.000000Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def live_event_id(client_id: str, seq: int) -> str:
    """Return the `id` of the alert message number `seq` of this box."""
    return f"{client_id}-{seq}"


def replay_event_id(input_sha256: str, *, camera: str, track_id: int, number: int) -> str:
    """Return the `id` of a replay's message: `number` is 0 for the track's verdict, its alerts count from 1.

    The same recording gives the same ids on every machine.
    """
    return f"{input_sha256[:16]}-{camera}-{track_id}-{number}"


def alert_id(origin: str, *, camera: str, track_id: int, start_time: float) -> str:
    """Return the 16 hex digits that name a track's alert; `origin` is the client id, in a replay the input's digest."""
    fields = json.dumps([origin, camera, track_id, start_time])
    return hashlib.sha256(fields.encode()).hexdigest()[:16]
