"""Answers to `<prefix>/alerts/replay`: the bytes first published, out of the outbox, and an end that tells what misses.

One answer at a time, one message after the other, so that alerts come first; at most `MAX_PER_ANSWER` in each. A second
question of the same requester replaces its first that still waits; what is beyond `MAX_WAITING` is dropped and counted.
Whoever asks goes on asking.
"""

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NoReturn

import structlog

from gateway.contract import messages
from gateway.contract.notices import MAX_RANGES
from gateway.contract.requests import ReplayRequest, RequestError, read_replay_request
from gateway.contract.topics import Topics
from gateway.delivery.flood import log_budget
from gateway.delivery.link import Session
from gateway.delivery.outbox import Outbox
from gateway.errors import StorageError

FIRST_SEQ = 1  # no message has the number 0
MAX_PER_ANSWER = 1000
MAX_WAITING = 16
MAX_SPAN = 100_000  # numbers that one answer covers, so that also an empty stretch is looked through in pieces
_PAGE = 100

_log = structlog.get_logger()


class Replies:
    """Takes questions from the loop and answers them over whatever session there is."""

    def __init__(self, outbox: Outbox, topics: Topics, *, source: str) -> None:
        self._outbox = outbox
        self._topics = topics
        self._source = source
        self._waiting: OrderedDict[str, ReplayRequest] = OrderedDict()
        self._asked = asyncio.Event()
        self._lines = log_budget(time.monotonic())
        self.dropped = 0
        self.answered = 0

    def ask(self, payload: bytes) -> None:
        """Take a question; one that cannot be read, is another box's or finds no room is not answered."""
        try:
            request = read_replay_request(payload)
        except RequestError as error:
            self.dropped += 1
            if self._lines.take(time.monotonic()):
                _log.warning("replay_request_unreadable", reason=str(error))
            return
        if request.source not in {None, self._source}:
            return
        name = request.requester or ""
        if name not in self._waiting and len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting[name] = request
        self._asked.set()

    async def answer(self, session: Session) -> NoReturn:
        """Answer questions one after the other until the session ends; those under way then are asked again."""
        while True:
            while self._waiting:
                _, request = self._waiting.popitem(last=False)
                await self._reply(session, request)
                self.answered += 1
            self._asked.clear()
            await self._asked.wait()

    async def _reply(self, session: Session, request: ReplayRequest) -> None:
        last_seq = self._outbox.status().last_seq
        first = max(request.from_seq, FIRST_SEQ)
        until = min(request.to_seq, last_seq, first + MAX_SPAN - 1)
        try:
            sent, until = await self._send(session, first, until)
        except StorageError as error:
            _log.error("replay_failed", reason=str(error))
            await self._close(session, request, last_seq=last_seq, refused="unreadable")
            return
        missing = _between(sent, first, until)
        if len(missing) > MAX_RANGES:
            missing = missing[:MAX_RANGES]
            until = missing[-1][1]
        end = messages.ReplayEnd(
            source=self._source,
            requester=request.requester,
            from_seq=request.from_seq,
            to_seq=request.to_seq,
            answered_to_seq=until,
            sent=len(sent),
            missing=missing,
            last_seq=last_seq,
        )
        await self._publish(session, messages.to_bytes(end), content_type=messages.JSON_TYPE)
        if self._lines.take(time.monotonic()):
            _log.info(
                "replayed", from_seq=request.from_seq, to_seq=request.to_seq, sent=len(sent), missing=len(missing)
            )

    async def _send(self, session: Session, from_seq: int, to_seq: int) -> tuple[list[int], int]:
        """Send what there is of a range, and return the numbers sent, ascending, and how far they reach."""
        sent: list[int] = []
        while from_seq <= to_seq:
            rows = await self._outbox.between(from_seq, to_seq, _PAGE)
            for row in rows:
                if row.seq is not None:
                    await self._publish(session, row.payload, content_type=row.content_type)
                    sent.append(row.seq)
            if len(rows) < _PAGE:
                break
            from_seq = sent[-1] + 1
            if len(sent) >= MAX_PER_ANSWER:
                return sent, sent[-1]
        return sent, to_seq

    async def _close(self, session: Session, request: ReplayRequest, *, last_seq: int, refused: str) -> None:
        end = messages.ReplayEnd(
            source=self._source,
            requester=request.requester,
            from_seq=request.from_seq,
            to_seq=request.to_seq,
            answered_to_seq=None,
            sent=0,
            missing=(),
            last_seq=last_seq,
            refused=refused,
        )
        await self._publish(session, messages.to_bytes(end), content_type=messages.JSON_TYPE)

    async def _publish(self, session: Session, payload: bytes, *, content_type: str) -> None:
        await session.publish(self._topics.replayed, payload, content_type=content_type)


def _between(seqs: Sequence[int], first: int, last: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of [first, last] that ascending numbers leave out."""
    edges = [first - 1, *seqs, last + 1]
    return tuple((before + 1, after - 1) for before, after in itertools.pairwise(edges) if after - before > 1)
