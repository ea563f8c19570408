"""From the scores of a track to a p-value: the same arithmetic for calibration and screening.

A track's statistic is the running maximum of an aggregate of its faces' scores, from the `first_face`-th usable face on
and capped at `last_face` faces. Calibrating the final aggregate but alerting at its first crossing would flag several
times what was asked for; the running maximum is what the alert really looks at (decision 0003).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TrackRule:
    """How the scores of a track are aggregated; part of a bundle, because its calibration holds for this rule alone."""

    first_face: int = 3
    last_face: int = 16
    trim: float = 0.125

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.first_face <= self.last_face <= 256:
            raise ValueError(f"1 ≤ first_face ≤ last_face ≤ 256 is needed, not {self.first_face}, {self.last_face}")
        if not 0.0 <= self.trim < 0.5:
            raise ValueError(f"trim must lie in [0, 0.5), not {self.trim}")


def aggregate(scores: Sequence[float], *, trim: float) -> float:
    """Return the mean of the scores without the `trim` share at either end.

    Raises:
        ValueError: There are no scores.
    """
    if not scores:
        raise ValueError("a track without scores has no aggregate")
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    cut = int(trim * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())


def running_statistic(scores: Sequence[float], rule: TrackRule) -> float | None:
    """Return a track's statistic over its usable faces in order, or None before the `first_face`-th one."""
    counted = scores[: rule.last_face]
    if len(counted) < rule.first_face:
        return None
    ends = range(rule.first_face, len(counted) + 1)
    return max(aggregate(counted[:end], trim=rule.trim) for end in ends)


def p_value(statistic: float, ordered_clean: Sequence[float]) -> float:
    """Return (1 + number of clean statistics ≥ `statistic`) / (n + 1); `ordered_clean` is ascending.

    Never below 1 / (n + 1): what the clean tracks cannot support is not promised.
    """
    n = len(ordered_clean)
    return (1 + n - bisect_left(ordered_clean, statistic)) / (n + 1)


def tracks_needed(false_alarm_rate: float) -> int:
    """Return the least number of clean tracks for which a p-value of `false_alarm_rate` exists.

    Raises:
        ValueError: The rate does not lie in (0, 1).
    """
    if not 0.0 < false_alarm_rate < 1.0:
        raise ValueError(f"a false-alarm rate lies in (0, 1), not {false_alarm_rate}")
    return int(np.ceil(1.0 / false_alarm_rate - 1e-9)) - 1
