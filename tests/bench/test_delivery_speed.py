"""How fast alerts are delivered, outbox and broker included, against the plainest way to publish, within one run."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from fakes.brokers import Mosquitto, free_port
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

COUNT, BACKLOG, RETURNS, TOPIC = 3_000, 20_000, 50, "spectragate/alerts"
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
async def box(folder: Path, port: int, *, is_online: bool = True):  # type: ignore[no-untyped-def]
    """Run the delivery of a box for the length of a block."""
    async with Storage.open(folder, settings=SMALL) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL)
        delivery = Delivery(settings(port), outbox, RetainedTable(storage))
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(delivery.run(), name="delivery")
            if is_online:
                await settled(lambda: delivery.broker_stats().state == "online")
            try:
                yield delivery, outbox
            finally:
                task.cancel()


@contextmanager
def timed(port: int, file: Path) -> Iterator[None]:
    """Let mosquitto_sub write every alert behind the time of its arrival."""
    command = ["mosquitto_sub", "-p", str(port), "-t", TOPIC, "-q", "1", "-F", "%U %p"]
    with file.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL) as child:
        try:
            yield
        finally:
            child.kill()  # its handler of SIGTERM waits for ever for a lock where it interrupts a write


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


async def test_alert_when_it_comes_beside_a_backlog(tmp_path: Path, tell: Tell) -> None:
    """New alerts while thousands of old ones drain: from `accept` to a subscriber, by the clock of another program."""
    arrived = tmp_path / "arrived"
    endless = ("max_inflight_messages 0", "max_queued_messages 0", "max_queued_bytes 0")
    broker = Mosquitto(tmp_path, "allow_anonymous true", *endless, port=free_port())
    async with box(tmp_path, broker.port, is_online=False) as (delivery, outbox):
        await accept_all(outbox, BACKLOG)
        asked_s: dict[int, float] = {}
        with broker, timed(broker.port, arrived):
            await settled(lambda: delivery.broker_stats().published > 0)
            while outbox.status().depth > 1_000:
                seq = outbox.next_seq()
                asked_s[seq] = time.time()
                payload = PAYLOAD.replace(b'"seq":42,', b'"seq":%d,' % seq)
                await outbox.accept(OutboxEntry("alert", TOPIC, payload, seq=seq, rank=Rank.ALERT, alert_id=f"f{seq}"))
                await asyncio.sleep(0.05)
            await settled(lambda: outbox.status().depth == 0, within_s=60.0)
            await settled(lambda: b'"seq":%d,' % max(asked_s) in arrived.read_bytes())
        lines = [line.split(b" ", 1) for line in arrived.read_bytes().splitlines()]
    came_s = {json.loads(payload)["data"]["seq"]: float(time_s) for time_s, payload in reversed(lines)}
    times = sorted(came_s[seq] - asked_s[seq] for seq in asked_s)
    p50, p95 = (times[len(times) * share // 100] for share in (50, 95))
    tell(f"an alert beside {BACKLOG:,} old ones: p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms of {len(times)}")


async def test_first_alert_when_the_broker_comes_back(tmp_path: Path, tell: Tell) -> None:
    """From the moment the broker listens to the first PUBACK, with alerts waiting."""
    times: list[float] = []
    broker = Mosquitto(tmp_path, "allow_anonymous true", port=free_port())
    async with box(tmp_path, broker.port, is_online=False) as (delivery, outbox):
        for number in range(RETURNS):
            await accept_one(outbox, number)
            await asyncio.sleep(1.0)  # the pauses between two tries are as long as they get
            before = delivery.broker_stats().published
            await asyncio.to_thread(broker.start)
            began_s = time.perf_counter()
            await settled(lambda before=before: delivery.broker_stats().published > before)  # type: ignore[misc]
            times.append(time.perf_counter() - began_s)
            await settled(lambda: outbox.status().depth == 0)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(broker.end)
    times.sort()
    p50, worst = times[len(times) // 2], times[-1]
    tell(f"first alert after the broker is back, {RETURNS} times: p50 {p50:.2f} s, longest {worst:.2f} s")
