"""The growing store of track statistics that calibrates a camera, with its environment's as fall-back.

Every finished track enters, whatever its score: a store without the flagged tracks forgets what rare clean tracks look
like, its threshold sinks, and more and more clean tracks are flagged. Only what an operator confirmed as triggered is
taken out again. k foreign tracks that stay cost at most k / (n + 1) of the promise.

In memory: a restart begins anew. For the thread of the event loop alone.
"""

import math
from bisect import bisect_left, insort
from collections import deque

MAX_TRACKS = 50_000


class CalibrationStore:
    """The last `max_tracks` track statistics of each camera and of each environment."""

    def __init__(self, *, max_tracks: int = MAX_TRACKS) -> None:
        if max_tracks < 1:
            raise ValueError(f"a calibration store holds at least one track, not {max_tracks}")
        self._max_tracks = max_tracks
        self._cameras: dict[str, _Rolling] = {}
        self._environments: dict[str, _Rolling] = {}

    def add(self, statistic: float, *, camera: str, environment: str, alert_id: str | None = None) -> None:
        """Add a finished track's statistic; `alert_id` where it was announced, so that `remove` finds it again.

        Raises:
            ValueError: The statistic is not finite.
        """
        if not math.isfinite(statistic):
            raise ValueError(f"a track statistic must be finite, not {statistic} (camera {camera})")
        for rolling in (
            self._cameras.setdefault(camera, _Rolling(self._max_tracks)),
            self._environments.setdefault(environment, _Rolling(self._max_tracks)),
        ):
            rolling.add(float(statistic), alert_id)

    def remove(self, alert_id: str) -> bool:
        """Take out the track of an alert that an operator confirmed; return False where it has left already."""
        found = [rolling.remove(alert_id) for rolling in (*self._cameras.values(), *self._environments.values())]
        return any(found)

    def camera(self, name: str) -> tuple[float, ...]:
        """Return the camera's statistics, ascending."""
        rolling = self._cameras.get(name)
        return () if rolling is None else rolling.ascending()

    def environment(self, name: str) -> tuple[float, ...]:
        """Return the statistics of all cameras of the environment, ascending."""
        rolling = self._environments.get(name)
        return () if rolling is None else rolling.ascending()


class _Rolling:
    """A bounded queue of statistics with an ascending view; adding and removing cost a search and one memory move.

    A removed statistic leaves a hole in the queue, whose place is used again when its turn to leave comes.
    """

    def __init__(self, max_tracks: int) -> None:
        self._max_tracks = max_tracks
        self._arrived: deque[float | None] = deque()
        self._first = 0  # the arrival number of _arrived[0]
        self._ordered: list[float] = []
        self._alerts: dict[str, int] = {}  # alert id → arrival number
        self._alerts_arrived: deque[tuple[int, str]] = deque()
        self._view: tuple[float, ...] | None = ()

    def add(self, statistic: float, alert_id: str | None) -> None:
        if len(self._arrived) == self._max_tracks:
            self._drop_oldest()
        if alert_id is not None:
            arrival = self._first + len(self._arrived)
            self._alerts[alert_id] = arrival
            self._alerts_arrived.append((arrival, alert_id))
        self._arrived.append(statistic)
        insort(self._ordered, statistic)
        self._view = None

    def remove(self, alert_id: str) -> bool:
        arrival = self._alerts.pop(alert_id, None)
        if arrival is None:
            return False
        self._take_out(self._arrived[arrival - self._first])
        self._arrived[arrival - self._first] = None
        return True

    def ascending(self) -> tuple[float, ...]:
        """Return the statistics; the same object until something changes, so that tracks opened together share it."""
        if self._view is None:
            self._view = tuple(self._ordered)
        return self._view

    def _drop_oldest(self) -> None:
        self._take_out(self._arrived.popleft())
        if self._alerts_arrived and self._alerts_arrived[0][0] == self._first:
            _, alert_id = self._alerts_arrived.popleft()
            if self._alerts.get(alert_id) == self._first:
                del self._alerts[alert_id]
        self._first += 1

    def _take_out(self, statistic: float | None) -> None:
        if statistic is not None:
            del self._ordered[bisect_left(self._ordered, statistic)]
            self._view = None
