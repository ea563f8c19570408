"""Curves as geometry: where every mark of a chart stands, in px of its picture. The template only draws.

All coordinates are rounded to a tenth of a px, so that the same result gives the same bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from gateway.replay.metrics import Metrics, roc
from gateway.replay.results import PassResult, TrackResult

Look = Literal["clean", "triggered", "unsure"]
_LOOKS: tuple[Look, ...] = ("clean", "triggered", "unsure")
_BINS = 24
_MOST_POINTS = 400
_MOST_RUG = 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 58.0, 12.0, 12.0, 40.0


@dataclass(frozen=True, slots=True)
class Mark:
    """One drawn thing: an SVG path, how it looks, and what it says when pointed at."""

    path: str
    classes: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart ready to be drawn; ticks are (px, text), `legend` pairs classes with words."""

    title: str
    description: str
    width: float
    height: float
    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...] = ()

    @property
    def left(self) -> float:
        """Left edge of the plot."""
        return _LEFT

    @property
    def right(self) -> float:
        """Right edge of the plot."""
        return self.width - _RIGHT

    @property
    def top(self) -> float:
        """Top edge of the plot."""
        return _TOP

    @property
    def bottom(self) -> float:
        """Bottom edge of the plot."""
        return self.height - _BOTTOM


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps a range of values to px."""

    low: float
    high: float
    start_px: float
    end_px: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start_px + share * (self.end_px - self.start_px), 1)


def roc_chart(clean: Sequence[float], triggered: Sequence[float], metrics: Metrics) -> Chart | None:
    """Return the ROC curve with the point where the calibrated decision stands; None where a class is missing."""
    points = roc(clean, triggered)
    if not points:
        return None
    x, y = _scales(480, 360, x=(0.0, 1.0), y=(0.0, 1.0))
    marks = [
        Mark(_line([(x(0), y(0)), (x(1), y(1))]), "guide"),
        Mark(_line([(x(fpr), y(bdr)) for fpr, bdr in points]), "curve"),
    ]
    if metrics.fpr.value is not None and metrics.bdr.value is not None:
        said = f"as decided: FPR {metrics.fpr.value:.1%}, BDR {metrics.bdr.value:.1%}"
        marks.append(Mark(_disc(x(metrics.fpr.value), y(metrics.bdr.value), 6), "decided", said))
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    return Chart(
        title="ROC",
        description="Share of triggered tracks found against share of clean tracks flagged, over all thresholds",
        width=480,
        height=360,
        x_label="FPR: clean tracks flagged",
        y_label="BDR: triggered tracks found",
        x_ticks=tuple((x(tick), f"{tick:.0%}") for tick in ticks),
        y_ticks=tuple((y(tick), f"{tick:.0%}") for tick in ticks),
        marks=tuple(marks),
        legend=(("curve", "all thresholds"), ("decided", "as decided"), ("guide", "by chance")),
    )


def histogram(groups: Sequence[tuple[Look, Sequence[float]]], threshold: float | None) -> Chart | None:
    """Return how the scores of each group of tracks are spread, as shares of the group; None without scores."""
    scores = [score for _, group in groups for score in group]
    if not scores:
        return None
    limits = [] if threshold is None else [threshold]
    low, high = _padded(min([*scores, *limits]), max([*scores, *limits]))
    shares = {look: _binned(group, low, high) for look, group in groups if group}
    top = max(max(bins) for bins in shares.values())
    x, y = _scales(480, 360, x=(low, high), y=(-0.1 * top, top * 1.05))
    # Side by side within a bin: one group never hides the other.
    marks = [
        mark
        for slot, (look, bins) in enumerate(shares.items())
        for mark in _bars(look, bins, (x, y), slot=slot, of=len(shares))
    ]
    marks += [mark for look, group in groups for mark in _rug(look, group, x, y)]
    marks += [_threshold_mark(limit, x, y) for limit in limits]
    return Chart(
        title="Scores of the tracks",
        description="Share of each group's tracks per score; every tick below the axis is one track",
        width=480,
        height=360,
        x_label="track score: higher is more suspicious",
        y_label="share of the group",
        x_ticks=tuple((x(tick), _number(tick)) for tick in nice_ticks(low, high, most=7)),
        y_ticks=tuple((y(tick), f"{tick:.0%}") for tick in nice_ticks(0, top * 1.05, most=5)),
        marks=tuple(marks),
        legend=(
            *((f"bar {look}", f"{look} ({len(group)})") for look, group in groups if group),
            *(("threshold", "threshold") for _ in limits),
        ),
    )


def timeline(name: str, passes: Sequence[PassResult]) -> Chart | None:
    """Return the scores of one recording over time: faces as dots, tracks as bars, the threshold as a line."""
    tracks = [track for done in passes for track in done.tracks]
    points = [point for done in passes for point in done.trace.points()]
    if not points:
        return None
    values = [score for _, score in points] + [track.threshold for track in tracks if track.threshold is not None]
    low, high = _padded(min(values), max(values))
    end_s = max([time_s for time_s, _ in points] + [track.end_s for track in tracks] + [0.04])
    x, y = _scales(480, 220, x=(0.0, end_s), y=(low, high))
    marks = [_dots(done, x, y, paired=len(passes) > 1) for done in passes if done.trace.points()]
    marks += [mark for track in tracks for mark in _track_marks(track, x, y)]
    marks += _threshold_steps(passes, x, y)
    return Chart(
        title=name,
        description=f"Scores of {name} over time: a dot per face, a bar per track, a broken line for the threshold",
        width=480,
        height=220,
        x_label="seconds",
        y_label="score",
        x_ticks=tuple((x(tick), _number(tick)) for tick in nice_ticks(0, end_s, most=7)),
        y_ticks=tuple((y(tick), _number(tick)) for tick in nice_ticks(low, high, most=5)),
        marks=tuple(marks),
    )


def look_of(track: TrackResult) -> Look:
    """Return the colour of a track: its truth where that is known, else its verdict."""
    if track.is_triggered is None:
        return track.label
    return "triggered" if track.is_triggered else "clean"


def nice_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Return round values within a range, at most `most`, steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1.0, 2.0, 5.0, 10.0, 20.0) if step * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)][:most]


def split_by_truth(passes: Sequence[PassResult]) -> list[tuple[Look, list[float]]]:
    """Return the scores of the tracks by colour, ascending."""
    tracks = [track for done in passes for track in done.tracks if track.score is not None]
    return [
        (look, sorted(track.score for track in tracks if track.score is not None and look_of(track) == look))
        for look in _LOOKS
    ]


def _scales(width: float, height: float, *, x: tuple[float, float], y: tuple[float, float]) -> tuple[_Scale, _Scale]:
    return _Scale(*x, _LEFT, width - _RIGHT), _Scale(*y, height - _BOTTOM, _TOP)


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or max(0.5, abs(low) * 0.1)
    return low - margin, high + margin


def _binned(scores: Sequence[float], low: float, high: float) -> list[float]:
    bins = [0] * _BINS
    for score in scores:
        bins[min(_BINS - 1, int((score - low) / (high - low) * _BINS))] += 1
    return [count / len(scores) for count in bins]


def _bars(look: Look, bins: Sequence[float], scales: tuple[_Scale, _Scale], *, slot: int, of: int) -> list[Mark]:
    x, y = scales
    width = (x.high - x.low) / _BINS
    marks = []
    for index, share in enumerate(bins):
        if share > 0:
            low = x.low + index * width
            start, end = x(low + width * slot / of), x(low + width * (slot + 1) / of)
            said = f"{look}: {share:.1%} from {_number(low)} to {_number(low + width)}"
            marks.append(Mark(_box(start + 0.5, y(share), max(start + 1.5, end - 0.5), y(0)), f"bar {look}", said))
    return marks


def _rug(look: Look, scores: Sequence[float], x: _Scale, y: _Scale) -> list[Mark]:
    step = max(1, math.ceil(len(scores) / _MOST_RUG))
    base = y(0)
    length = (y(y.low) - base) / 2
    start = base + (1 if look == "clean" else length)
    ticks = "".join(f"M{x(score)} {round(start, 1)}v{round(length - 2, 1)}" for score in scores[::step])
    return [Mark(ticks, f"rug {look}")] if ticks else []


def _dots(done: PassResult, x: _Scale, y: _Scale, *, paired: bool) -> Mark:
    points = done.trace.points()
    step = max(1, math.ceil(len(points) / _MOST_POINTS))
    thinned = [max(points[start : start + step], key=lambda p: p[1]) for start in range(0, len(points), step)]
    # A path of zero-length lines with round ends is a row of dots in one element.
    dots = "".join(f"M{x(time_s)} {y(score)}h0" for time_s, score in thinned)
    look = "unsure" if not paired else "triggered" if done.run.kind == "injected" else "clean"
    return Mark(dots, f"dots {look}")


def _track_marks(track: TrackResult, x: _Scale, y: _Scale) -> list[Mark]:
    if track.score is None:
        return []
    start, end = x(max(0.0, track.start_s)), x(track.end_s)
    said = f"track {track.track_id}: {track.label}, score {track.score:.2f}, {track.start_s:.1f} to {track.end_s:.1f} s"
    classes = f"track {look_of(track)} said-{track.label}"
    return [Mark(_line([(start, y(track.score)), (max(end, start + 3), y(track.score))]), classes, said)]


def _threshold_mark(threshold: float, x: _Scale, y: _Scale) -> Mark:
    return Mark(_line([(x(threshold), y(0)), (x(threshold), y(y.high))]), "threshold", f"threshold {threshold:.2f}")


def _threshold_steps(passes: Sequence[PassResult], x: _Scale, y: _Scale) -> list[Mark]:
    """Draw the threshold as the recorded pass met it: level from the start of each track to that of the next."""
    met = [(track.start_s, track.threshold) for track in passes[0].tracks if track.threshold is not None]
    met = met or [(track.start_s, track.threshold) for done in passes for track in done.tracks if track.threshold]
    if not met:
        return []
    met.sort()
    corners = [(x(0.0), y(met[0][1]))]
    for (_, before), (time_s, after) in pairwise(met):
        if after != before:
            corners += [(x(max(0.0, time_s)), y(before)), (x(max(0.0, time_s)), y(after))]
    return [Mark(_line([*corners, (x(x.high), y(met[-1][1]))]), "threshold", f"threshold {met[-1][1]:.2f}")]


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px} {py}" for px, py in points)


def _box(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"M{round(x1, 1)} {round(y1, 1)}H{round(x2, 1)}V{round(y2, 1)}H{round(x1, 1)}Z"


def _disc(x: float, y: float, radius: float) -> str:
    half = f"a{radius} {radius} 0 1 0"
    return f"M{round(x - radius, 1)} {y}{half} {2 * radius} 0{half} {-2 * radius} 0Z"


def _number(value: float) -> str:
    return f"{value + 0.0:.4g}" if abs(value) > 1e-12 else "0"
