"""Whether a camera's pictures are still those it began with; pure: no clock, no I/O, one sample per track.

The first tracks of a camera are its reference. The newest `WINDOW` tracks are compared with it by the maximum mean
discrepancy of their frequency features; how large that may be without any drift is asked of the reference itself:
blocks of neighbouring tracks, and every whole window, are taken out of it and compared with the rest, so that people
who pass in groups and light that wanders count for what they are. The more neighbours resemble each other, the longer
the reference and the longer a difference must last. Four named scalars say in words what is different, and ADWIN says
when it began.

R/W tracks of reference and window, P drawings, B blocks, F features.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.adaptation.adwin import Adwin
from gateway.adaptation.features import SCALARS, scalars

REFERENCE = 500
MOST_REFERENCE = 2000
WINDOW = 100
TEST_EVERY = 10
IN_A_ROW = 2
"""Tests in a row that must be far beyond the threshold before it is said; without dependence beyond it is far."""

LASTING = WINDOW // TEST_EVERY + 1
"""Tests in a row that must be beyond it at all: two windows that share no track say the same."""

MOST_FAR = 2.0
"""Times the threshold that is always far, however much neighbours resemble each other."""

BLOCK = 50
DRAWINGS = 500
QUANTILE = 0.99
MARGIN = 1.7
"""The threshold is at least so many times the quantile: thousands of tests are made of one reference."""

MARGIN_OF_WINDOWS = 2.0
"""And at least so many times what any window of the reference itself is away from the rest."""

_GROWTH = 100
_GROUPS_NEEDED = 200  # the reference holds so many independent groups of tracks, or MOST_REFERENCE
_SCALES = (25, 50, 100, 200, 400)  # lengths of blocks at which dependence is looked for
_BLOCKS_NEEDED = 5
_LITTLE_DEPENDENCE = 2.0  # what blocks of up to BLOCK independent tracks show by chance
_CLIP = 6.0
DELTA = 1e-3
_ADWIN_RANGE = 3.0  # spreads of the reference on either side that are 0..1
_EFFECT = 0.5  # a mean that moved by half a spread is a change that is worth a word
_SPREAD = 1.35  # and so is a spread that grew by this

Floats = NDArray[np.float64]
State = Literal["learning", "steady", "drifted"]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One track: the mean features of its faces, and its score; both hold what a 32-bit float can."""

    time_s: float
    features_F: Floats
    score: float

    @classmethod
    def of(cls, features_NF: Floats, scores: Sequence[float], *, time_s: float) -> "Sample":
        """Return the sample that the faces of a track are."""
        features_F = features_NF.mean(axis=0).astype(np.float32).astype(np.float64)
        return cls(time_s, features_F, float(np.float32(np.mean(scores))))


@dataclass(frozen=True, slots=True)
class Change:
    """One scalar that is different: its mean in the reference and in the window, and the word for it."""

    scalar: str
    word: str
    before: float
    now: float
    since_s: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a camera after a track. `changes` come with drift, the largest first."""

    state: State
    tracks: int
    wanted: int
    statistic: float | None = None
    threshold: float | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the camera's pictures are compared with, in spreads of its own; means and spreads of the scalars too."""

    mean_F: Floats
    spread_F: Floats
    scaled_RF: Floats
    gamma: float
    self_similarity: float
    threshold: float
    far: float
    """Times the threshold beyond which `IN_A_ROW` tests are enough."""

    scalar_means: Floats
    scalar_spreads: Floats


def _kernel(first: Floats, second: Floats, gamma: float) -> Floats:
    squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1)[None] - 2.0 * first @ second.T
    return np.asarray(np.exp(-gamma * np.maximum(squares, 0.0)))


def _scaled(values: Floats, mean_F: Floats, spread_F: Floats) -> Floats:
    return np.asarray(np.clip((values - mean_F) / spread_F, -_CLIP, _CLIP))


