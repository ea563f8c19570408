"""The shortest thing that empties an outbox into a broker and answers requests for a replay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fakes.boxes import TOPICS

from gateway.contract.messages import ReplayEnd, to_bytes
from gateway.contract.requests import RequestError, read_replay_request
from gateway.delivery.mqtt import Publisher
from gateway.delivery.outbox import Outbox, OutboxRow
from gateway.errors import DeliveryError
from gateway.settings import BrokerSettings
from gateway.storage.state import Storage
from gateway.watch.subscriber import Arrived, Subscriber


@contextlib.asynccontextmanager
async def delivering(outbox: Outbox, storage: Storage, broker: BrokerSettings) -> AsyncIterator[None]:
    """Deliver until the block ends."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_for_ever(outbox, broker), name="delivery")
        try:
            yield
        finally:
            task.cancel()


async def _for_ever(outbox: Outbox, broker: BrokerSettings) -> None:
    while True:
        try:
            async with Publisher(broker) as publisher, asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(outbox, publisher), name="pump")
                tasks.create_task(_answer(outbox, broker, publisher), name="answers")
        except DeliveryError:
            await asyncio.sleep(0.1)


async def _pump(outbox: Outbox, publisher: Publisher) -> None:
    last_row = 0
    async with asyncio.TaskGroup() as tasks:
        room = asyncio.Semaphore(16)
        while True:
            outbox.changed.clear()
            for row in await outbox.pending(64, last_row):
                await room.acquire()
                last_row = row.row
                task = tasks.create_task(_send(outbox, publisher, row))
                task.add_done_callback(lambda _: room.release())
            await outbox.changed.wait()


async def _send(outbox: Outbox, publisher: Publisher, row: OutboxRow) -> None:
    while True:
        try:
            await publisher.publish(row.topic, row.payload, content_type=row.content_type)
            break
        except DeliveryError:
            continue
    await outbox.delivered([row])


async def _answer(outbox: Outbox, broker: BrokerSettings, publisher: Publisher) -> None:
    listener = broker.model_copy(update={"client_id": f"{broker.client_id}-answers"})
    async with Subscriber(listener, (TOPICS.replay,)) as subscriber:
        while True:
            news = await subscriber.news(within_s=None)
            if not isinstance(news, Arrived):
                continue
            try:
                asked = read_replay_request(news.payload)
            except RequestError:
                continue
            rows = await outbox.between(asked.from_seq, asked.to_seq, 200)
            whole = len(rows) < 200
            for row in rows:
                await publisher.publish(TOPICS.replayed, row.payload)
            last_seq = outbox.status().last_seq
            end = ReplayEnd(
                source=f"spectragate/{broker.client_id}",
                requester=asked.requester,
                from_seq=asked.from_seq,
                to_seq=asked.to_seq,
                answered_to_seq=asked.to_seq if whole else rows[-1].seq,
                sent=len(rows),
                missing=(),
                last_seq=last_seq,
            )
            await publisher.publish(TOPICS.replayed, to_bytes(end))
