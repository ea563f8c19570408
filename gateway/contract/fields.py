"""What the fields of a message may hold, and what all messages share: exact types, the CloudEvents envelope, times."""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypedDict

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from gateway.contract.topics import MAX_NAME_LENGTH, NAME_PATTERN, RESERVED_WORDS, check_camera_name

MAX_CAMERAS = 64
_MAX_INTEGER = 2**53 - 1  # the last integer every JSON reader keeps exactly

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
Severity = Literal["watch", "alert", "critical"]
FrameTimeSource = Literal["rtcp_ntp", "arrival", "file_pts"]


class Model(BaseModel):
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


def _check_range(seqs: tuple[int, int]) -> tuple[int, int]:
    if seqs[0] > seqs[1]:
        raise ValueError("a range is [first, last] with first ≤ last")
    return seqs


SeqRange = Annotated[
    tuple[Count, Count],
    AfterValidator(_check_range),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}),
]
Box = Annotated[
    tuple[float, float, float, float],
    AfterValidator(_check_corners),
    # In words that JSON Schema draft 07, which AsyncAPI speaks, has as well.
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]


class ModelIdentity(Model):
    """Which weights judged: the bundle's version, the digest of its manifest and its profile."""

    version: Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    profile: Name


class Promise(Model):
    """What the calibration can hold: the rate of false alarms per track asked for, and the one attainable now."""

    asked_rate: Probability
    attainable_rate: Probability
    tracks_missing: Count = Field(description="clean tracks still needed until the asked rate is attainable")


class Event(Model):
    """The CloudEvents attributes; `(source, id)` names one message, and subscribers drop duplicates by it."""

    specversion: Literal["1.0"]
    id: Token
    source: Token
    time: str = Field(json_schema_extra={"format": "date-time"})
    subject: Name
    datacontenttype: Literal["application/json"]

    def check_envelope(self, subject: str, happened_s: float) -> None:
        """Check subject and time against the data's."""
        if self.subject != subject:
            raise ValueError(f"subject must be {subject}, as the data say")
        if self.time != rfc3339(happened_s):
            raise ValueError("time must be the time of the data in RFC 3339, UTC, with microseconds")


class Envelope(TypedDict):
    """The arguments of an `Event` but its data."""

    specversion: Literal["1.0"]
    id: str
    source: str
    time: str
    subject: str
    datacontenttype: Literal["application/json"]


def envelope(event_id: str, source: str, subject: str, *, happened_s: float) -> Envelope:
    """Return the attributes of an event that happened then."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "time": rfc3339(happened_s),
        "subject": subject,
        "datacontenttype": "application/json",
    }


def rfc3339(epoch_s: float) -> str:
    """Return the time in UTC as `2026-01-31T12:00:00.000000Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
