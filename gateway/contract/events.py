"""Alerts and verdicts: what is known of a track, as CloudEvents.

Boxes are pixels of the full-size frame, sizes px, areas px². Whether an `end_time` lies after its `start_time` is not
checked: a camera's clock may be set back.
"""

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from gateway.contract.fields import (
    Box,
    CalibrationLevel,
    CameraName,
    Count,
    EpochSeconds,
    Event,
    FrameTimeSource,
    Milliseconds,
    Model,
    ModelIdentity,
    Name,
    Positive,
    Probability,
    Promise,
    Severity,
    Token,
    envelope,
)


class LatencyMs(Model):
    """Where the time went between the frame's arrival and the publisher, in ms."""

    decode: Milliseconds
    queue: Milliseconds
    infer: Milliseconds
    publish: Milliseconds


class Band(Model):
    """One DCT coefficient that stands out: vertical frequency `u`, horizontal frequency `v`."""

    u: Count
    v: Count
    excess: float = Field(description="how far above clean faces, in their standard deviations")


class Evidence(Model):
    """References and numbers, never pictures."""

    snapshot: Token | None = None
    heatmap: Token | None = None
    top_bands: tuple[Band, ...] | None = Field(default=None, max_length=16)


def _latency_may_be_absent(schema: dict[str, Any]) -> None:
    schema["required"].remove("latency_ms")
    del schema["properties"]["latency_ms"]["default"]


class AlertData(Model):
    """What is known of a triggered track at this moment."""

    model_config = ConfigDict(json_schema_extra=_latency_may_be_absent)

    alert_id: Name = Field(description="the same over new, update and end of one track")
    seq: Count = Field(description="counts the alert messages of this box; a gap means a lost message")
    type: Literal["new", "update", "end"]
    severity: Severity
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


class VerdictData(Model):
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


class Alert(Event):
    """One change of a triggered track, on `<prefix>/alerts`; `time` is the data's `frame_time`."""

    type: Literal["spectragate.alert.v1"] = "spectragate.alert.v1"
    subject: CameraName
    data: AlertData

    @classmethod
    def of(cls, data: AlertData, *, event_id: str, source: str) -> Self:
        """Wrap `data`; subject and time follow from it."""
        return cls(**envelope(event_id, source, data.camera, happened_s=data.frame_time), data=data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.check_envelope(self.data.camera, self.data.frame_time)
        return self


class Verdict(Event):
    """One finished track, on `<prefix>/verdicts`; `time` is the data's `end_time`."""

    type: Literal["spectragate.verdict.v1"] = "spectragate.verdict.v1"
    subject: CameraName
    data: VerdictData

    @classmethod
    def of(cls, data: VerdictData, *, event_id: str, source: str) -> Self:
        """Wrap `data`; subject and time follow from it."""
        return cls(**envelope(event_id, source, data.camera, happened_s=data.end_time), data=data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.check_envelope(self.data.camera, self.data.end_time)
        return self
