"""Alerts as rows of the outbox, for a box that has no broker: they wait there, and the log says them."""

from asyncio import Future

from gateway.contract import messages
from gateway.contract.topics import Topics
from gateway.delivery.outbox import Outbox, OutboxEntry, Rank

_RANKS = {"watch": Rank.WATCH, "alert": Rank.ALERT, "critical": Rank.CRITICAL}


class KeptAlerts:
    """Accepts alerts into the outbox."""

    def __init__(self, outbox: Outbox, topics: Topics) -> None:
        self._outbox = outbox
        self._topic = topics.alerts
        self.next_seq = outbox.next_seq

    def submit(self, alert: messages.Alert) -> Future[None]:
        """Queue an alert for the disk; the future is done when it is there.

        Raises:
            StorageError: The disk takes nothing and too many wait for it.
        """
        data = alert.data
        entry = OutboxEntry(
            "alert",
            self._topic,
            messages.to_bytes(alert),
            seq=data.seq,
            rank=_RANKS[data.severity],
            content_type=messages.CLOUDEVENTS_TYPE,
            camera=data.camera,
            alert_id=data.alert_id,
            time_s=data.frame_time,
        )
        return self._outbox.submit(entry)


class Unheard:
    """A box without a broker: nobody sees what it shows."""

    def show(self, topic: str, payload: bytes) -> None:
        """Do nothing."""

    def clear(self, topic: str) -> None:
        """Do nothing."""

    def say(self, topic: str, payload: bytes) -> None:
        """Do nothing."""
