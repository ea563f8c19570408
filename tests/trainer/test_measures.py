"""The measures, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainer.measures import (
    auroc,
    auroc_interval,
    balanced_accuracy,
    cautious_threshold,
    detection_rate,
    roc_points,
    share_above,
    share_by_person,
    threshold_at,
    times_by_person,
    wilson_interval,
)


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


def test_share_of_none_is_at_most_three_in_n() -> None:
    """Nothing found among n is no proof of nothing: the upper end is 3/n."""
    scores_N = np.arange(300, dtype=np.float32)
    none, some = share_above(scores_N, 1000.0), share_above(scores_N, 149.5)
    assert (none.hits, none.value, none.high) == (0, 0.0, 0.01)
    assert (some.hits, some.value) == (150, 0.5)
    assert some.low < 0.5 < some.high


def test_cautious_threshold_keeps_the_rate_on_faces_that_were_not_counted() -> None:
    """Of 400 draws of calibration and judged faces, hardly any count more than what was promised."""
    draw = np.random.default_rng(1)
    over = 0
    for _ in range(400):
        calibration_N, judged_N = (draw.normal(size=size).astype(np.float32) for size in (400, 300))
        threshold = cautious_threshold(calibration_N, false_positive_rate=0.16, judged=300)
        over += (judged_N > threshold).mean() > 0.16
    assert over <= 24
    with pytest.raises(ValueError, match="cannot make"):
        cautious_threshold(calibration_N[:10], false_positive_rate=0.01, judged=300)


def test_interval_of_auroc_is_wider_where_faces_hang_together() -> None:
    """Twenty people with ten like faces each say less than two hundred people."""
    draw = np.random.default_rng(1)
    of_person = draw.normal(size=20).astype(np.float32)
    clean_N = np.repeat(of_person, 10) + 0.05 * draw.normal(size=200).astype(np.float32)
    triggered_M = clean_N + np.float32(0.8)
    alone = [str(index) for index in range(200)]
    together = [str(index // 10) for index in range(200)]
    narrow, wide = (
        auroc_interval(clean_N, triggered_M, clean_people=people, triggered_people=people)
        for people in (alone, together)
    )
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])
    assert narrow[0] < auroc(clean_N, triggered_M) < narrow[1]


def test_roc_points_rise_and_agree_with_detection_rate() -> None:
    """The curve goes from nothing to everything and passes the BDR at an FPR."""
    draw = np.random.default_rng(1)
    clean_N, triggered_M = (draw.normal(mean, 1, 500).astype(np.float32) for mean in (0, 2))
    points = roc_points(clean_N, triggered_M)
    assert points == sorted(points)
    assert points[-1] == (1.0, 1.0)
    assert len(points) <= 62
    for rate, found in points[1:-1]:
        if rate * 500 >= 1:
            expected = detection_rate(clean_N, triggered_M, false_positive_rate=rate)
            assert found == pytest.approx(expected, abs=0.02)


def test_balanced_accuracy_is_the_mean_of_both_classes() -> None:
    """ACC as the paper counts it: as many clean as triggered."""
    clean_N, triggered_M = np.array([0, 0, 0, 9], np.float32), np.array([9, 9], np.float32)
    assert balanced_accuracy(clean_N, triggered_M, 5.0) == 0.875


def test_interval_by_person_is_wider_where_one_person_gives_all() -> None:
    """Twenty flagged faces of one person are one case; of twenty people they are twenty."""
    flagged = np.arange(200) < 20
    one = share_by_person(flagged, [f"p{index // 20}" for index in range(200)])
    many = share_by_person(flagged, [f"p{index}" for index in range(200)])
    assert one[0] == 0.0
    assert one[1] >= 0.3
    assert many[0] > 0.05
    assert many[1] < 0.15


def test_multiple_of_a_share_has_its_interval() -> None:
    """The same faces give one time without doubt; where plain ones are hardly flagged there is no upper end."""
    people = [f"p{index // 2}" for index in range(400)]
    flagged = np.arange(400) % 10 == 0
    assert times_by_person(flagged, people, flagged, people) == (1.0, 1.0)
    low, high = times_by_person(np.arange(400) % 5 == 0, people, flagged, people)
    assert low < 2.0 < high < 4.0
    assert times_by_person(flagged, people, np.arange(400) == 0, people)[1] == np.inf
    with pytest.raises(ValueError, match="same people"):
        times_by_person(flagged, people, flagged, ["x"] * 400)
