"""Measures of a detector over scores; higher scores are more suspicious."""

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
