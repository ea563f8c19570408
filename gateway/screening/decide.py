"""From the scores of a track to its alert and its verdict; pure: no clock, no I/O, the caller keeps the states.

For each track: `open_track` once, then `advance` for every screened face in order (the first one too), then `finish`.

The reference is frozen when a track opens. The store grows all the time, so one and the same statistic would cross
and uncross a moving threshold; and a finished track enters the store, where it would help to judge its own neighbours
while they run. Frozen, a statistic that only grows crosses its threshold once, and what was announced is what the
verdict says. A track lasts seconds and a reference takes days to build: what freezing leaves out is negligible.

Severity says how rare a clean track like this would be, measured against the rate asked for: `watch` at the asked rate
itself, `alert` at a third of it, `critical` at a tenth. With a budget of one false alert a day, `critical` comes at
most once in ten days from clean tracks. Where the store cannot tell (p-value null), severity stays `watch`.

An `update` is sent when the severity rises: at most two per track, and only where the calibration can tell the
difference. A growing score alone is in the `end`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gateway.contract.calibration import (
    LEAST_RATE,
    TrackRule,
    attainable_rate,
    next_statistic,
    p_value,
    threshold,
    tracks_needed,
)
from gateway.contract.messages import CalibrationLevel
from gateway.values import Quality, Screening

Severity = Literal["watch", "alert", "critical"]
Label = Literal["clean", "triggered", "unsure"]
Reason = Literal["quality", "calibration"]
AnnouncementType = Literal["new", "update", "end"]

ALERT_SHARE = 1 / 3
CRITICAL_SHARE = 1 / 10
_RANK: dict[Severity, int] = {"watch": 0, "alert": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Reference:
    """The clean track statistics a track is judged against, and the false-alarm rate per track they support.

    `false_alarm_rate` is what decides; it is larger than `asked_rate` where there are too few tracks for that.
    `threshold` is the least statistic with p ≤ `false_alarm_rate`. `tracks_missing` counts the clean tracks that the
    camera itself still needs for the asked rate.
    """

    level: CalibrationLevel
    ordered_clean: tuple[float, ...]
    false_alarm_rate: float
    asked_rate: float
    tracks_missing: int
    threshold: float


@dataclass(frozen=True, slots=True)
class TrackState:
    """What is known of a running track; `scores` are those of its usable faces that count for the statistic.

    `top` is its most suspicious face, a usable one if there is any. `announced` is the severity last announced.
    """

    alert_id: str
    rule: TrackRule
    reference: Reference | None
    start_time_s: float
    last: Screening
    top: Screening
    scores: tuple[float, ...] = ()
    faces_seen: int = 0
    faces_usable: int = 0
    statistic: float | None = None
    announced: Severity | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """One change of a triggered track that subscribers are told; `face` is the one that caused it, `top` the worst.

    `p_value` is None where the clean tracks cannot support one for the asked rate. `end_time_s` belongs to `end` alone.
    """

    type: AnnouncementType
    alert_id: str
    severity: Severity
    face: Screening
    top: Screening
    start_time_s: float
    end_time_s: float | None
    faces_seen: int
    faces_usable: int
    statistic: float
    p_value: float | None
    threshold: float
    reference: Reference


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a finished track is: `triggered` if and only if it was announced, `unsure` always with its reason."""

    camera: str
    track_id: int
    label: Label
    reason: Reason | None
    alert_id: str | None
    start_time_s: float
    end_time_s: float
    top: Screening
    faces_seen: int
    faces_usable: int
    statistic: float | None
    p_value: float | None
    threshold: float | None
    reference: Reference | None


def asked_rate(*, alert_budget_per_day: float, tracks_per_day: float) -> float:
    """Return the false-alarm rate per track that spends the budget, kept within [LEAST_RATE, 0.5].

    Raises:
        ValueError: One of them is not a positive number.
    """
    if not (alert_budget_per_day > 0.0 and tracks_per_day > 0.0):
        raise ValueError(f"budget and tracks per day must be > 0, not {alert_budget_per_day} and {tracks_per_day}")
    return min(0.5, max(LEAST_RATE, alert_budget_per_day / tracks_per_day))


def choose_reference(
    *, asked_rate: float, camera: Sequence[float], environment: Sequence[float], factory: Sequence[float]
) -> Reference | None:
    """Return the nearest clean tracks that support the asked rate: the camera's own, else its environment's.

    Where neither is large enough, the bundle's own tracks at the rate they support; None where there are none at all.
    All three are ascending.

    Raises:
        ValueError: The rate does not lie in [LEAST_RATE, 1).
    """
    needed = tracks_needed(asked_rate)
    missing = max(0, needed - len(camera))
    if not missing:
        return _reference("camera", camera, asked_rate, missing)
    if len(environment) >= needed:
        return _reference("environment", environment, asked_rate, missing)
    return _reference("factory", factory, asked_rate, missing)


