"""The arithmetic from a track's scores to its p-value, which calibration and screening share."""

import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from gateway.contract.calibration import (
    LEAST_RATE,
    TrackRule,
    aggregate,
    attainable_rate,
    next_statistic,
    p_value,
    running_statistic,
    threshold,
    tracks_needed,
)

# Quarters, so that ties are common: a tie must count against the new track.
SCORES = st.integers(-40, 40).map(lambda quarter: quarter / 4) | st.floats(-1e6, 1e6)
RATES = (
    st.floats(1e-4, 0.999)
    | st.integers(2, 20_000).map(lambda n: 1 / n)
    | st.integers(1, 999).map(lambda thousandth: thousandth / 1000)
)
RULES = st.builds(
    lambda first, more, trim: TrackRule(first, first + more, trim),
    st.integers(1, 5),
    st.integers(0, 12),
    st.sampled_from([0.0, 0.125, 0.25, 0.49]),
)
NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(("first", "last"), [(0, 16), (4, 3), (1, 257)])
def test_rule_when_its_faces_are_out_of_range(first: int, last: int) -> None:
    """A rule that could never decide, or only after minutes, is refused."""
    with pytest.raises(ValueError, match="first_face"):
        TrackRule(first_face=first, last_face=last)


@pytest.mark.parametrize("trim", [-0.1, 0.5, math.nan])
def test_rule_when_its_trim_leaves_nothing(trim: float) -> None:
    """At least one score must be left between the two trimmed ends."""
    with pytest.raises(ValueError, match="trim"):
        TrackRule(trim=trim)


def test_aggregate_when_trimmed() -> None:
    """An eighth of sixteen scores goes at either end, so two outliers a side do not count."""
    scores = [-1e6, -1e6, *[2.0] * 6, *[4.0] * 6, 1e6, 1e6]
    assert aggregate(scores, trim=0.125) == 3.0


@given(st.lists(SCORES, min_size=1, max_size=40), st.sampled_from([0.0, 0.1, 0.125, 0.3, 0.49]))
def test_aggregate_when_compared_with_scipy(scores: list[float], trim: float) -> None:
    """It is the trimmed mean that the literature knows."""
    assert aggregate(scores, trim=trim) == pytest.approx(float(trim_mean(scores, trim)), rel=1e-9, abs=1e-6)


