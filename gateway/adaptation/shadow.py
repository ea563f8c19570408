"""Whether a bundle does well on live faces: counted beside the bundle in use, and again when it is in use itself.

In a place that has drifted the bundle in use flags clean passages, and to flag fewer is what a new one is for. There
its word alone is no evidence: only passages count that stand out among all that pass there (decision 0047).

Pure. A track counts only when every one of its faces was seen: a track seen in part would make the calibration of the
new weights too low.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, sqrt

import numpy as np

from gateway.contract.calibration import TrackRule, attainable_rate, next_statistic, threshold

FLAG_RATE = 0.01
"""The rate at which tracks are flagged here: high enough that a few hundred tracks say something."""

MOST_SIGMAS = 6.0
LEAST_TRACKS = 20
LEAST_FACES = 32
LEAST_SPREAD = 1e-3
LEAST_SHARED = 5
MOST_STANDING_OUT = 0.03
"""Of clean passages at most so many stand out by chance: 0 to 2 % of faces in the four lights that were measured."""

LEAST_PLANTED = 20
LEAST_TIMES, MOST_TIMES = 20, 256
MOST_SLOWER = 2.0
"""How much longer than the bundle in use it may take, in the middle and at the slow end of many batches."""

MOST_TRACKS = 1024
MOST_PASSAGES = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a bundle is tried: until it scored so many faces, or for so long with at least `LEAST_FACES`."""

    faces: int = 2000
    longest_s: float = 600.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended; `reason` says in a sentence why the bundle failed."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """What both bundles made of the same faces with a planted trigger: the scores, and the seconds it took."""

    scores: Sequence[float]
    in_use_scores: Sequence[float]
    took_s: float
    in_use_took_s: float


@dataclass(slots=True)
class _Track:
    scores: list[float] = field(default_factory=list)
    faces_seen: int = 0
    statistic: float | None = None


class Trial:
    """One bundle on live faces; `expected_share` is the share of tracks that may be flagged beside those of chance.

    `in_use_tracks` are the clean tracks by which the bundle in use judges.
    """

    def __init__(
        self,
        rule: TrackRule,
        clean_tracks: Sequence[float],
        limits: Limits,
        *,
        now_s: float,
        expected_share: float = 0.0,
        in_use_tracks: Sequence[float] = (),
    ) -> None:
        self._rule = rule
        self._rate = attainable_rate(FLAG_RATE, tracks=len(clean_tracks))
        self._threshold = threshold(clean_tracks, self._rate)
        in_use_rate = attainable_rate(FLAG_RATE, tracks=len(in_use_tracks)) if in_use_tracks else FLAG_RATE
        self._in_use_threshold = threshold(in_use_tracks, in_use_rate)
        self._times_s: deque[tuple[float, float]] = deque(maxlen=MOST_TIMES)
        self._planted_in_use = self._planted_by_both = 0
        self._judged_in_use = self._judged_by_both = 0
        self._has_drifted = False
        self._passages: deque[tuple[float, bool, bool]] = deque(maxlen=MOST_PASSAGES)
        """Of each the statistic in use, whether the bundle in use flagged it, and whether this one does."""
        self._limits = limits
        self._began_s = now_s
        self._expected_share = expected_share
        self._tracks: OrderedDict[tuple[str, int], _Track] = OrderedDict()
        self._fault = ""
        self._lowest, self._highest = float("inf"), float("-inf")
        self._usable = 0
        self.faces = 0
        self.finished = 0
        self.flagged = 0
        self._flagged_in_use = 0
        self._flagged_by_both = 0

    def fail(self, reason: str) -> None:
        """Note that it broke, or scored what is no number."""
        self._fault = self._fault or reason

    def see(self, camera: str, track_id: int, score: float, *, is_usable: bool) -> None:
        """Take its score of a face."""
        if not isfinite(score):
            self.fail("its score of a face is no number")
            return
        track = self._tracks.setdefault((camera, track_id), _Track())
        if len(self._tracks) > MOST_TRACKS:
            self._tracks.popitem(last=False)
        self.faces += 1
        track.faces_seen += 1
        if not is_usable:
            return
        self._usable += 1
        self._lowest, self._highest = min(self._lowest, score), max(self._highest, score)
        if len(track.scores) < self._rule.last_face:
            track.scores.append(score)
            track.statistic = next_statistic(track.statistic, track.scores, self._rule)

    def compare(self, compared: Compared) -> None:
        """Take what it and the bundle in use made of faces with a planted trigger."""
        self._times_s.append((compared.took_s, compared.in_use_took_s))
        for score, in_use in zip(compared.scores, compared.in_use_scores, strict=True):
            if self._in_use_threshold is not None and in_use >= self._in_use_threshold:
                self._planted_in_use += 1
                self._planted_by_both += self._threshold is not None and score >= self._threshold

    def finish(
        self, camera: str, track_id: int, *, faces_seen: int, is_flagged: bool, in_use: float | None = None
    ) -> float | None:
        """Take the end of a track; return its statistic where it counts.

        `is_flagged` where the bundle in use flagged it, `in_use` is its statistic of it, None where it could not judge.
        """
        track = self._tracks.pop((camera, track_id), None)
        if track is None or track.faces_seen != faces_seen:
            return None
        self._judged_in_use += in_use is not None
        self._judged_by_both += in_use is not None and track.statistic is not None
        if track.statistic is None:
            return None
        flags = self._threshold is not None and track.statistic >= self._threshold
        self.finished += 1
        self.flagged += flags
        self._flagged_in_use += is_flagged
        self._flagged_by_both += flags and is_flagged
        if in_use is not None:
            self._passages.append((in_use, is_flagged, flags))
        return track.statistic

    @property
    def share_in_use(self) -> float:
        """The share of tracks that the bundle in use flagged."""
        return self._flagged_in_use / self.finished if self.finished else 0.0

    def outcome(self, now_s: float, *, has_drifted: bool = False) -> Outcome | None:
        """Return how it ended, or None while it goes on; `has_drifted` where the bundle in use is out of its depth.

        Where it was so once it is for this trial: what passed then is still counted when the light is back.
        """
        self._has_drifted |= has_drifted
        reason = self._fault or self._why_not() or (self._why_less() if self._has_drifted else self._why_fewer())
        if reason:
            return Outcome(passed=False, reason=reason)
        is_over = now_s - self._began_s >= self._limits.longest_s and self.faces >= LEAST_FACES
        return Outcome(passed=True) if is_over or self.faces >= self._limits.faces else None

    def _why_not(self) -> str:
        if self._usable >= LEAST_FACES and self._highest - self._lowest < LEAST_SPREAD:
            return "all faces get the same score"
        if self.finished >= LEAST_TRACKS and self.flagged > self._most_flagged():
            return f"it flags {self.flagged} of {self.finished} passages, far more than its calibration promises"
        if self._planted_in_use >= LEAST_PLANTED and 2 * self._planted_by_both < self._planted_in_use:
            seen = self._planted_by_both
            return f"of {self._planted_in_use} planted triggers that the bundle in use sees it sees {seen}"
        if self._judged_in_use >= LEAST_TRACKS and 2 * self._judged_by_both < self._judged_in_use:
            judged = self._judged_by_both
            return f"of {self._judged_in_use} passages that the bundle in use can judge it can judge {judged}"
        return self._why_slow()

    def _why_fewer(self) -> str:
        """Return that it misses what the bundle in use flags."""
        flagged, seen = self._flagged_in_use, self._flagged_by_both
        if flagged < LEAST_SHARED or 2 * seen >= flagged:
            return ""
        return f"of {flagged} passages that the bundle in use flags it sees {seen}"

    def _why_less(self) -> str:
        """Return that it misses what the bundle in use flags and what stands out among all that pass: Tukey's fence."""
        if len(self._passages) < LEAST_TRACKS:
            return ""
        low, high = np.quantile([in_use for in_use, _, _ in self._passages], (0.25, 0.75))
        fence = high + 1.5 * (high - low)
        outstanding = [flags for in_use, is_flagged, flags in self._passages if is_flagged and in_use > fence]
        seen = sum(outstanding)
        if len(outstanding) < LEAST_SHARED + MOST_STANDING_OUT * len(self._passages) or 2 * seen >= len(outstanding):
            return ""
        return f"of {len(outstanding)} passages that the bundle in use flags and that stand out it sees {seen}"

    def _why_slow(self) -> str:
        """Return that it is slow where it is so all along: a moment in which the machine was busy proves nothing."""
        if len(self._times_s) < LEAST_TIMES:
            return ""
        middle, middle_in_use = np.quantile(self._times_s, 0.5, axis=0)
        slow, slow_in_use = np.quantile(self._times_s, 0.95, axis=0)
        if middle <= MOST_SLOWER * middle_in_use or slow <= MOST_SLOWER * slow_in_use:
            return ""
        return f"it takes {1000 * slow:.1f} ms for a batch that takes the bundle in use {1000 * slow_in_use:.1f} ms"

    def _most_flagged(self) -> float:
        share = max(self._rate, self._expected_share, self.share_in_use)
        return self.finished * share + MOST_SIGMAS * sqrt(self.finished * share * (1.0 - share))
