"""How fast alerts are delivered, outbox and broker included, against the plainest way to publish, within one run."""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.brokers import Mosquitto
from fakes.links import settings, settled
from fakes.outboxes import SMALL
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, to_bytes
from gateway.delivery.outbox import Outbox, OutboxEntry, Rank
from gateway.delivery.service import Delivery
from gateway.storage.state import Storage
from gateway.storage.tables import RetainedTable

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

COUNT, TOPIC = 3_000, "spectragate/alerts"
PAYLOAD = to_bytes(next(message for message in EXAMPLES.values() if isinstance(message, Alert)))
Tell = Callable[[str], None]


def bare_paho_s(port: int) -> float:
    """Return the seconds of a plain loop at QoS 1, with as many messages under way and nothing kept anywhere."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(16)
    client.connect("127.0.0.1", port)
    client.loop_start()
    started = time.perf_counter()
    sent = [client.publish(TOPIC, PAYLOAD, qos=1) for _ in range(COUNT)]
    sent[-1].wait_for_publish(60.0)
    took_s = time.perf_counter() - started
    client.disconnect()
    client.loop_stop()
    return took_s


@asynccontextmanager
async def box(folder: Path, port: int):  # type: ignore[no-untyped-def]
    """Run the delivery of a box for the length of a block."""
    async with Storage.open(folder, settings=SMALL) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL)
        delivery = Delivery(settings(port), outbox, RetainedTable(storage))
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(delivery.run(), name="delivery")
            await settled(lambda: delivery.broker_stats().state == "online")
            try:
                yield delivery, outbox
            finally:
                task.cancel()


async def accept_all(outbox: Outbox, count: int) -> None:
    """Accept so many alerts, a hundred at a time."""
    for first in range(0, count, 100):
        entries = [
            OutboxEntry("alert", TOPIC, PAYLOAD, seq=outbox.next_seq(), rank=Rank.ALERT, alert_id=f"a{first + number}")
            for number in range(100)
        ]
        await asyncio.gather(*(outbox.submit(entry) for entry in entries))


async def test_alerts_when_delivered_as_fast_as_they_come(tmp_path: Path, tell: Tell) -> None:
    """From acceptance on the disk to the noted PUBACK, sustained."""
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        bare_s = await asyncio.to_thread(bare_paho_s, broker.port)
        async with box(tmp_path, broker.port) as (_, outbox):
            started = time.perf_counter()
            await accept_all(outbox, COUNT)
            await settled(lambda: outbox.status().depth == 0, within_s=200.0)
            took_s = time.perf_counter() - started
        again_s = await asyncio.to_thread(bare_paho_s, broker.port)
    plain_s = min(bare_s, again_s)
    tell(
        f"alerts kept on disk and delivered: {COUNT / took_s:,.0f}/s, {plain_s / took_s:.2f} of a bare paho loop that"
        f" keeps nothing ({COUNT / plain_s:,.0f}/s)"
    )


async def test_alert_when_delivered_alone(tmp_path: Path, tell: Tell) -> None:
    """One alert at a time: from `accept` to the PUBACK."""
    times: list[float] = []
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        async with box(tmp_path, broker.port) as (delivery, outbox):
            for number in range(200):
                started = time.perf_counter()
                await accept_one(outbox, number)
                await settled(lambda number=number: delivery.broker_stats().published > number)  # type: ignore[misc]
                times.append(time.perf_counter() - started)
    times.sort()
    tell(f"one alert from accept to PUBACK: p50 {times[100] * 1000:.1f} ms, p95 {times[190] * 1000:.1f} ms")


async def accept_one(outbox: Outbox, number: int) -> None:
    """Accept one alert."""
    await outbox.accept(
        OutboxEntry("alert", TOPIC, PAYLOAD, seq=outbox.next_seq(), rank=Rank.ALERT, alert_id=f"a{number}")
    )
