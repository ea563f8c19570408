"""The numbers agree with scikit-learn and with tables worked by hand."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score, roc_curve

from gateway.replay.metrics import (
    NOTHING,
    Judged,
    auroc,
    balanced,
    measure,
    measure_by_recording,
    roc,
    scores_of,
    wilson,
)
from gateway.screening.decide import Label


def judged(is_triggered: bool, label: Label, score: float | None = 0.0, recording: str = "gate") -> Judged:
    """Return a track of which only this matters."""
    reason = "quality" if label == "unsure" else None
    return Judged(recording, is_triggered, label, reason, score)


# Brown, Cai and DasGupta (2001) and any textbook: Wilson intervals to four digits.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (1, 10, 0.0179, 0.4042),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
        (0, 500, 0.0, 0.0076),
    ],
)
def test_wilson_matches_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    """The interval is Wilson's without continuity correction."""
    estimate = wilson(successes, n)
    assert estimate.value == successes / n
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


def test_no_tracks_give_no_number() -> None:
    """Nothing is not zero."""
    assert wilson(0, 0) == NOTHING
    assert measure([]).bdr == NOTHING
    assert auroc([], [1.0]) == NOTHING
    assert roc([1.0], []) == []
    assert NOTHING.in_words() == "no tracks"


@pytest.mark.parametrize(
    ("successes", "n", "words"),
    [
        (0, 40, "0 of 40: ≤ 7.5% (3/n)"),
        (0, 2, "0 of 2: ≤ 100.0% (3/n)"),
        (5, 10, "50.0% (23.7% to 76.3%)"),
        (3, 3, "100.0% (43.9% to 100.0%)"),
    ],
)
def test_words_say_what_n_supports(successes: int, n: int, words: str) -> None:
    """0 of n is never shown as certainty."""
    assert wilson(successes, n).in_words() == words


def test_hand_table() -> None:
    """10 triggered (6 found, 1 unsure) and 20 clean (2 flagged, 4 unsure), worked by hand."""
    tracks = (
        [judged(True, "triggered")] * 6
        + [judged(True, "clean")] * 3
        + [judged(True, "unsure", None)]
        + [judged(False, "clean")] * 14
        + [judged(False, "triggered")] * 2
        + [judged(False, "unsure", None)] * 4
    )
    metrics = measure(tracks)
    assert (metrics.triggered, metrics.triggered_found, metrics.triggered_unsure) == (10, 6, 1)
    assert (metrics.clean, metrics.clean_flagged, metrics.clean_unsure) == (20, 2, 4)
    assert (metrics.bdr.value, metrics.bdr.n) == (0.6, 10)
    assert (metrics.fpr.value, metrics.fpr.n) == (0.125, 16)
    assert metrics.acc_balanced.value == pytest.approx((0.6 + 0.875) / 2)
    assert (metrics.acc_plain.value, metrics.acc_plain.n) == (20 / 26, 26)


def test_numbers_match_scikit_learn() -> None:
    """Where every track is judged, ACC, balanced ACC and AUROC are scikit-learn's."""
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, 400).astype(bool)
    scores = np.round(random.normal(truth * 1.2, 1.0), 1)  # rounded: with ties
    called = scores > 0.8
    tracks = [
        judged(bool(t), "triggered" if c else "clean", float(s)) for t, c, s in zip(truth, called, scores, strict=True)
    ]
    metrics = measure(tracks)
    assert metrics.acc_plain.value == pytest.approx(accuracy_score(truth, called))
    assert metrics.acc_balanced.value == pytest.approx(balanced_accuracy_score(truth, called))
    assert metrics.auroc.value == pytest.approx(roc_auc_score(truth, scores))
    fpr, bdr, _ = roc_curve(truth, scores, drop_intermediate=False)
    ours = roc(scores_of(t for t in tracks if not t.is_triggered), scores_of(t for t in tracks if t.is_triggered))
    assert np.array(ours) == pytest.approx(np.column_stack([fpr, bdr]))


_SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@given(_SCORES, _SCORES)
def test_area_is_the_share_of_won_pairs(clean: Sequence[float], triggered: Sequence[float]) -> None:
    """Counted pair by pair, a tie as half; also the area below the curve."""
    wins = sum((t > c) + 0.5 * (t == c) for t in triggered for c in clean)
    estimate = auroc(sorted(clean), sorted(triggered))
    assert estimate.value == pytest.approx(wins / (len(clean) * len(triggered)))
    points = roc(sorted(clean), sorted(triggered))
    below = sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in itertools.pairwise(points))
    assert below == pytest.approx(estimate.value)


@given(_SCORES, _SCORES)
def test_interval_holds_the_area(clean: Sequence[float], triggered: Sequence[float]) -> None:
    """The interval lies within [0, 1], around the value, and is the same with the classes' roles turned round."""
    one, other = auroc(sorted(clean), sorted(triggered)), auroc(sorted(triggered), sorted(clean))
    assert one.low is not None
    assert one.high is not None
    assert one.value is not None
    assert 0.0 <= one.low <= one.value + 1e-9
    assert one.value - 1e-9 <= one.high <= 1.0
    assert other.low == pytest.approx(1.0 - one.high, abs=1e-6)


def test_separated_classes_prove_no_more_than_their_number() -> None:
    """10 against 10 without an overlap is no proof of an area of 1; 1000 against 1000 is nearly one."""
    few, many = (auroc([0.0] * n, [1.0] * n) for n in (10, 1000))
    assert few.value == many.value == 1.0
    assert few.low is not None
    assert many.low is not None
    assert 0.6 < few.low < 0.9
    assert 0.99 < many.low < 1.0


def test_auroc_interval_covers_the_truth() -> None:
    """About 95 of 100 intervals hold the true area, also for few tracks and areas near 1."""
    random = np.random.default_rng(5)
    for triggered, clean, shift in ((10, 10, 1.5), (15, 60, 2.5)):
        truth = 0.5 * (1 + math.erf(shift / 2))
        hits = 0
        for _ in range(300):
            estimate = auroc(
                sorted(random.normal(0, 1, clean).tolist()), sorted(random.normal(shift, 1, triggered).tolist())
            )
            assert estimate.low is not None
            assert estimate.high is not None
            hits += estimate.low <= truth <= estimate.high
        assert hits / 300 >= 0.93


def test_large_samples_agree_with_delong() -> None:
    """Where DeLong's interval can be trusted, ours is as wide, to a tenth."""
    random = np.random.default_rng(7)
    clean, triggered = np.sort(random.normal(0, 1, 800)), np.sort(random.normal(1, 1, 800))
    wins = (triggered[:, None] > clean[None, :]).astype(float)
    variance = wins.mean(axis=1).var(ddof=1) / 800 + wins.mean(axis=0).var(ddof=1) / 800
    estimate = auroc(clean.tolist(), triggered.tolist())
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.1)


def test_balanced_interval_narrows_with_both_classes() -> None:
    """It holds the value, and one small class keeps it wide."""
    wide, narrow = balanced(wilson(8, 10), wilson(10, 1000)), balanced(wilson(800, 1000), wilson(10, 1000))
    assert wide.value == narrow.value == pytest.approx(0.895)
    for estimate in (wide, narrow):
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < 0.895 < estimate.high
    assert wide.high is not None
    assert narrow.high is not None
    assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)
    assert balanced(NOTHING, wilson(1, 2)) == NOTHING
    assert balanced(wilson(1, 2), NOTHING) == NOTHING


def test_recordings_are_measured_apart() -> None:
    """Each recording has its own numbers, in the order of the names."""
    tracks = [
        judged(True, "triggered", recording="b"),
        judged(False, "clean", recording="a"),
        judged(True, "clean", recording="b"),
    ]
    by_recording = measure_by_recording(tracks)
    assert list(by_recording) == ["a", "b"]
    assert by_recording["b"].bdr.value == 0.5
    assert by_recording["a"].bdr == NOTHING
