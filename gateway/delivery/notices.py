"""Notices on their way: what became of alerts, told in the alerts' own line of numbers and kept like them."""

import asyncio
import time
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NoReturn

import structlog

from gateway.contract import messages
from gateway.contract.notices import MAX_RANGES, ranges_of
from gateway.contract.topics import Topics
from gateway.delivery.commands import Obeyed
from gateway.delivery.outbox import Outbox, OutboxEntry, Rank
from gateway.errors import StorageError
from gateway.storage.rows import OutboxRow

_PAUSE_S = 1.0

_log = structlog.get_logger()


class Notices:
    """Builds notices and hands them to the outbox."""

    def __init__(self, outbox: Outbox, topics: Topics, *, source: str, clock: Callable[[], float] = time.time) -> None:
        self._outbox = outbox
        self._topics = topics
        self._source = source
        self._clock = clock
        self._stirred = asyncio.Event()
        self._degraded: dict[str, tuple[str, float]] = {}
        self._unstored: set[Future[None]] = set()

    def stir(self) -> None:
        """Look for gaps: the outbox changed."""
        self._stirred.set()

    def tell(self, *, part: str, reason: str | None) -> None:
        """Tell that a part works worse, or that it works again; what was told already is not told twice."""
        known = self._degraded.get(part)
        if (None if known is None else known[0]) == reason:
            return
        now_s = self._clock()
        if reason is not None:
            self._degraded[part] = (reason, now_s)
            self._submit(messages.Degraded(seq=self._outbox.next_seq(), time=now_s, part=part, reason=reason))
        elif known is not None:
            del self._degraded[part]
            over, since_s = known
            seq = self._outbox.next_seq()
            self._submit(messages.Recovered(seq=seq, time=now_s, part=part, reason=over, since=min(since_s, now_s)))

    def tell_command(self, done: Obeyed) -> None:
        """Tell that a command was obeyed."""
        fields = {
            "seq": self._outbox.next_seq(),
            "time": self._clock(),
            "command": done.asked.what,
            "value": done.value,
            "camera": done.asked.name if done.asked.what == "enabled" else None,
            "alert_id": done.asked.name if done.asked.what == "feedback" else None,
            "environment": done.asked.name if done.asked.what == "model" else None,
            "note": done.note,
        }
        self._submit(messages.Command.model_validate(fields))

    async def tell_gaps(self) -> NoReturn:
        """Tell of every loss, for as long as somebody listens; before that, neighbours may still become one."""
        while True:
            self._stirred.clear()
            if self._outbox.status().gaps:
                await self._tell_gaps_now()
            await self._stirred.wait()

    async def tell_flood(self) -> bool:
        """Tell of every held message, camera by camera, and take it out of what waits; False: not of all of them."""
        after_row = 0
        try:
            while rows := await self._outbox.held(MAX_RANGES, after_row):
                after_row = rows[-1].row
                for camera in sorted({row.camera for row in rows if row.camera is not None}):
                    await self._tell_held(camera, [row for row in rows if row.camera == camera])
        except StorageError as error:
            _log.error("flood_not_told", reason=str(error))
            return False
        return self._outbox.status().unstored == 0

    async def _tell_held(self, camera: str, rows: Sequence[OutboxRow]) -> None:
        seqs = [row.seq for row in rows if row.seq is not None]
        ranks = Counter(row.rank for row in rows)
        flood = messages.Flood(
            seq=self._outbox.next_seq(),
            time=self._clock(),
            camera=camera,
            from_seq=min(seqs),
            to_seq=max(seqs),
            count=len(seqs),
            held=ranges_of(seqs),
            severities=messages.SeverityCounts(
                watch=ranks[Rank.WATCH], alert=ranks[Rank.ALERT], critical=ranks[Rank.CRITICAL]
            ),
        )
        await self._outbox.submit(self._entry(flood))
        # Only now: when the power goes in between, they are told again, and not forgotten.
        await self._outbox.delivered(rows)
        _log.warning("alerts_held", camera=camera, count=len(seqs), from_seq=min(seqs), to_seq=max(seqs))

    async def _tell_gaps_now(self) -> None:
        try:
            for gap in await self._outbox.gaps():
                notice = messages.Gap(
                    seq=self._outbox.next_seq(),
                    time=self._clock(),
                    from_seq=gap.from_seq,
                    to_seq=gap.to_seq,
                    count=gap.count,
                    reason=gap.reason,
                )
                await self._outbox.submit(self._entry(notice, announces=(gap.number,)))
                _log.error("alerts_lost", from_seq=gap.from_seq, to_seq=gap.to_seq, count=gap.count, reason=gap.reason)
        except StorageError as error:
            _log.error("gap_not_told", reason=str(error))
            await asyncio.sleep(_PAUSE_S)
            self._stirred.set()

    def _submit(self, data: messages.NoticeData) -> None:
        try:
            stored = self._outbox.submit(self._entry(data))
        except StorageError as error:
            _log.error("notice_not_kept", kind=data.kind, reason=str(error))
            return
        self._unstored.add(stored)
        stored.add_done_callback(self._on_stored)

    def _on_stored(self, stored: Future[None]) -> None:
        self._unstored.discard(stored)
        if not stored.cancelled() and stored.exception() is not None:
            _log.error("notice_not_kept", reason=str(stored.exception()))

    def _entry(self, data: messages.NoticeData, *, announces: tuple[int, ...] = ()) -> OutboxEntry:
        event_id = messages.live_event_id(self._outbox.client_id, data.seq)
        notice = messages.Notice.of(data, event_id=event_id, source=self._source)
        return OutboxEntry(
            "notice",
            self._topics.alerts,
            messages.to_bytes(notice),
            seq=data.seq,
            rank=Rank.NOTICE,
            content_type=messages.CLOUDEVENTS_TYPE,
            time_s=data.time,
            announces=announces,
        )