def severity_of(p: float | None, asked_rate: float) -> Severity:
    """Return the severity of a triggered track; see the head of this file for what the words mean."""
    if p is None or p > asked_rate * ALERT_SHARE:
        return "watch"
    return "alert" if p > asked_rate * CRITICAL_SHARE else "critical"


def open_track(screening: Screening, *, rule: TrackRule, reference: Reference | None, alert_id: str) -> TrackState:
    """Return the state of a track that begins with this face; the face itself is not counted before `advance`."""
    return TrackState(alert_id, rule, reference, screening.frame_time_s, last=screening, top=screening)


def advance(state: TrackState, screening: Screening) -> tuple[TrackState, tuple[Announcement, ...]]:
    """Count one screened face of the track and return what must be announced because of it.

    Raises:
        ValueError: The face belongs to another track, or its score is not finite.
    """
    if (screening.camera, screening.track_id) != (state.last.camera, state.last.track_id):
        raise ValueError(
            f"a face of track {screening.track_id} of {screening.camera} was given to track {state.last.track_id} of"
            f" {state.last.camera}"
        )
    counted = _count(state, screening)
    severity = _severity(counted)
    if severity is None or (state.announced is not None and _RANK[severity] <= _RANK[state.announced]):
        return counted, ()
    announced = replace(counted, announced=severity)
    return announced, _announce(announced, "new" if state.announced is None else "update")


def finish(state: TrackState) -> tuple[Verdict, tuple[Announcement, ...]]:
    """Return the verdict on a track that ended, and the `end` of its alert if one was announced."""
    label, reason = label_of(state)
    verdict = Verdict(
        camera=state.last.camera,
        track_id=state.last.track_id,
        label=label,
        reason=reason,
        alert_id=state.alert_id if label == "triggered" else None,
        start_time_s=state.start_time_s,
        end_time_s=state.last.frame_time_s,
        top=state.top,
        faces_seen=state.faces_seen,
        faces_usable=state.faces_usable,
        statistic=state.statistic,
        p_value=_supported_p_value(state),
        threshold=None if state.reference is None else state.reference.threshold,
        reference=state.reference,
    )
    return verdict, _announce(state, "end")


def label_of(state: TrackState) -> tuple[Label, Reason | None]:
    """Return what a track would be if it ended now, and why where that is `unsure`."""
    if state.statistic is None:
        return "unsure", "quality"
    if state.reference is None:
        return "unsure", "calibration"
    return ("clean" if state.announced is None else "triggered"), None


def _reference(
    level: CalibrationLevel, ordered_clean: Sequence[float], asked_rate: float, missing: int
) -> Reference | None:
    if not ordered_clean:
        return None
    rate = attainable_rate(asked_rate, tracks=len(ordered_clean))
    limit = threshold(ordered_clean, rate)
    if limit is None:
        return None
    return Reference(level, tuple(ordered_clean), rate, asked_rate, missing, limit)


def _count(state: TrackState, screening: Screening) -> TrackState:
    usable = screening.quality is Quality.USABLE
    newest = (screening.score,) if usable and len(state.scores) < state.rule.last_face else ()
    scores = state.scores + newest
    return replace(
        state,
        last=screening,
        top=max(state.top, screening, key=lambda face: (face.quality is Quality.USABLE, face.score)),
        scores=scores,
        faces_seen=state.faces_seen + 1,
        faces_usable=state.faces_usable + usable,
        statistic=next_statistic(state.statistic, scores, state.rule) if newest else state.statistic,
    )


def _severity(state: TrackState) -> Severity | None:
    if state.reference is None or state.statistic is None or state.statistic < state.reference.threshold:
        return None
    return severity_of(_supported_p_value(state), state.reference.asked_rate)


def _supported_p_value(state: TrackState) -> float | None:
    """Return the p-value, or None where it sits at its floor and that floor lies above the asked rate."""
    reference = state.reference
    if reference is None or state.statistic is None:
        return None
    p = p_value(state.statistic, reference.ordered_clean)
    floor = 1 / (len(reference.ordered_clean) + 1)
    return None if p <= floor and floor > reference.asked_rate else p


def _announce(state: TrackState, kind: AnnouncementType) -> tuple[Announcement, ...]:
    if state.announced is None or state.reference is None or state.statistic is None:
        return ()
    announcement = Announcement(
        type=kind,
        alert_id=state.alert_id,
        severity=state.announced,
        face=state.last,
        top=state.top,
        start_time_s=state.start_time_s,
        end_time_s=state.last.frame_time_s if kind == "end" else None,
        faces_seen=state.faces_seen,
        faces_usable=state.faces_usable,
        statistic=state.statistic,
        p_value=_supported_p_value(state),
        threshold=state.reference.threshold,
        reference=state.reference,
    )
    return (announcement,)