def dependence(samples_RF: Floats, *, longest: int = _SCALES[-1]) -> float:
    """Return how many times the variance of a block's mean exceeds that of independent tracks, 1 or more.

    The block and the feature that show most of it count; blocks are at most `longest` tracks and a fifth of all.
    """
    sums_RF = np.cumsum(np.vstack([np.zeros(samples_RF.shape[1]), samples_RF]), axis=0)
    spread_F = samples_RF.var(axis=0) + 1e-12
    found = 1.0
    for length in _SCALES:
        if length <= min(longest, len(samples_RF) // _BLOCKS_NEEDED):
            means_BF = (sums_RF[length:] - sums_RF[:-length]) / length
            found = max(found, float((length * means_BF.var(axis=0) / spread_F).max()))
    return found


def reference_wanted(samples_RF: Floats) -> int:
    """Return how many tracks the reference must have, given those it has."""
    have = len(samples_RF)
    if have < REFERENCE:
        return REFERENCE
    wanted = min(MOST_REFERENCE, math.ceil(_GROUPS_NEEDED * dependence(samples_RF)))
    return have if wanted <= have else min(MOST_REFERENCE, have + _GROWTH)


def make_reference(samples: Sequence[Sample], *, seed: int = 0) -> Reference:
    """Return the reference that these tracks are; the same on every machine."""
    features_RF = np.stack([each.features_F for each in samples])
    mean_F, spread_F = features_RF.mean(axis=0), features_RF.std(axis=0) + 1e-6
    scaled_RF = _scaled(features_RF, mean_F, spread_F)
    squares = np.square(scaled_RF).sum(1)
    apart = squares[:, None] + squares[None] - 2.0 * scaled_RF @ scaled_RF.T
    gamma = 1.0 / max(1e-6, float(np.median(apart[np.triu_indices(len(samples), 1)])))
    kernel_RR = _kernel(scaled_RF, scaled_RF, gamma)
    named = np.stack([scalars(each.features_F, each.score) for each in samples])
    drawn = MARGIN * _without_drift(kernel_RR, seed)
    return Reference(
        mean_F=mean_F,
        spread_F=spread_F,
        scaled_RF=scaled_RF,
        gamma=gamma,
        self_similarity=float(kernel_RR.mean()),
        threshold=max(drawn, MARGIN_OF_WINDOWS * float(_by_windows(kernel_RR).max())),
        far=min(MOST_FAR, max(1.0, dependence(features_RF, longest=BLOCK) / _LITTLE_DEPENDENCE)),
        scalar_means=named.mean(axis=0),
        scalar_spreads=named.std(axis=0) + 1e-6,
    )


def _without_drift(kernel_RR: Floats, seed: int) -> float:
    """Return the quantile of the statistic of windows drawn from the reference itself, each against the rest.

    They are drawn in whole blocks, and track by track: of few blocks the quantile is known badly, and it is never less
    than that of independent tracks.
    """
    blocks, draw = len(kernel_RR) // BLOCK, np.random.default_rng(seed)
    by_blocks: list[float] = []
    for shift in range(0, BLOCK, BLOCK // 5):
        order = (np.arange(blocks * BLOCK) + shift) % len(kernel_RR)
        kernel_BB = kernel_RR[np.ix_(order, order)].reshape(blocks, BLOCK, blocks, BLOCK).mean(axis=(1, 3))
        by_blocks += _drawn(kernel_BB, WINDOW // BLOCK, DRAWINGS // 5, draw).tolist()
    by_tracks = _drawn(kernel_RR, WINDOW, DRAWINGS, draw)
    return max(float(np.quantile(each, QUANTILE)) for each in (np.array(by_blocks), by_tracks))


def _drawn(kernel: Floats, taken: int, drawings: int, draw: np.random.Generator) -> Floats:
    """Return the statistic of `taken` rows against the others, for every drawing."""
    count = len(kernel)
    weights = np.full((drawings, count), -1.0 / (count - taken))
    for row in weights:
        row[draw.choice(count, taken, replace=False)] = 1.0 / taken
    return np.asarray(((weights @ kernel) * weights).sum(axis=1))


def _by_windows(kernel_RR: Floats) -> Floats:
    """Return the statistic of windows of neighbouring tracks of the reference, each against the rest."""
    rest = len(kernel_RR) - WINDOW
    rows_R, total = kernel_RR.sum(axis=1), float(kernel_RR.sum())
    found: list[float] = []
    for start in range(0, rest + 1, WINDOW // 5):
        within = float(kernel_RR[start : start + WINDOW, start : start + WINDOW].sum())
        across = float(rows_R[start : start + WINDOW].sum()) - within
        apart = total - 2.0 * across - within
        found.append(within / WINDOW**2 + apart / rest**2 - 2.0 * across / (WINDOW * rest))
    return np.array(found)


def discrepancy(reference: Reference, features_WF: Floats) -> float:
    """Return the squared maximum mean discrepancy of a window from the reference."""
    scaled_WF = _scaled(features_WF, reference.mean_F, reference.spread_F)
    within = float(_kernel(scaled_WF, scaled_WF, reference.gamma).mean())
    across = float(_kernel(reference.scaled_RF, scaled_WF, reference.gamma).mean())
    return within + reference.self_similarity - 2.0 * across


@dataclass(slots=True)
class Watch:
    """One camera's watch; `kept` are the samples of the reference, `newest` those of the window."""

    kept: list[Sample] = field(default_factory=list)
    newest: deque[Sample] = field(default_factory=lambda: deque(maxlen=WINDOW))
    adwins: list[Adwin] = field(default_factory=lambda: [Adwin(DELTA) for _ in SCALARS])
    changed_at_s: list[float | None] = field(default_factory=lambda: [None for _ in SCALARS])
    reference: Reference | None = None
    tracks: int = 0
    wanted: int = REFERENCE
    over: int = 0
    far: int = 0
    under: int = 0
    finding: Finding = Finding("learning", 0, REFERENCE)

    @property
    def newest_at_s(self) -> float:
        """When the newest track ended; 0 before the first."""
        return (self.newest or self.kept)[-1].time_s if self.kept else 0.0

    def add(self, sample: Sample) -> Finding:
        """Take a track in and return what is known now."""
        self.tracks += 1
        if self.reference is None:
            self._learn(sample)
        else:
            self._compare(sample, self.reference)
        return self.finding

    def _learn(self, sample: Sample) -> None:
        self.kept.append(sample)
        if len(self.kept) >= self.wanted:
            self.wanted = reference_wanted(np.stack([each.features_F for each in self.kept]))
            if self.wanted <= len(self.kept):
                self.reference = make_reference(self.kept)
                for each in self.kept:
                    self._follow_scalars(each, self.reference)
                self.finding = Finding("steady", self.tracks, self.wanted, None, self.reference.threshold)
                return
        self.finding = Finding("learning", self.tracks, self.wanted)

    def _compare(self, sample: Sample, reference: Reference) -> None:
        self.newest.append(sample)
        self._follow_scalars(sample, reference)
        before = self.finding
        if self.tracks % TEST_EVERY or len(self.newest) < WINDOW:
            self.finding = Finding(
                before.state, self.tracks, self.wanted, before.statistic, reference.threshold, before.changes
            )
            return
        features_WF = np.stack([each.features_F for each in self.newest])
        statistic = discrepancy(reference, features_WF)
        is_over = statistic > reference.threshold
        self.over, self.under = (self.over + 1, 0) if is_over else (0, self.under + 1)
        state: State = before.state
        self.far = self.far + 1 if statistic > reference.far * reference.threshold else 0
        if self.far >= IN_A_ROW or self.over >= LASTING:
            if state != "drifted":
                self._forget_older_than(self.newest[0].time_s)
            state = "drifted"
        elif self.under >= WINDOW // TEST_EVERY:
            state = "steady"
        changes = self._changes(reference) if state == "drifted" else ()
        self.finding = Finding(state, self.tracks, self.wanted, statistic, reference.threshold, changes)

    def _follow_scalars(self, sample: Sample, reference: Reference) -> None:
        named = scalars(sample.features_F, sample.score)
        spreads = (named - reference.scalar_means) / reference.scalar_spreads
        for index, adwin in enumerate(self.adwins):
            is_cut = adwin.add(0.5 + float(spreads[index]) / (2.0 * _ADWIN_RANGE))
            if is_cut and (self.changed_at_s[index] is None or self.finding.state != "drifted"):
                self.changed_at_s[index] = sample.time_s

    def _forget_older_than(self, time_s: float) -> None:
        """Let go of what moved before the drift that begins now."""
        self.changed_at_s = [None if each is None or each < time_s else each for each in self.changed_at_s]

    def _changes(self, reference: Reference) -> tuple[Change, ...]:
        """Return what is different in words; where no scalar is, the spectrum as a whole."""
        named = np.stack([scalars(each.features_F, each.score) for each in self.newest])
        means, spreads = named.mean(axis=0), named.std(axis=0)
        moved = (means - reference.scalar_means) / reference.scalar_spreads
        wider = spreads / reference.scalar_spreads
        found: list[tuple[float, Change]] = []
        for index, scalar in enumerate(SCALARS):
            size = abs(float(moved[index]))
            if size >= _EFFECT:
                word = _WORDS[scalar][0 if moved[index] > 0 else 1]
            elif wider[index] >= _SPREAD:
                word, size = _WORDS[scalar][2], float(wider[index]) - 1.0
            else:
                continue
            before, now = float(reference.scalar_means[index]), float(means[index])
            found.append((size, Change(scalar, word, before, now, self.changed_at_s[index])))
        if not found:
            return (Change("spectrum", "other_frequencies", 0.0, 0.0, None),)
        return tuple(change for _, change in sorted(found, key=lambda pair: -pair[0]))


_WORDS = {
    "brightness": ("brighter", "darker", "light_varies"),
    "blur": ("blurred", "sharper", "sharpness_varies"),
    "high_band": ("more_detail", "less_detail", "detail_varies"),
    "score": ("scores_higher", "scores_lower", "scores_vary"),
}
"""The words where a scalar rose, fell, or has the same mean and varies more."""