@given(st.lists(SCORES, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_aggregate_when_the_order_changes(scores: list[float], random: Random) -> None:
    """Not a bit of it depends on the order of the scores, so incremental and whole sums cannot disagree."""
    shuffled = sorted(scores, key=lambda _: random.random())
    assert aggregate(shuffled, trim=0.125) == aggregate(scores, trim=0.125)


def test_aggregate_when_there_are_no_scores() -> None:
    """Nothing has no mean."""
    with pytest.raises(ValueError, match="no aggregate"):
        aggregate([], trim=0.1)


@pytest.mark.parametrize("broken", NOT_FINITE)
def test_everything_when_a_number_is_not_finite(broken: float) -> None:
    """NaN would sort anywhere and end as a quiet `clean`; it is refused wherever it enters."""
    rule = TrackRule(1, 3, 0.0)
    with pytest.raises(ValueError, match="finite"):
        aggregate([0.0, broken], trim=0.0)
    with pytest.raises(ValueError, match="finite"):
        running_statistic([0.0, broken], rule)
    with pytest.raises(ValueError, match="finite"):
        next_statistic(0.0, [0.0, broken], rule)
    with pytest.raises(ValueError, match="finite"):
        p_value(broken, [0.0, 1.0])


def test_running_statistic_when_there_are_too_few_faces() -> None:
    """Before the third usable face nothing is said."""
    rule = TrackRule(first_face=3, last_face=16)
    assert running_statistic([], rule) is None
    assert running_statistic([9.0, 9.0], rule) is None
    assert running_statistic([9.0, 9.0, 9.0], rule) == 9.0


def test_running_statistic_when_the_scores_fall_again() -> None:
    """The largest mean reached so far stays: it is what an alert already looked at."""
    rule = TrackRule(first_face=2, last_face=16, trim=0.0)
    assert running_statistic([4.0, 6.0, -8.0, -8.0], rule) == 5.0


def test_running_statistic_when_the_track_is_long() -> None:
    """Faces after the last one that counts change nothing, not even broken ones."""
    rule = TrackRule(first_face=1, last_face=2, trim=0.0)
    assert running_statistic([1.0, 2.0, 100.0, math.nan], rule) == 1.5


@given(st.lists(SCORES, max_size=24), RULES)
def test_running_statistic_when_taken_face_by_face(scores: list[float], rule: TrackRule) -> None:
    """Screening, which sees one face at a time, and calibration, which sees the whole track, agree bit for bit."""
    stepwise: float | None = None
    for seen in range(1, len(scores) + 1):
        following = next_statistic(stepwise, scores[:seen], rule)
        assert stepwise is None or (following is not None and following >= stepwise)
        stepwise = following
        assert stepwise == running_statistic(scores[:seen], rule) == by_definition(scores[:seen], rule)


def by_definition(scores: Sequence[float], rule: TrackRule) -> float | None:
    """Return the statistic as decision 0003 words it."""
    counted = scores[: rule.last_face]
    ends = range(rule.first_face, len(counted) + 1)
    return max((aggregate(counted[:end], trim=rule.trim) for end in ends), default=None)


@pytest.mark.parametrize(
    ("statistic", "expected"), [(5.0, 1 / 5), (4.0, 2 / 5), (3.5, 2 / 5), (2.0, 4 / 5), (1.0, 1.0), (-1.0, 1.0)]
)
def test_p_value_when_counted_by_hand(statistic: float, expected: float) -> None:
    """It counts the clean tracks that are at least as suspicious, the new one included."""
    assert p_value(statistic, [1.0, 2.0, 2.0, 4.0]) == expected


def test_p_value_when_there_are_no_clean_tracks() -> None:
    """Without clean tracks nothing is unusual."""
    assert p_value(1e9, []) == 1.0


@given(SCORES, st.lists(SCORES, max_size=60).map(sorted))
def test_p_value_stays_within_its_range(statistic: float, clean: list[float]) -> None:
    """It is never 0 and never below what n tracks support."""
    assert 1 / (len(clean) + 1) <= p_value(statistic, clean) <= 1.0


@given(st.lists(SCORES, max_size=60).map(sorted), RATES, SCORES)
def test_threshold_when_compared_with_the_p_value(clean: list[float], rate: float, statistic: float) -> None:
    """`s ≥ threshold` and `p(s) ≤ rate` say the same of every statistic, ties and the threshold itself included."""
    limit = threshold(clean, rate)
    assert (limit is None) == (1 / (len(clean) + 1) > rate)
    around = [] if limit is None else [limit, math.nextafter(limit, -math.inf)]
    for candidate in [statistic, *clean, *around]:
        assert (p_value(candidate, clean) <= rate) == (limit is not None and candidate >= limit)


@given(RATES)
def test_tracks_needed_is_the_least_number(rate: float) -> None:
    """With that many clean tracks a threshold exists, with one fewer it does not."""
    needed = tracks_needed(rate)
    assert needed >= 1
    assert 1 / (needed + 1) <= rate
    assert needed == 1 or 1 / needed > rate


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.5, 1), (0.1, 9), (0.01, 99), (0.001, 999), (0.0001, 9_999), (LEAST_RATE, 10**9 - 1)]
)
def test_tracks_needed_when_the_budget_is_one_a_day(rate: float, expected: int) -> None:
    """At one false alert a day, a day of clean tracks is what the promise needs."""
    assert tracks_needed(rate) == expected


@pytest.mark.parametrize(("tracks", "expected"), [(0, 1.0), (49, 0.02), (99, 0.01), (5_000, 0.01)])
def test_attainable_rate_when_tracks_are_few(tracks: int, expected: float) -> None:
    """Few tracks promise less, many never more than was asked for."""
    assert attainable_rate(0.01, tracks=tracks) == expected


@given(RATES, st.integers(1, 500))
def test_attainable_rate_always_has_a_threshold(rate: float, tracks: int) -> None:
    """What is called attainable can be decided with."""
    clean = [float(number) for number in range(tracks)]
    assert threshold(clean, attainable_rate(rate, tracks=tracks)) is not None


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1e-10, math.nan])
def test_rate_when_it_is_no_rate(rate: float) -> None:
    """A rate of nought, of one, or NaN is a mistake of the caller."""
    for asked in (tracks_needed, lambda value: threshold([1.0], value), lambda value: attainable_rate(value, tracks=9)):
        with pytest.raises(ValueError, match="false-alarm rate"):
            asked(rate)
