"""The gateway's delivery, as far as the runs of kills need it: link, sender, and answers to requests for a replay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import NoReturn

from fakes.boxes import TOPICS

from gateway.contract.messages import ReplayEnd, to_bytes
from gateway.contract.requests import ReplayRequest, RequestError, read_replay_request
from gateway.delivery.link import Link, Session
from gateway.delivery.outbox import Outbox
from gateway.delivery.packets import Incoming
from gateway.delivery.sender import Sender
from gateway.settings import BrokerSettings

_MOST = 200


@contextlib.asynccontextmanager
async def delivering(outbox: Outbox, broker: BrokerSettings) -> AsyncIterator[None]:
    """Deliver until the block ends."""
    sender = Sender(outbox)
    answers = _Answers(outbox, f"spectragate/{broker.client_id}")
    link = Link(broker, subscriptions=(TOPICS.replay,), listen=answers.hear)

    async def serve(session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sender.drain(session), name="drain")
            tasks.create_task(answers.give(session), name="answers")

    async def watch() -> NoReturn:
        while True:
            await outbox.changed.wait()
            outbox.changed.clear()
            sender.stir()

    async with asyncio.TaskGroup() as tasks:
        own = [
            tasks.create_task(sender.settle(), name="settle"),
            tasks.create_task(watch(), name="watch"),
            tasks.create_task(link.run(serve), name="link"),
        ]
        try:
            yield
        finally:
            for task in own:
                task.cancel()


class _Answers:
    def __init__(self, outbox: Outbox, source: str) -> None:
        self._outbox = outbox
        self._source = source
        self._asked: asyncio.Queue[ReplayRequest] = asyncio.Queue(16)

    def hear(self, incoming: Incoming) -> None:
        with contextlib.suppress(RequestError, asyncio.QueueFull):
            self._asked.put_nowait(read_replay_request(incoming.payload))

    async def give(self, session: Session) -> NoReturn:
        while True:
            asked = await self._asked.get()
            rows = await self._outbox.between(asked.from_seq, asked.to_seq, _MOST)
            for row in rows:
                await session.publish(TOPICS.replayed, row.payload)
            end = ReplayEnd(
                source=self._source,
                requester=asked.requester,
                from_seq=asked.from_seq,
                to_seq=asked.to_seq,
                answered_to_seq=asked.to_seq if len(rows) < _MOST else rows[-1].seq,
                sent=len(rows),
                missing=(),
                last_seq=self._outbox.status().last_seq,
            )
            await session.publish(TOPICS.replayed, to_bytes(end))
