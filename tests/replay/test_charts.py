"""Curves stand where the numbers say, inside their pictures."""

import itertools
import re
from dataclasses import replace

import pytest
from fakes.replays import make_pass, make_track
from hypothesis import given
from hypothesis import strategies as st

from gateway.replay.charts import Chart, Mark, histogram, look_of, nice_ticks, roc_chart, split_by_truth, timeline
from gateway.replay.metrics import Judged, measure


def marks(chart: Chart | None, classes: str) -> list[Mark]:
    """Return the marks of a chart whose classes begin so."""
    assert chart is not None
    return [mark for mark in chart.marks if mark.classes.startswith(classes)]


def starts(mark: Mark) -> list[tuple[float, float]]:
    """Return where the strokes of a mark begin, and every point of a line."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", mark.path)]


def metrics_of(clean: list[float], triggered: list[float], threshold: float = 2.0):
    """Return the metrics of tracks that a threshold judged."""
    tracks = [
        Judged("a", truth, "triggered" if score >= threshold else "clean", None, score)
        for truth, scores in ((False, clean), (True, triggered))
        for score in scores
    ]
    return measure(tracks)


def test_roc_runs_from_corner_to_corner() -> None:
    """It begins with nothing flagged, ends with all flagged, and never falls."""
    clean, triggered = [0.0, 1.0, 2.5], [1.5, 3.0, 4.0]
    chart = roc_chart(clean, triggered, metrics_of(clean, triggered))
    assert chart is not None
    (curve,) = marks(chart, "curve")
    points = starts(curve)
    assert points[0] == (chart.left, chart.bottom)
    assert points[-1] == (chart.right, chart.top)
    assert all(x1 <= x2 and y1 >= y2 for (x1, y1), (x2, y2) in itertools.pairwise(points))


def test_roc_shows_where_the_decision_stands() -> None:
    """The point is the realised FPR and BDR: here 1 of 3 and 2 of 3."""
    clean, triggered = [0.0, 1.0, 2.5], [1.5, 3.0, 4.0]
    (point,) = marks(roc_chart(clean, triggered, metrics_of(clean, triggered)), "decided")
    assert point.title == "as decided: FPR 33.3%, BDR 66.7%"


def test_no_roc_without_both_classes() -> None:
    """Half a curve is no curve."""
    assert roc_chart([], [1.0], metrics_of([], [1.0])) is None


def test_histogram_shows_every_group_beside_the_other() -> None:
    """Shares add up to one for each group, and no bar hides another."""
    chart = histogram([("clean", [0.0, 0.1, 1.0]), ("triggered", [1.0, 3.0])], 2.0)
    for look, total in (("clean", 1.0), ("triggered", 1.0)):
        shares = [float(mark.title.split(": ")[1].split("%")[0]) / 100 for mark in marks(chart, f"bar {look}")]
        assert sum(shares) == pytest.approx(total, abs=0.01)
    spans = sorted(
        tuple(float(number) for number in re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", mark.path)[0])
        for mark in marks(chart, "bar")
    )
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert chart is not None
    assert chart.legend == (("bar clean", "clean (3)"), ("bar triggered", "triggered (2)"), ("threshold", "threshold"))


def test_histogram_of_one_score_has_a_width() -> None:
    """All tracks alike is no division by zero."""
    assert marks(histogram([("clean", [1.0, 1.0])], None), "bar clean")
    assert histogram([("clean", [])], 2.0) is None


def test_timeline_shows_faces_tracks_and_threshold() -> None:
    """Dots for faces, a thick bar for a track that was called triggered, a broken line for the threshold."""
    passes = [
        make_pass("a.mp4", [0.0, None], is_triggered=False),
        make_pass("a.mp4", [3.0, 1.0], kind="injected", is_triggered=True),
    ]
    chart = timeline("a.mp4", passes)
    assert [mark.classes for mark in marks(chart, "dots")] == ["dots clean", "dots triggered"]
    assert [mark.classes for mark in marks(chart, "track")] == [
        "track clean said-clean",
        "track triggered said-triggered",
        "track triggered said-clean",
    ]
    assert len(marks(chart, "threshold")) == 1
    assert marks(chart, "track")[1].title == "track 1: triggered, score 3.00, 0.0 to 2.0 s"


def test_threshold_steps_where_it_moves() -> None:
    """The store grows while a recording runs: the line shows each track's own threshold."""
    done = make_pass("a.mp4", [0.0, 0.0])
    done.tracks[1] = replace(done.tracks[1], threshold=1.0)
    (line,) = marks(timeline("a.mp4", [done]), "threshold")
    heights = [y for _, y in starts(line)]
    assert len(set(heights)) == 2


def test_timeline_of_a_recording_without_faces_is_left_out() -> None:
    """There is nothing to draw."""
    assert timeline("a.mp4", [make_pass("a.mp4", [])]) is None


def test_timeline_of_one_face_has_a_width() -> None:
    """A single frame is drawn."""
    done = make_pass("a.mp4", [])
    done.trace.add(0.0, 1.0)
    assert marks(timeline("a.mp4", [done]), "dots unsure")


def test_long_recordings_are_thinned_to_their_peaks() -> None:
    """A page of many recordings stays a page."""
    done = make_pass("a.mp4", [])
    for index in range(2000):
        done.trace.add(index / 25, 9.0 if index == 1234 else 0.0)
    chart = timeline("a.mp4", [done])
    (dots,) = marks(chart, "dots")
    assert len(starts(dots)) <= 400
    assert min(y for _, y in starts(dots)) < 40


def test_colour_is_the_truth_or_else_the_verdict() -> None:
    """A missed trigger is drawn in the trigger's colour."""
    assert look_of(make_track(0.0, is_triggered=True)) == "triggered"
    assert look_of(make_track(3.0)) == "triggered"
    assert look_of(make_track(None)) == "unsure"
    groups = dict(split_by_truth([make_pass("a.mp4", [3.0, 0.0, None], is_triggered=False)]))
    assert groups == {"clean": [0.0, 3.0], "triggered": [], "unsure": []}


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_are_round_and_few(low: float, width: float, most: int) -> None:
    """Within the range, evenly spaced, never more than asked for."""
    ticks = nice_ticks(low, low + width, most=most)
    assert len(ticks) <= most
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.floats(-50, 50))
def test_everything_stays_inside_the_picture(scores: list[float], threshold: float) -> None:
    """Whatever the scores are."""
    chart = histogram([("clean", sorted(scores))], threshold)
    assert chart is not None
    for mark in chart.marks:
        for x, y in starts(mark):
            assert chart.left - 0.2 <= x <= chart.right + 0.2
            assert chart.top - 0.2 <= y <= chart.bottom + 0.2
