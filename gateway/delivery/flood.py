"""Which alerts of a flood go out one by one, and which wait to be told in a summary; pure, the caller brings the time.

A bucket of tokens for each camera: a `new` takes one, and where none is left its alert is held, with all that follows.
Held is not lost: the messages lie in the outbox under their numbers, a summary names them, and a replay gives them.
What is critical always goes out, and what was begun outside is finished outside.
"""

from collections import OrderedDict

from gateway.contract.bucket import Bucket
from gateway.contract.fields import Severity
from gateway.settings import FloodSettings

_MOST_ALERTS = 4096  # held alerts under way that are remembered; beyond it the oldest end counts as new


def log_budget(now_s: float) -> Bucket:
    """Return what strangers may cause to be logged: twenty lines, and then one every five seconds."""
    return Bucket(20.0, 0.2, now_s=now_s)


class Flood:
    """Decides for each alert message whether it is held."""

    def __init__(self, settings: FloodSettings) -> None:
        self._settings = settings
        self._buckets: dict[str, Bucket] = {}
        self._held: OrderedDict[str, None] = OrderedDict()
        self._since_s: float | None = None
        self.counts: dict[str, int] = {}

    def holds(self, camera: str, alert_id: str, *, says: str, severity: Severity, now_s: float) -> bool:
        """Return whether a message is held; `says` is new, update or end, `now_s` never goes back."""
        if severity == "critical":
            self._held.pop(alert_id, None)
            return False
        held = alert_id in self._held if says != "new" else not self._take_token(camera, now_s)
        if not held:
            return False
        if says == "end":
            del self._held[alert_id]
        else:
            self._remember(alert_id)
        self.counts[camera] = self.counts.get(camera, 0) + 1
        self._since_s = now_s if self._since_s is None else self._since_s
        return True

    def due_in_s(self, now_s: float) -> float | None:
        """Return when the next summary is due, in seconds from now; None where nothing is held."""
        return None if self._since_s is None else max(0.0, self._since_s + self._settings.summary_s - now_s)

    def begin_anew(self, since_s: float | None = None) -> None:
        """A summary takes all that was held until now; `since_s` where something was held in an earlier run."""
        self._since_s = since_s

    def _take_token(self, camera: str, now_s: float) -> bool:
        if camera not in self._buckets:
            settings = self._settings
            self._buckets[camera] = Bucket(float(settings.burst), settings.per_minute / 60.0, now_s=now_s)
        return self._buckets[camera].take(now_s)

    def _remember(self, alert_id: str) -> None:
        self._held[alert_id] = None
        if len(self._held) > _MOST_ALERTS:
            self._held.popitem(last=False)
