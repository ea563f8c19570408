"""From the scores of a track to a p-value: the same arithmetic for calibration and screening.

A track's statistic is the running maximum of an aggregate of its faces' scores, from the `first_face`-th usable face on
and capped at `last_face` faces. Calibrating the final aggregate but alerting at its first crossing would flag several
times what was asked for; the running maximum is what the alert really looks at (decision 0003).

Every function refuses numbers that are not finite: NaN compares false with everything, so it would sort anywhere and
turn a broken score into a quiet "clean".
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_RATE = 1e-9
"""The smallest false-alarm rate that can be asked for: one track in a billion is beyond any store."""


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
    """Return the mean of the scores without the `trim` share at either end; their order does not matter, bit for bit.

    Raises:
        ValueError: There are no scores, or one is not finite.
    """
    if not scores:
        raise ValueError("a track without scores has no aggregate")
    return _trimmed_mean(sorted(map(_finite, scores)), trim)


def next_statistic(previous: float | None, scores: Sequence[float], rule: TrackRule) -> float | None:
    """Return the statistic after the newest of `scores`; `previous` is the one before it.

    `scores` are all usable ones of the track in order: one aggregate a face, none beyond `last_face`.

    Raises:
        ValueError: A score is not finite.
    """
    if not rule.first_face <= len(scores) <= rule.last_face:
        return previous
    current = aggregate(scores, trim=rule.trim)
    return current if previous is None else max(previous, current)


def running_statistic(scores: Sequence[float], rule: TrackRule) -> float | None:
    """Return a track's statistic over its usable faces in order, or None before the `first_face`-th one.

    The same as `next_statistic` face by face, bit for bit.

    Raises:
        ValueError: A score that counts is not finite.
    """
    statistic: float | None = None
    ordered: list[float] = []
    for score in scores[: rule.last_face]:
        insort(ordered, _finite(score))
        if len(ordered) >= rule.first_face:
            current = _trimmed_mean(ordered, rule.trim)
            statistic = current if statistic is None else max(statistic, current)
    return statistic


def p_value(statistic: float, ordered_clean: Sequence[float]) -> float:
    """Return (1 + number of clean statistics ≥ `statistic`) / (n + 1); `ordered_clean` is ascending.

    Never below 1 / (n + 1): what the clean tracks cannot support is not promised.

    Raises:
        ValueError: The statistic is not finite.
    """
    n = len(ordered_clean)
    return (1 + n - bisect_left(ordered_clean, _finite(statistic))) / (n + 1)


def threshold(ordered_clean: Sequence[float], false_alarm_rate: float) -> float | None:
    """Return the least statistic whose p-value is ≤ `false_alarm_rate`, or None where the clean tracks are too few.

    So `p_value(s) <= false_alarm_rate` and `s >= threshold` say the same of every s. It lies one float above a clean
    statistic, because a tie counts against the new track.

    Raises:
        ValueError: The rate does not lie in [LEAST_RATE, 1).
    """
    _check_rate(false_alarm_rate)
    n = len(ordered_clean)
    # Which numerators pass is asked of the very comparison the p-value meets; the product alone may round across it.
    nearest = int(false_alarm_rate * (n + 1))
    passing = max(k for k in (0, nearest - 1, nearest, nearest + 1) if k / (n + 1) <= false_alarm_rate)
    return math.nextafter(ordered_clean[n - passing], math.inf) if passing >= 1 else None


def tracks_needed(false_alarm_rate: float) -> int:
    """Return the least number of clean tracks for which a p-value of `false_alarm_rate` exists.

    Raises:
        ValueError: The rate does not lie in [LEAST_RATE, 1).
    """
    _check_rate(false_alarm_rate)
    nearest = round(1.0 / false_alarm_rate)
    return next(n for n in (nearest - 1, nearest) if n >= 1 and 1 / (n + 1) <= false_alarm_rate)


def attainable_rate(asked_rate: float, *, tracks: int) -> float:
    """Return the smallest false-alarm rate ≥ `asked_rate` that `tracks` clean tracks support.

    Raises:
        ValueError: The rate does not lie in [LEAST_RATE, 1).
    """
    _check_rate(asked_rate)
    return max(asked_rate, 1 / (tracks + 1))


def _trimmed_mean(ordered: Sequence[float], trim: float) -> float:
    cut = int(trim * len(ordered))
    kept = ordered[cut : len(ordered) - cut]
    return math.fsum(kept) / len(kept)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"a score or statistic must be finite, not {number}")
    return float(number)


def _check_rate(rate: float) -> None:
    if not LEAST_RATE <= rate < 1.0:
        raise ValueError(f"a false-alarm rate lies in [{LEAST_RATE}, 1), not {rate}")
