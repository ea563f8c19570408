"""Alerts on their way to the disk: screening never waits for it, and what is kept and what is not stands in the log."""

import asyncio
import logging
from asyncio import Future
from functools import partial
from typing import Protocol

import structlog

from gateway.contract import messages
from gateway.errors import StorageError

_log = structlog.get_logger()


class Alerts(Protocol):
    """Where alerts become obligations."""

    def next_seq(self) -> int:
        """Return the number of the next alert message; it is handed to `submit` before anything is awaited."""

    def submit(self, alert: messages.Alert) -> Future[None]:
        """Queue an alert for the disk; the future is done when it survives a power cut.

        Raises:
            StorageError: It cannot be kept.
        """


class Obligations:
    """Hands every alert to where it is kept, in the order of their numbers."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self._waiting: set[Future[None]] = set()
        self.accepted = 0
        self.lost = 0

    def take(self, alert: messages.Alert) -> None:
        """Begin to keep an alert."""
        try:
            stored = self._alerts.submit(alert)
        except StorageError as error:
            self._lose(alert, error)
            return
        self._waiting.add(stored)
        stored.add_done_callback(partial(self._on_stored, alert))

    @property
    def waiting(self) -> int:
        """How many alerts wait for the disk."""
        return len(self._waiting)

    async def settle(self) -> None:
        """Return when nothing waits for the disk any more."""
        while self._waiting:
            await asyncio.wait(self._waiting)

    def _on_stored(self, alert: messages.Alert, stored: Future[None]) -> None:
        self._waiting.discard(stored)
        if stored.cancelled():
            return
        error = stored.exception()
        if error is not None:
            self._lose(alert, error)
            return
        self.accepted += 1
        data = alert.data
        _log.log(
            logging.WARNING if data.severity == "critical" and data.type != "end" else logging.INFO,
            "alert",
            camera=data.camera,
            alert_id=data.alert_id,
            seq=data.seq,
            kind=data.type,
            severity=data.severity,
            score=round(data.score, 3),
            p_value=data.p_value,
        )

    def _lose(self, alert: messages.Alert, error: BaseException) -> None:
        self.lost += 1
        data = alert.data
        _log.error(
            "alert_not_kept",
            camera=data.camera,
            alert_id=data.alert_id,
            seq=data.seq,
            kind=data.type,
            severity=data.severity,
            reason=str(error),
        )
