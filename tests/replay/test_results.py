"""What a replay remembers, and that it stays small."""

import numpy as np
import pytest
from fakes.replays import make_pass, make_result
from hypothesis import given
from hypothesis import strategies as st

from gateway.replay.results import Trace


def test_short_trace_keeps_every_score() -> None:
    """As long as there are few, all are there."""
    trace = Trace(points=8)
    for index in range(7):
        trace.add(index / 10, float(index))
    assert trace.points() == [(index / 10, float(index)) for index in range(7)]


@given(st.lists(st.floats(-10, 10), max_size=300))
def test_long_trace_keeps_the_peaks(scores: list[float]) -> None:
    """However long a recording is, its trace is bounded, in order, and the highest score is in it."""
    trace = Trace(points=16)
    for index, score in enumerate(scores):
        trace.add(float(index), score)
    points = trace.points()
    assert len(points) <= 16
    assert [time for time, _ in points] == sorted({time for time, _ in points})
    assert max((score for _, score in points), default=None) == max(scores, default=None)
    assert all(scores[int(time)] == score for time, score in points)


def test_trace_of_a_day_keeps_its_shape() -> None:
    """A peak of a second is still at its place after a day of faces."""
    trace = Trace()
    for index in range(200_000):
        trace.add(index / 2, 5.0 if 100_000 <= index < 100_002 else 0.0)
    (peak,) = [time for time, score in trace.points() if score == 5.0]
    assert peak == pytest.approx(50_000, abs=1)
    assert 1_000 <= len(trace.points()) <= 2_048
    assert np.all(np.diff([time for time, _ in trace.points()]) > 0)


def test_only_tracks_with_a_truth_are_judged() -> None:
    """A recording that no label speaks of stays out of the metrics."""
    result = make_result(
        make_pass("a.mp4", [0.0, None], is_triggered=False),
        make_pass("b.mp4", [1.0]),
        make_pass("a.mp4", [3.0], kind="injected", is_triggered=True),
    )
    assert [(each.recording, each.is_triggered, each.label) for each in result.judged] == [
        ("a", False, "clean"),
        ("a", False, "unsure"),
        ("a", True, "triggered"),
    ]


def test_each_failure_is_said_once() -> None:
    """Two passes over one broken file fail twice for one reason."""
    broken = [make_pass("a.mp4", []), make_pass("a.mp4", [], kind="injected"), make_pass("b.mp4", [])]
    for done in broken[:2]:
        done.summary.failure = "a.mp4: the file is empty"
        done.summary.refused.append("1.jpg: damaged")
    result = make_result(*broken)
    assert result.failures == ["a.mp4: the file is empty"]
    assert result.refused == ["1.jpg: damaged"]
