"""The beat of a live stream: how long a frame lasts, whether one is missing, and which frames are looked at.

A picture that is lost as a whole leaves no trace in its decoder (H.264 goes on with the wrong reference, and marks
nothing), but a hole in the time stamps. A camera whose stamps are irregular by nature says nothing by a hole.
"""

from collections import deque
from enum import Enum
from statistics import median

from gateway.cameras.recording import Thinning

_REMEMBERED = 16
_HOLE = 1.5  # frame times; less is jitter
_REGULAR_SHARE = 0.75  # of the remembered steps that are near the median
_NEAR = 0.25
_LONGEST_S = 20.0


class Step(Enum):
    """How a frame follows the one before it."""

    NEXT = "next"
    HOLE = "hole"
    BACK = "back"


class Cadence:
    """Learns the beat of one stream from its time stamps."""

    def __init__(self) -> None:
        self._steps_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._last_s: float | None = None

    @property
    def frame_time_s(self) -> float | None:
        """How long a frame lasts; None until that is known."""
        return median(self._steps_s) if len(self._steps_s) > 1 else None

    def take(self, stamp_s: float | None) -> Step:
        """Take the time stamp of the next frame in the order they are shown; return how it follows the last one."""
        if stamp_s is None:
            return Step.NEXT
        last_s, self._last_s = self._last_s, stamp_s
        if last_s is None:
            return Step.NEXT
        step_s = stamp_s - last_s
        if step_s < 0:
            return Step.BACK
        step = Step.HOLE if self._is_hole(step_s) else Step.NEXT
        if 0 < step_s <= _LONGEST_S:  # cameras that send a picture in two parts repeat the stamp
            self._steps_s.append(step_s)
        return step

    def _is_hole(self, step_s: float) -> bool:
        usual_s = self.frame_time_s
        if usual_s is None or step_s <= _HOLE * usual_s:
            return False
        near = sum(abs(step - usual_s) <= _NEAR * usual_s for step in self._steps_s)
        return near >= _REGULAR_SHARE * len(self._steps_s)


class Pace:
    """Says which frames are looked at so that `fps` of them are in a second.

    By the source's own clock, which is even where the network is not; `phase` is that of `Thinning`. That clock may
    stand still, crawl or race: so, by arrival, a frame is looked at after `_LATE` times the time asked at the latest,
    and not more than `_MOST` times as often.
    """

    _LATE = 3.0
    _MOST = 2.0

    def __init__(self, fps: float | None, *, phase: float = 0.0) -> None:
        self._fps = fps
        self._thinning = Thinning(fps, phase=phase)
        self._came_at_s = self._taken_at_s = float("-inf")
        self._left = 0.0

    def takes(self, stamp_s: float, *, arrived_at_s: float) -> bool:
        """Return whether a frame of this stamp is looked at."""
        if self._fps is None:
            return True
        # Frames that come in a burst after a silence may all be due: a second's worth is let through.
        most_per_s = self._MOST * self._fps
        self._left = min(max(1.0, most_per_s), self._left + (arrived_at_s - self._came_at_s) * most_per_s)
        self._came_at_s = arrived_at_s
        is_due = self._thinning.takes(stamp_s) or arrived_at_s - self._taken_at_s >= self._LATE / self._fps
        if not is_due or self._left < 1.0:
            return False
        self._left, self._taken_at_s = self._left - 1.0, arrived_at_s
        return True
