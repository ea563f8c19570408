"""A box without a broker: its alerts wait in the outbox, the log says them, and nobody sees what it shows."""

import asyncio
from asyncio import Future
from collections.abc import Collection
from typing import NoReturn

from gateway.contract import messages
from gateway.contract.states import BrokerStats
from gateway.contract.topics import Topics
from gateway.delivery.commands import Obeyed
from gateway.delivery.outbox import Outbox, OutboxEntry
from gateway.delivery.service import RANKS


class Unheard:
    """Keeps alerts and says nothing."""

    def __init__(self, outbox: Outbox, topics: Topics) -> None:
        self._outbox = outbox
        self._topic = topics.alerts

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
            rank=RANKS[data.severity],
            content_type=messages.CLOUDEVENTS_TYPE,
            camera=data.camera,
            alert_id=data.alert_id,
        )
        return self._outbox.submit(entry)

    def verdict(self, verdict: messages.Verdict) -> None:
        """Do nothing."""

    def show(self, topic: str, payload: bytes) -> None:
        """Do nothing."""

    def clear(self, topic: str) -> None:
        """Do nothing."""

    def say(self, topic: str, payload: bytes) -> None:
        """Do nothing."""

    def know(self, cameras: Collection[str]) -> None:
        """Do nothing."""

    def tell(self, *, part: str, reason: str | None) -> None:
        """Do nothing."""

    def tell_command(self, done: Obeyed) -> None:
        """Do nothing."""

    def held_of(self, camera: str) -> int:  # noqa: ARG002  (a Protocol's)
        """Return 0."""
        return 0

    def broker_stats(self) -> BrokerStats:
        """Return that there is no broker."""
        return BrokerStats(
            state="off",
            reason=None,
            protocol=None,
            connects=0,
            taken_over=0,
            published=0,
            refused=0,
            requests_dropped=0,
            commands_ignored=0,
        )

    @property
    def turns(self) -> int | None:
        """None: there is no connection."""
        return None

    def fall_silent(self) -> None:
        """Do nothing."""

    async def load(self) -> None:
        """Do nothing."""

    async def run(self) -> NoReturn:
        """Wait for ever."""
        while True:
            await asyncio.Event().wait()
