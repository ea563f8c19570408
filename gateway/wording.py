"""From what was decided about a track to the message that says it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.contract import messages
from gateway.screening import decide
from gateway.values import ClockSource, FaceBox


class Naming(Protocol):
    """Gives messages their names; `source` is the CloudEvents attribute."""

    source: str
    replay: bool

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        """Return the name of a track's alert."""

    def alert_event_id(self, said: decide.Announcement, *, number: int, seq: int) -> str:
        """Return the id of an alert message: `number` counts those of its track from 1, `seq` those of the box."""

    def verdict_event_id(self, verdict: decide.Verdict) -> str:
        """Return the id of a track's verdict."""

    def next_seq(self) -> int:
        """Return the number of the next alert message of this box."""


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What messages say of a frame; unlike `FrameFaces` it keeps no pixels alive."""

    width_px: int
    height_px: int
    clock_source: ClockSource


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: what every message about the cameras of an environment has in common."""

    environment: str
    model: messages.ModelIdentity
    naming: Naming


def alert_message(
    said: decide.Announcement,
    frame: FrameFacts,
    speaker: Speaker,
    *,
    number: int,
    latency: messages.LatencyMs | None = None,
) -> messages.Alert:
    """Return the message of one change of a triggered track; `number` counts those of the track from 1."""
    face, naming = said.face, speaker.naming
    data = messages.AlertData(
        alert_id=said.alert_id,
        seq=naming.next_seq(),
        type=said.type,
        severity=said.severity,
        camera=face.camera,
        environment=speaker.environment,
        track_id=face.track_id,
        frame_time=_epoch(face.frame_time_s),
        frame_time_source=_clock(frame),
        start_time=_epoch(said.start_time_s),
        end_time=None if said.end_time_s is None else _epoch(said.end_time_s),
        score=said.statistic,
        top_score=said.top.score,
        p_value=said.p_value,
        threshold=said.threshold,
        box=_corners(face.box),
        frame_width=frame.width_px,
        frame_height=frame.height_px,
        area=face.box.area_px,
        frames_seen=said.faces_seen,
        calibration=said.reference.level,
        model=speaker.model,
        latency_ms=latency,
        replay=naming.replay,
    )
    event_id = naming.alert_event_id(said, number=number, seq=data.seq)
    return messages.Alert.of(data, event_id=event_id, source=naming.source)


def verdict_message(verdict: decide.Verdict, frame: FrameFacts, speaker: Speaker) -> messages.Verdict:
    """Return the message of a finished track."""
    data = messages.VerdictData(
        camera=verdict.camera,
        environment=speaker.environment,
        track_id=verdict.track_id,
        verdict=verdict.label,
        reason=verdict.reason,
        alert_id=verdict.alert_id,
        score=verdict.statistic,
        top_score=verdict.top.score,
        p_value=verdict.p_value,
        threshold=verdict.threshold,
        start_time=_epoch(verdict.start_time_s),
        end_time=_epoch(verdict.end_time_s),
        frame_time_source=_clock(frame),
        frames_seen=verdict.faces_seen,
        faces_usable=verdict.faces_usable,
        box=_corners(verdict.top.box),
        frame_width=frame.width_px,
        frame_height=frame.height_px,
        calibration=None if verdict.reference is None else verdict.reference.level,
        promise=None if verdict.reference is None else promise_of(verdict.reference),
        model=speaker.model,
        replay=speaker.naming.replay,
    )
    event_id = speaker.naming.verdict_event_id(verdict)
    return messages.Verdict.of(data, event_id=event_id, source=speaker.naming.source)


def promise_of(reference: decide.Reference) -> messages.Promise:
    """Return what a reference can hold, as messages say it."""
    return messages.Promise(
        asked_rate=reference.asked_rate,
        attainable_rate=reference.false_alarm_rate,
        tracks_missing=reference.tracks_missing,
    )


def _corners(box: FaceBox) -> tuple[float, float, float, float]:
    return box.x1, box.y1, box.x2, box.y2


def _epoch(time_s: float) -> float:
    # A recording may claim to be older than 1970, or begin before its own zero.
    return max(0.0, time_s)


def _clock(frame: FrameFacts) -> Literal["rtcp_ntp", "arrival", "file_pts"]:
    return frame.clock_source.value
