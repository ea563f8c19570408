"""Whether a bundle does well on live faces: counted beside the bundle in use, and again when it is in use itself.

Pure. A track counts only when every one of its faces was seen: a track seen in part would make the calibration of the
new weights too low.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, sqrt

from gateway.contract.calibration import TrackRule, attainable_rate, next_statistic, threshold

FLAG_RATE = 0.01
"""The rate at which tracks are flagged here: high enough that a few hundred tracks say something."""

MOST_SIGMAS = 6.0
LEAST_TRACKS = 20
LEAST_FACES = 32
LEAST_SPREAD = 1e-3
LEAST_SHARED = 5
MOST_TRACKS = 1024


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


@dataclass(slots=True)
class _Track:
    scores: list[float] = field(default_factory=list)
    faces_seen: int = 0
    statistic: float | None = None


class Trial:
    """One bundle on live faces; `expected_share` is the share of tracks that may be flagged beside those of chance."""

    def __init__(
        self,
        rule: TrackRule,
        clean_tracks: Sequence[float],
        limits: Limits,
        *,
        now_s: float,
        expected_share: float = 0.0,
    ) -> None:
        self._rule = rule
        self._rate = attainable_rate(FLAG_RATE, tracks=len(clean_tracks))
        self._threshold = threshold(clean_tracks, self._rate)
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

    def finish(self, camera: str, track_id: int, *, faces_seen: int, is_flagged: bool) -> float | None:
        """Take the end of a track, and whether the bundle in use flagged it; return its statistic where it counts."""
        track = self._tracks.pop((camera, track_id), None)
        if track is None or track.faces_seen != faces_seen or track.statistic is None:
            return None
        flags = self._threshold is not None and track.statistic >= self._threshold
        self.finished += 1
        self.flagged += flags
        self._flagged_in_use += is_flagged
        self._flagged_by_both += flags and is_flagged
        return track.statistic

    @property
    def share_in_use(self) -> float:
        """The share of tracks that the bundle in use flagged."""
        return self._flagged_in_use / self.finished if self.finished else 0.0

    def outcome(self, now_s: float) -> Outcome | None:
        """Return how it ended, or None while it goes on."""
        reason = self._fault or self._why_not()
        if reason:
            return Outcome(passed=False, reason=reason)
        is_over = now_s - self._began_s >= self._limits.longest_s and self.faces >= LEAST_FACES
        return Outcome(passed=True) if is_over or self.faces >= self._limits.faces else None

    def _why_not(self) -> str:
        if self._usable >= LEAST_FACES and self._highest - self._lowest < LEAST_SPREAD:
            return "all faces get the same score"
        if self.finished >= LEAST_TRACKS and self.flagged > self._most_flagged():
            return f"it flags {self.flagged} of {self.finished} passages, far more than its calibration promises"
        if self._flagged_in_use >= LEAST_SHARED and 2 * self._flagged_by_both < self._flagged_in_use:
            seen = self._flagged_by_both
            return f"of {self._flagged_in_use} passages that the bundle in use flags it sees {seen}"
        return ""

    def _most_flagged(self) -> float:
        share = max(self._rate, self._expected_share, self.share_in_use)
        return self.finished * share + MOST_SIGMAS * sqrt(self.finished * share * (1.0 - share))
