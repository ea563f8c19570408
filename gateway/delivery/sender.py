"""Brings what waits in the outbox to the broker: a window of `WINDOW`, in order, each message until it is confirmed.

A message the broker refuses stays in the outbox: it is said, and tried again with growing pauses, nothing behind it
overtakes it. Telemetry is no obligation: what of it is refused is dropped and counted. A broker that confirms nothing
any more is left, so that the next connection can try.
"""

import asyncio
import contextlib
import time
from functools import partial
from typing import NoReturn

import structlog

from gateway.backoff import pause_s
from gateway.delivery.lanes import Flight, Lanes
from gateway.delivery.link import PUBACK_TIMEOUT_S, Acknowledged, Session
from gateway.delivery.outbox import Outbox
from gateway.errors import StorageError
from gateway.storage.rows import OutboxRow

WINDOW = 16
MAX_UNSETTLED = 512
"""Confirmed messages that may wait for the disk to note it; beyond it nothing more is sent."""

REFUSED_LAST_S = 30.0
_DISK_PAUSE_S = 1.0

_log = structlog.get_logger()


class Sender:
    """Sends the outbox's messages over one session after the other; `settle` runs beside them all the time."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        puback_timeout_s: float = PUBACK_TIMEOUT_S,
        refused_first_s: float = 1.0,
    ) -> None:
        self._outbox = outbox
        self._puback_timeout_s = puback_timeout_s
        self._refused_first_s = refused_first_s
        self._lanes = Lanes(outbox)
        self._flight = Flight()
        self._stirred = asyncio.Event()
        self._confirmed: list[OutboxRow] = []
        self._settling = asyncio.Event()
        self._refusals = 0
        self._resume_s = 0.0
        self.published = 0
        self.refused = 0
        self.telemetry_refused = 0
        self.refusal: str | None = None

    def stir(self) -> None:
        """Look into the outbox: something was accepted, released or given up."""
        self._lanes.look_again()
        self._stirred.set()

    async def drain(self, session: Session) -> NoReturn:
        """Send over this session until it ends, which cancels this.

        Raises:
            StorageError: The outbox cannot be read.
        """
        self._flight = Flight()
        self._lanes.taken = {row.row for row in self._confirmed}
        self._lanes.rewind()
        while True:
            self._stirred.clear()
            row = await self._next()
            if row is None:
                await self._wait(session)
                continue
            self._flight.add(row, now_s=time.monotonic())
            sent = session.send(row.topic, row.payload, content_type=row.content_type)
            sent.add_done_callback(partial(self._on_answer, row, self._flight))

    async def _next(self) -> OutboxRow | None:
        if len(self._flight) >= WINDOW or len(self._confirmed) >= MAX_UNSETTLED or time.monotonic() < self._resume_s:
            return None
        return await self._lanes.take(self._outbox.status().depth)

    async def _wait(self, session: Session) -> None:
        """Wait for something to do: an answer, a new message, or the end of somebody's patience."""
        now_s, oldest_s = time.monotonic(), self._flight.oldest_s()
        patience_s = self._puback_timeout_s
        answer_by_s = None if oldest_s is None else session.patience_ends_s(oldest_s, patience_s)
        if answer_by_s is not None and answer_by_s <= now_s:
            session.give_up(f"it confirms nothing: no PUBACK in {patience_s:g} s")
            await asyncio.sleep(patience_s)  # the session's end cancels this
        until_s = [now_s + patience_s if answer_by_s is None else answer_by_s]
        if now_s < self._resume_s:
            until_s.append(self._resume_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(until_s) - now_s)):
                await self._stirred.wait()

    def _on_answer(self, row: OutboxRow, flight: Flight, answer: Acknowledged) -> None:
        if flight is not self._flight or answer.cancelled():
            return  # of an earlier session
        refusal = answer.result()
        if refusal is not None and row.kind != "telemetry":
            self._take_refusal(row, refusal)
        else:
            self.telemetry_refused += refusal is not None
            self._take_confirmation(row, accepted=refusal is None)
        self._stirred.set()

    def _take_confirmation(self, row: OutboxRow, *, accepted: bool) -> None:
        settled, again = self._flight.confirm(row)
        self._confirmed += settled
        self._send_again(again)
        self.published += accepted
        if accepted and self.refusal is not None and row.kind != "telemetry":
            _log.info("messages_accepted_again", topic=row.topic)
            self.refusal, self._refusals, self._resume_s = None, 0, 0.0
        if settled:
            self._settling.set()

    def _take_refusal(self, row: OutboxRow, refusal: str) -> None:
        self.refused += 1
        if time.monotonic() >= self._resume_s:  # the first of a window, the others say the same
            self._refusals += 1
            pause = pause_s(self._refusals, chance=0.0, first_s=self._refused_first_s, last_s=REFUSED_LAST_S)
            self._resume_s = time.monotonic() + pause
        if refusal != self.refusal:
            self.refusal = refusal
            check = "what the broker allows mqtt.user"
            _log.error("message_refused", topic=row.topic, seq=row.seq, reason=refusal, check=check)
        self._send_again(self._flight.refuse(row))

    def _send_again(self, rows: list[OutboxRow]) -> None:
        if rows:
            self._lanes.taken -= {row.row for row in rows}
            self._lanes.rewind()

    async def settle(self) -> NoReturn:
        """Note in the outbox what was confirmed, in groups; while the disk takes nothing, again and again."""
        while True:
            while not self._confirmed:
                self._settling.clear()
                await self._settling.wait()
            rows = self._confirmed[:]
            try:
                await self._outbox.delivered(rows)
            except StorageError as error:
                _log.error("delivery_not_noted", messages=len(rows), reason=str(error))
                await asyncio.sleep(_DISK_PAUSE_S)
                continue
            del self._confirmed[: len(rows)]
            self._lanes.settled(rows)
            self._stirred.set()
