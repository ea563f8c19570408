"""The measures, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainer.measures import auroc, detection_rate, threshold_at, wilson_interval


@pytest.mark.parametrize("seed", range(5))
def test_auroc_agrees_with_scikit_learn(seed: int) -> None:
    """Ties included: scores are rounded so that many coincide."""
    draw = np.random.default_rng(seed)
    clean_N, triggered_M = (np.round(draw.normal(mean, 1, size), 1) for mean, size in ((0, 80), (0.7, 50)))
    expected = roc_auc_score(np.r_[np.zeros(80), np.ones(50)], np.r_[clean_N, triggered_M])
    assert auroc(clean_N.astype(np.float32), triggered_M.astype(np.float32)) == pytest.approx(expected)


def test_threshold_flags_no_more_than_asked() -> None:
    """Of 100 clean scores, 5 lie above the threshold for 5 %, ties never more."""
    clean_N = np.arange(100, dtype=np.float32)
    assert (clean_N > threshold_at(clean_N, false_positive_rate=0.05)).sum() == 5
    tied_N = np.repeat(clean_N[:10], 10)
    assert (tied_N > threshold_at(tied_N, false_positive_rate=0.05)).sum() <= 5
    with pytest.raises(ValueError, match="cannot give"):
        threshold_at(clean_N[:50], false_positive_rate=0.01)


def test_detection_rate_counts_above_the_clean_threshold() -> None:
    """BDR is stated at an FPR: here 94.5 is what 5 % of the clean scores exceed."""
    clean_N = np.arange(100, dtype=np.float32)
    assert detection_rate(clean_N, np.array([50, 96, 200, 94], np.float32), false_positive_rate=0.05) == 0.5


def test_auroc_and_interval_need_cases() -> None:
    """Nothing counted is nothing known."""
    empty_N = np.empty(0, np.float32)
    with pytest.raises(ValueError, match="AUROC needs"):
        auroc(empty_N, np.ones(1, np.float32))
    with pytest.raises(ValueError, match="at least one"):
        wilson_interval(0, 0)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(0, 100, 0.0, 0.0370), (5, 10, 0.2366, 0.7634), (100, 100, 0.9630, 1.0)]
)
def test_wilson_interval_by_hand(hits: int, n: int, low: float, high: float) -> None:
    """Known values of the 95 % interval."""
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=1e-4)
