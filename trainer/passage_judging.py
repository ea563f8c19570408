"""From the gateway's verdicts on whole passages to numbers: false alarms, detection, by regime and trigger.

Everything is counted by passage. One that the tracker cut in pieces is flagged where one of them is. One that the
gateway lost, or called `unsure`, is a miss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gateway.contract.calibration import attainable_rate, threshold
from gateway.contract.messages import Verdict
from trainer.measures import auroc, wilson_interval

Way = Literal["clean", "digital", "camera"]
"""Clean, or a trigger after decoding (regime D), or before the lens and the codec (regime C)."""

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """One passage and what the gateway said: `flagged` by its camera's calibration, `score` the highest statistic.

    `score` is None where no track of it had enough usable faces; `seen` is False where it had no track at all.
    """

    camera: str
    way: Way
    trigger: str | None
    person: str
    flagged: bool
    score: float | None
    seen: bool
    level: str | None

    @property
    def unsure(self) -> bool:
        """Whether the gateway saw it and could not judge it."""
        return self.seen and self.score is None


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage before it is judged."""

    camera: str
    way: Way
    trigger: str | None
    person: str


def judged(passage: Passage, verdicts: Sequence[Verdict]) -> Judged:
    """Return the passage with what was said of its tracks."""
    scores = [verdict.data.score for verdict in verdicts if verdict.data.score is not None]
    return Judged(
        camera=passage.camera,
        way=passage.way,
        trigger=passage.trigger,
        person=passage.person,
        flagged=any(verdict.data.verdict == "triggered" for verdict in verdicts),
        score=max(scores, default=None),
        seen=bool(verdicts),
        level=next((verdict.data.calibration for verdict in verdicts), None),
    )


def share(hits: int, n: int) -> dict[str, Any]:
    """Return a share that was counted, with its 95 % interval."""
    if n == 0:
        return {"hits": 0, "n": 0, "value": None, "low": None, "high": None}
    low, high = wilson_interval(hits, n)
    high = min(1.0, 3 / n) if hits == 0 else high
    return {
        "hits": hits, "n": n, "value": round(hits / n, DIGITS), "low": round(low, DIGITS), "high": round(high, DIGITS),
    }  # fmt: skip


def summarise(
    passages: Sequence[Judged], *, asked_rate: float, factory: Sequence[float], families: Mapping[str, str]
) -> dict[str, Any]:
    """Return every number of a set of judged passages, ready for JSON.

    `factory` are the bundle's own track statistics, ascending, which decide before a camera has its own; `families`
    names the family of each trigger.
    """
    limit = threshold(factory, attainable_rate(asked_rate, tracks=len(factory)))
    clean = [each for each in passages if each.way == "clean"]
    return {
        "asked_rate": asked_rate,
        "calibrated": _false_alarms(clean, asked_rate, None),
        "uncalibrated": _false_alarms(clean, asked_rate, limit),
        "by_camera": {
            camera: share(sum(each.flagged for each in mine), len(mine))
            for camera in sorted({each.camera for each in clean})
            if (mine := [each for each in clean if each.camera == camera])
        },
        "people": len({each.person for each in clean}),
        "unsure": sum(each.unsure for each in clean),
        "not_seen": sum(not each.seen for each in clean),
        "regimes": {
            way: _regime([each for each in passages if each.way == way], clean, limit, families)
            for way in ("digital", "camera")
            if any(each.way == way for each in passages)
        },
    }


def _false_alarms(clean: Sequence[Judged], asked_rate: float, limit: float | None) -> dict[str, Any]:
    found = share(sum(_flags(each, limit) for each in clean), len(clean))
    value = found["value"]
    return found | {"of_asked": None if value is None else round(value / asked_rate, 2)}


def _flags(passage: Judged, limit: float | None) -> bool:
    """Return whether it is flagged: by the gateway itself, or at a limit of the statistic."""
    if limit is None:
        return passage.flagged
    return passage.score is not None and passage.score >= limit


def _regime(
    triggered: Sequence[Judged], clean: Sequence[Judged], limit: float | None, families: Mapping[str, str]
) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    for name in sorted({each.trigger for each in triggered if each.trigger is not None}):
        mine = [each for each in triggered if each.trigger == name]
        rows[name] = {
            "family": families[name],
            "auroc": _auroc_within_cameras(clean, mine),
            "calibrated": share(sum(each.flagged for each in mine), len(mine)),
            "uncalibrated": share(sum(_flags(each, limit) for each in mine), len(mine)),
            "unsure": sum(each.unsure for each in mine),
            "not_seen": sum(not each.seen for each in mine),
        }
    shares = [row["calibrated"]["value"] for row in rows.values()]
    curves = [row["auroc"] for row in rows.values() if row["auroc"] is not None]
    return {
        "triggers": rows,
        "mean": round(float(np.mean(shares)), DIGITS),
        "worst": min(shares),
        "auroc_mean": round(float(np.mean(curves)), DIGITS) if curves else None,
        "auroc_worst": min(curves, default=None),
    }


def _auroc_within_cameras(clean: Sequence[Judged], triggered: Sequence[Judged]) -> float | None:
    """Return the mean over cameras of AUROC: a threshold is a camera's own, so cameras are not mixed.

    A passage without a statistic counts as the least suspicious of all.
    """
    values = []
    for camera in sorted({each.camera for each in triggered}):
        clean_N, triggered_M = (
            np.array(
                [-np.inf if each.score is None else each.score for each in part if each.camera == camera], np.float32
            )
            for part in (clean, triggered)
        )
        if len(clean_N) and len(triggered_M):
            values.append(auroc(clean_N, triggered_M))
    return round(float(np.mean(values)), DIGITS) if values else None
