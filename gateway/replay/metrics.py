"""How well tracks were judged, with what the numbers are worth.

The unit is the track: frames of one passage are not independent. `triggered` is the positive class.

- BDR is the share of triggered tracks that were called triggered. Tracks that were `unsure` count as missed.
- FPR is the share of clean tracks, among those that were judged, that were called triggered. Tracks that were `unsure`
  are left out: counting them as correct would make a camera that sees nothing look good.
- ACC (balanced) is the mean of BDR and 1 - FPR: the accuracy on a balanced set, as the paper counts it. ACC (plain) is
  the share of correct ones among the same tracks, in the mixture that was there.
- AUROC is the chance that a triggered track scores above a clean one; a tie counts half. It needs a score alone, so a
  track judged `unsure: calibration` takes part.

Intervals are for 95 %. Proportions: Wilson. Balanced ACC: the two Wilson intervals combined by Newcombe's MOVER.
AUROC: Newcombe's method 5 (Statistics in Medicine 25, 2006, 559-573), which inverts the Hanley-McNeil variance; DeLong
and the bootstrap give a width of zero where the classes separate, as if 10 tracks proved what 10,000 would.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from gateway.screening.decide import Label, Reason

Z_95 = 1.959963984540054
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Judged:
    """A finished track whose truth is known; `score` is its statistic, None where it had too few usable faces."""

    recording: str
    is_triggered: bool
    label: Label
    reason: Reason | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval over `n` tracks; all None where there are no tracks to tell."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def interval_in_words(self) -> str:
        """Return the interval in percent; where nothing was found among n, what n supports."""
        if self.value is None or self.low is None or self.high is None:
            return "no tracks"
        if self.value == 0.0:
            return f"0 of {self.n}: ≤ {min(1.0, 3 / self.n):.1%} (3/n)"
        return f"{self.low:.1%} to {self.high:.1%}"

    def in_words(self) -> str:
        """Return the value in percent with its interval."""
        if not self.value:
            return self.interval_in_words()
        return f"{self.value:.1%} ({self.interval_in_words()})"


NOTHING = Estimate(None, None, None, 0)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The numbers of one input, or of all."""

    clean: int
    triggered: int
    clean_flagged: int
    triggered_found: int
    clean_unsure: int
    triggered_unsure: int
    bdr: Estimate
    fpr: Estimate
    acc_balanced: Estimate
    acc_plain: Estimate
    auroc: Estimate


def measure(tracks: Iterable[Judged]) -> Metrics:
    """Return the numbers over these tracks."""
    everything = tuple(tracks)
    clean = [track for track in everything if not track.is_triggered]
    triggered = [track for track in everything if track.is_triggered]
    flagged, found = (sum(track.label == "triggered" for track in group) for group in (clean, triggered))
    clean_unsure, triggered_unsure = (sum(track.label == "unsure" for track in group) for group in (clean, triggered))
    judged = len(clean) - clean_unsure
    bdr, fpr = wilson(found, len(triggered)), wilson(flagged, judged)
    return Metrics(
        clean=len(clean),
        triggered=len(triggered),
        clean_flagged=flagged,
        triggered_found=found,
        clean_unsure=clean_unsure,
        triggered_unsure=triggered_unsure,
        bdr=bdr,
        fpr=fpr,
        acc_balanced=balanced(bdr, fpr),
        acc_plain=wilson(found + judged - flagged, len(triggered) + judged),
        auroc=auroc(scores_of(clean), scores_of(triggered)),
    )


def measure_by_recording(tracks: Iterable[Judged]) -> dict[str, Metrics]:
    """Return the numbers of each recording, by name."""
    ordered = sorted(tracks, key=lambda track: track.recording)
    return {recording: measure(group) for recording, group in groupby(ordered, key=lambda track: track.recording)}


def scores_of(tracks: Iterable[Judged]) -> list[float]:
    """Return the scores of the tracks that have one, ascending."""
    return sorted(track.score for track in tracks if track.score is not None)


def wilson(successes: int, n: int) -> Estimate:
    """Return a proportion with its Wilson score interval."""
    if n == 0:
        return NOTHING
    share, squared = successes / n, Z_95**2
    centre = (share + squared / (2 * n)) / (1 + squared / n)
    half = Z_95 / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(share, low, high, n)


def balanced(bdr: Estimate, fpr: Estimate) -> Estimate:
    """Return the mean of BDR and 1 - FPR, its interval combined from theirs (MOVER, for independent proportions)."""
    if bdr.value is None or bdr.low is None or bdr.high is None or fpr.value is None:
        return NOTHING
    if fpr.low is None or fpr.high is None:
        return NOTHING
    value = (bdr.value + 1 - fpr.value) / 2
    below = math.hypot(bdr.value - bdr.low, fpr.high - fpr.value) / 2
    above = math.hypot(bdr.high - bdr.value, fpr.value - fpr.low) / 2
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), bdr.n + fpr.n)


def auroc(clean: Sequence[float], triggered: Sequence[float]) -> Estimate:
    """Return the area under the ROC curve of two ascending score lists, with Newcombe's interval."""
    if not clean or not triggered:
        return NOTHING
    area = _area(clean, triggered)
    low = 0.0 if area == 0.0 else _root(lambda guess: guess + _spread(guess, len(clean), len(triggered)), area)
    high = 1.0 if area == 1.0 else _root(lambda guess: guess - _spread(guess, len(clean), len(triggered)), area)
    return Estimate(area, low, high, len(clean) + len(triggered))


def _area(clean: Sequence[float], triggered: Sequence[float]) -> float:
    wins = below = equal = 0
    for score in triggered:
        while below < len(clean) and clean[below] < score:
            below += 1
        equal = max(equal, below)
        while equal < len(clean) and clean[equal] == score:
            equal += 1
        wins += below + equal  # twice the wins: those below count 2, ties 1
    return wins / (2 * len(clean) * len(triggered))


def _spread(area: float, clean: int, triggered: int) -> float:
    """Return 1.96 standard errors of an area, by Hanley and McNeil with both class sizes at their mean."""
    more = (clean + triggered) / 2 - 1
    variance = area * (1 - area) * (1 + more * ((1 - area) / (2 - area) + area / (1 + area)))
    return Z_95 * math.sqrt(max(0.0, variance) / (clean * triggered))


def _root(function: Callable[[float], float], target: float) -> float:
    """Return where a function first reaches the target within [0, 1], by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2


def roc(clean: Sequence[float], triggered: Sequence[float]) -> list[tuple[float, float]]:
    """Return the ROC curve of two score lists as (FPR, BDR) from (0, 0) to (1, 1), a point per distinct score."""
    if not clean or not triggered:
        return []
    labelled = sorted([(score, 0) for score in clean] + [(score, 1) for score in triggered], reverse=True)
    points, counts = [(0.0, 0.0)], [0, 0]
    for _, group in groupby(labelled, key=lambda pair: pair[0]):
        for _, kind in group:
            counts[kind] += 1
        points.append((counts[0] / len(clean), counts[1] / len(triggered)))
    return points
