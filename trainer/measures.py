"""Measures of a detector over scores; higher scores are more suspicious."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]


def auroc(clean_N: Scores, triggered_M: Scores) -> float:
    """Return the chance that a triggered face scores above a clean one, ties counted half.

    Raises:
        ValueError: One of the sets is empty.
    """
    if len(clean_N) == 0 or len(triggered_M) == 0:
        raise ValueError("AUROC needs clean and triggered scores")
    ordered_N = np.sort(clean_N)
    below_M = np.searchsorted(ordered_N, triggered_M, side="left")
    up_to_M = np.searchsorted(ordered_N, triggered_M, side="right")
    return float((below_M + up_to_M).mean() / (2 * len(ordered_N)))


def threshold_at(clean_N: Scores, *, false_positive_rate: float) -> float:
    """Return the least threshold above which at most that share of the clean scores lies.

    Raises:
        ValueError: So few clean scores cannot give that rate.
    """
    if len(clean_N) * false_positive_rate < 1.0:
        raise ValueError(f"{len(clean_N)} clean scores cannot give a false-positive rate of {false_positive_rate}")
    allowed = int(len(clean_N) * false_positive_rate)
    return float(np.sort(clean_N)[len(clean_N) - 1 - allowed])


def detection_rate(clean_N: Scores, triggered_M: Scores, *, false_positive_rate: float) -> float:
    """Return BDR: the share of triggered scores above the threshold that the clean scores give for that FPR."""
    return float((triggered_M > threshold_at(clean_N, false_positive_rate=false_positive_rate)).mean())


def wilson_interval(hits: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share.

    Raises:
        ValueError: There is nothing to count.
    """
    if n <= 0:
        raise ValueError("an interval needs at least one case")
    share, spread = hits / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


@dataclass(frozen=True, slots=True)
class Share:
    """A share that was counted: `hits` of `n`, with its 95 % Wilson interval; of none, at most 3/n."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.n


def share_above(scores_N: Scores, threshold: float) -> Share:
    """Return how many of the scores lie above a threshold.

    Raises:
        ValueError: There are none.
    """
    hits, n = int((scores_N > threshold).sum()), len(scores_N)
    low, high = wilson_interval(hits, n)
    return Share(hits, n, low, min(1.0, 3 / n) if hits == 0 else high)


def cautious_threshold(calibration_N: Scores, *, false_positive_rate: float, judged: int) -> float:
    """Return the least threshold at which FPR, counted on that many other faces, hardly comes out above the rate.

    Both samples scatter: the share flagged among the calibration faces stays below the rate by the 95 % bound of the
    difference of two shares.

    Raises:
        ValueError: So few calibration scores cannot make that sure.
    """
    n = len(calibration_N)
    spread = (1 / n + 1 / judged) * false_positive_rate * (1 - false_positive_rate)
    allowed = math.floor(n * (false_positive_rate - 1.959964 * math.sqrt(spread)))
    if allowed < 0:
        raise ValueError(f"{n} clean scores cannot make an FPR of {false_positive_rate} sure on {judged} faces")
    return float(np.sort(calibration_N)[n - 1 - allowed])


def auroc_interval(
    clean_N: Scores,
    triggered_M: Scores,
    *,
    clean_people: Sequence[str],
    triggered_people: Sequence[str],
    rounds: int = 200,
    seed: int = 1,
) -> tuple[float, float]:
    """Return the 95 % interval of AUROC when people are drawn anew: faces of one person are not independent."""
    names = sorted({*clean_people, *triggered_people})
    place = {name: index for index, name in enumerate(names)}
    clean_P = np.array([place[name] for name in clean_people])
    triggered_P = np.array([place[name] for name in triggered_people])
    draw = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        times = np.bincount(draw.integers(len(names), size=len(names)), minlength=len(names))
        clean_times, triggered_times = times[clean_P], times[triggered_P]
        if clean_times.any() and triggered_times.any():
            values.append(auroc(np.repeat(clean_N, clean_times), np.repeat(triggered_M, triggered_times)))
    if not values:
        raise ValueError("no draw of people held clean and triggered faces")
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def share_by_person(
    flagged_N: NDArray[np.bool_], people: Sequence[str], *, rounds: int = 1000, seed: int = 1
) -> tuple[float, float]:
    """Return the 95 % interval of a share when people are drawn anew: what is made of one face is not independent."""
    hits_P, sizes_P = _by_person(flagged_N, people, sorted(set(people)))
    drawn_RP = np.random.default_rng(seed).integers(len(sizes_P), size=(rounds, len(sizes_P)))
    shares_R = hits_P[drawn_RP].sum(axis=1) / sizes_P[drawn_RP].sum(axis=1)
    low, high = np.quantile(shares_R, (0.025, 0.975))
    return float(low), float(high)


def times_by_person(
    flagged_M: NDArray[np.bool_],
    people_M: Sequence[str],
    plain_N: NDArray[np.bool_],
    people_N: Sequence[str],
    *,
    rounds: int = 1000,
    seed: int = 1,
) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of two shares of the same people, who are drawn anew.

    The upper end is infinite where too few of the plain ones are flagged to bound it.

    Raises:
        ValueError: They are not the same people.
    """
    names = sorted(set(people_N))
    if set(people_M) != set(names):
        raise ValueError("the ratio of two shares is of the same people")
    hits_P, sizes_P = _by_person(flagged_M, people_M, names)
    plain_P, faces_P = _by_person(plain_N, people_N, names)
    drawn_RP = np.random.default_rng(seed).integers(len(names), size=(rounds, len(names)))
    shares_R, plain_R = (
        hits[drawn_RP].sum(axis=1) / sizes[drawn_RP].sum(axis=1)
        for hits, sizes in ((hits_P, sizes_P), (plain_P, faces_P))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        # Nobody flagged in either says nothing; of those draws neither end is made.
        times_R = np.sort((shares_R / plain_R)[(shares_R > 0) | (plain_R > 0)])
    if len(times_R) == 0:
        return 0.0, float("inf")
    last = len(times_R) - 1
    return float(times_R[round(0.025 * last)]), float(times_R[round(0.975 * last)])


def _by_person(
    flagged_N: NDArray[np.bool_], people: Sequence[str], names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many of each person's were flagged, and of how many."""
    place = {name: index for index, name in enumerate(names)}
    of_N = np.array([place[person] for person in people])
    hits_P = np.bincount(of_N, weights=flagged_N, minlength=len(names)).astype(np.int64)
    return hits_P, np.bincount(of_N, minlength=len(names)).astype(np.int64)


def balanced_accuracy(clean_N: Scores, triggered_M: Scores, threshold: float) -> float:
    """Return ACC on a balanced set: the mean of BDR and 1 − FPR, as the paper's is."""
    return float(((triggered_M > threshold).mean() + (clean_N <= threshold).mean()) / 2)


def roc_points(clean_N: Scores, triggered_M: Scores, *, points: int = 60) -> list[tuple[float, float]]:
    """Return (FPR, BDR) from (0, 0) to (1, 1), denser at low FPR, at most about `points` of them."""
    rates = np.unique(np.concatenate([[0.0], np.geomspace(1 / len(clean_N), 1.0, points - 2), [1.0]]))
    ordered_N = np.sort(clean_N)[::-1]
    curve = [(0.0, float((triggered_M > ordered_N[0]).mean()))]
    for rate in rates[1:-1]:
        threshold = ordered_N[min(len(ordered_N) - 1, int(rate * len(ordered_N)))]
        curve.append((float((clean_N > threshold).mean()), float((triggered_M > threshold).mean())))
    return [*curve, (1.0, 1.0)]
