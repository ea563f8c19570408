"""Delivery as a whole against a real mosquitto: what subscribers see of a box."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import Mosquitto, Received, Subscriber, free_port
from fakes.links import settings, settled
from fakes.outboxes import SMALL

from gateway.contract import messages
from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, Notice, ReplayEnd, parse, to_bytes
from gateway.contract.topics import Topics
from gateway.delivery import link as link_module
from gateway.delivery.commands import Ears
from gateway.delivery.outbox import Outbox
from gateway.delivery.service import Delivery
from gateway.settings import BrokerSettings, FloodSettings
from gateway.storage.rows import OutboxRow
from gateway.storage.state import Storage
from gateway.storage.tables import RetainedTable

TOPICS = Topics("spectragate")
OPEN = ("allow_anonymous true",)
StartMosquitto = Callable[..., Mosquitto]
LIVE = next(message.data for message in EXAMPLES.values() if isinstance(message, Alert))
pytestmark = pytest.mark.end_to_end


def alert(delivery: Delivery, alert_id: str, **changes: Any) -> Alert:
    """Return the next alert of a box."""
    seq = delivery.next_seq()
    end = {"end_time": LIVE.frame_time} if changes.get("type") == "end" else {}
    data = messages.AlertData(**{**dict(LIVE), "alert_id": alert_id, "seq": seq, **end, **changes})
    return Alert.of(data, event_id=messages.live_event_id("box", seq), source=delivery.source)


@asynccontextmanager
async def box(
    folder: Path, broker: BrokerSettings, *, ears: Ears | None = None, cameras: tuple[str, ...] = ("lobby",)
) -> AsyncIterator[tuple[Delivery, Outbox]]:
    """Run the delivery of a box for the length of a block."""
    async with Storage.open(folder, settings=SMALL) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL)
        delivery = Delivery(broker, outbox, RetainedTable(storage), ears=ears)
        await delivery.load()
        delivery.know(cameras)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(delivery.run(), name="delivery")
            try:
                yield delivery, outbox
            finally:
                task.cancel()


async def until_seq(subscriber: Subscriber, seq: int) -> list[Alert | Notice]:
    """Return the alerts and notices up to one number."""
    events: list[Alert | Notice] = []
    while not events or events[-1].data.seq != seq:
        received = await subscriber.next()
        if received.topic == TOPICS.alerts:
            event = parse(received.payload)
            assert isinstance(event, Alert | Notice)
            events.append(event)
    return events


async def test_box_when_it_lives_and_ends(
    start_mosquitto: StartMosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Presence, retained words, statistics and alerts arrive as the conventions say; who comes later sees the words."""
    monkeypatch.setattr(link_module, "_FAREWELL_S", 10.0)
    broker = start_mosquitto(*OPEN)
    with Subscriber(broker.port) as subscriber:
        async with box(tmp_path, settings(broker.port)) as (delivery, _):
            delivery.show(TOPICS.alert("lobby"), b"OFF")
            assert (await subscriber.next()).payload == b"online"
            await delivery.accept(alert(delivery, "a"))
            await settled(lambda: delivery.broker_stats().published == 1)
            delivery.say(TOPICS.stats, b"{}")
            received = [await subscriber.next() for _ in range(3)]
            stats = delivery.broker_stats()
        assert (await subscriber.next()).payload == b"stopped"
    assert {message.topic for message in received} == {TOPICS.alert("lobby"), TOPICS.alerts, TOPICS.stats}
    assert (stats.state, stats.reason, stats.protocol, stats.connects) == ("online", None, "5", 1)
    with Subscriber(broker.port) as late:
        words = {message.topic: message.payload for message in [await late.next(), await late.next()]}
    assert words == {TOPICS.available: b"stopped", TOPICS.alert("lobby"): b"OFF"}


async def test_box_when_the_broker_comes_later(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """Alerts are accepted without it and go out in order once it is there."""
    port = free_port()
    async with box(tmp_path, settings(port)) as (delivery, outbox):
        for number in range(20):
            await delivery.accept(alert(delivery, f"a{number}"))
        await settled(lambda: delivery.broker_stats().reason == "refused")
        assert outbox.status().depth == 20
        broker = Mosquitto(tmp_path, *OPEN, port=port)
        with broker, Subscriber(port, TOPICS.alerts) as subscriber:
            late = [event.data.seq for event in await until_seq(subscriber, 20)] if outbox.status().depth else []
            await settled(lambda: outbox.status().depth == 0)
    assert late == sorted(late)


async def test_cameras_when_one_has_gone(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """Its retained words and its entities are taken back, also over a restart."""
    broker = start_mosquitto(*OPEN)
    home = settings(broker.port, commands=True, home_assistant={"enabled": True})
    with Subscriber(broker.port) as subscriber:
        async with box(tmp_path, home, cameras=("lobby", "gate")) as (delivery, _):
            for camera in ("lobby", "gate"):
                delivery.show(TOPICS.alert(camera), b"OFF")
            seen = [await subscriber.next() for _ in range(9)]
    assert sum(message.topic.startswith("homeassistant/") for message in seen) == 6
    with Subscriber(broker.port, "+/+/alert") as subscriber:
        async with box(tmp_path, home, cameras=("lobby",)):
            taken_back = {(await subscriber.next()).topic for _ in range(2)}
            await settled(lambda: retained(broker.port, "homeassistant/#") == 3)
            await settled(lambda: retained(broker.port, "spectragate/gate/#") == 0)
    assert TOPICS.alert("gate") in taken_back


def retained(port: int, topic: str) -> int:
    """Return how many retained messages a broker holds."""
    command = ["mosquitto_sub", "-p", str(port), "-t", topic, "-W", "1", "--retained-only", "-F", "%t"]
    return len(subprocess.run(command, capture_output=True, timeout=20).stdout.split())


async def test_home_assistant_when_it_is_born_again(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """Every entity is announced again, retained, with topics that exist and availability by `available`."""
    broker = start_mosquitto(*OPEN)
    home = settings(broker.port, home_assistant={"enabled": True, "discovery_prefix": "ha"})
    with Subscriber(broker.port, "ha/#") as subscriber:
        async with box(tmp_path, home) as (_delivery, _):
            first = [await subscriber.next() for _ in range(2)]
            await asyncio.to_thread(publish, broker.port, "ha/status", b"online")
            again = [await subscriber.next() for _ in range(3)]
    assert {message.topic for message in first} <= {message.topic for message in again}
    for message in first:
        config = json.loads(message.payload)
        assert config["state_topic"] in {TOPICS.alert("lobby"), TOPICS.status("lobby")}
        assert config["availability"][0]["topic"] == TOPICS.available
        assert config["unique_id"].startswith("box_lobby_")


def publish(port: int, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """Publish once, as another program."""
    from paho.mqtt import publish as once

    once.single(topic, payload, qos=1, retain=retain, hostname="127.0.0.1", port=port)


async def test_replay_when_a_range_is_asked_for(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """The bytes first published come again, in order, then an end that names the box and what it has given so far."""
    broker = start_mosquitto(*OPEN)
    async with box(tmp_path, settings(broker.port)) as (delivery, _):
        sent = [alert(delivery, f"a{number}") for number in range(5)]
        for each in sent:
            await delivery.accept(each)
        with Subscriber(broker.port, TOPICS.replayed) as subscriber:
            await settled(lambda: delivery.broker_stats().published == 5)
            ask = json.dumps({"from_seq": 2, "to_seq": 2**53 - 1, "requester": "desk"}).encode()
            await asyncio.to_thread(publish, broker.port, TOPICS.replay, ask)
            received = [await subscriber.next() for _ in range(5)]
    assert [message.payload for message in received[:4]] == [to_bytes(each) for each in sent[1:]]
    end = parse(received[4].payload)
    assert isinstance(end, ReplayEnd)
    assert (end.source, end.requester, end.sent, end.missing) == ("spectragate/box", "desk", 4, ())
    assert (end.answered_to_seq, end.last_seq, end.refused) == (5, 5, None)


async def test_commands_when_they_are_allowed_and_when_not(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """An allowed one is obeyed and told among the alerts; without `mqtt.commands` it is counted and nothing else."""
    broker = start_mosquitto(*OPEN)
    switched: list[tuple[str, bool]] = []

    def on_switch(camera: str, is_on: bool) -> bool:
        switched.append((camera, is_on))
        return True

    for commands in (False, True):
        folder = tmp_path / str(commands)
        folder.mkdir()
        with Subscriber(broker.port, TOPICS.alerts) as subscriber:
            async with box(folder, settings(broker.port, commands=commands), ears=Ears(on_switch)) as (delivery, _):
                await settled(lambda commands=commands: broker.log.count("SUBACK to box\n") == 1 + commands)  # type: ignore[misc]
                await asyncio.to_thread(publish, broker.port, TOPICS.enabled_set("lobby"), b"OFF")
                if not commands:
                    await settled(lambda: delivery.broker_stats().commands_ignored == 1)
                    assert switched == []
                    continue
                (notice,) = await until_seq(subscriber, 1)
    assert switched == [("lobby", False)]
    assert isinstance(notice, Notice)
    assert isinstance(notice.data, messages.Command)
    assert (notice.data.command, notice.data.value, notice.data.camera) == ("enabled", "OFF", "lobby")


async def test_flood_when_one_camera_goes_mad(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """What is too much is told in one notice by number, critical ones go out, and a replay gives what was held."""
    broker = start_mosquitto(*OPEN)
    flood = FloodSettings(burst=3, per_minute=0.001, summary_s=1)
    with Subscriber(broker.port, TOPICS.alerts) as subscriber:
        async with box(tmp_path, settings(broker.port, flood=flood)) as (delivery, outbox):
            many = [alert(delivery, f"a{number}") for number in range(20)]
            last = [alert(delivery, "bad", severity="critical"), alert(delivery, "a1", type="end")]
            await asyncio.gather(*(delivery.submit(each) for each in [*many, *last]))  # all within the second
            events = await until_seq(subscriber, 23)
            await settled(lambda: outbox.status().depth == 0)
            held = await outbox.between(4, 20, 100)
            assert delivery.held_of("lobby") == 17
    assert [event.data.seq for event in events] == [1, 2, 3, 21, 22, 23]
    notice = events[-1].data
    assert isinstance(notice, messages.Flood)
    assert (notice.count, notice.held, notice.camera) == (17, ((4, 20),), "lobby")
    assert len(held) == 17


async def test_flood_when_the_box_restarts_before_the_summary(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """What was held before is told by the next run."""
    broker = start_mosquitto(*OPEN)
    slow, quick = (FloodSettings(burst=1, per_minute=0.001, summary_s=seconds) for seconds in (3600, 1))
    with Subscriber(broker.port, TOPICS.alerts) as subscriber:
        async with box(tmp_path, settings(broker.port, flood=slow)) as (delivery, outbox):
            for number in range(4):
                await delivery.accept(alert(delivery, f"a{number}"))
            await until_seq(subscriber, 1)
            await settled(lambda: outbox.status().depth == 3)  # or the next run sends the first again, as it may
        async with box(tmp_path, settings(broker.port, flood=quick)):
            (event,) = await until_seq(subscriber, 5)
    assert isinstance(event.data, messages.Flood)
    assert event.data.held == ((2, 4),)


async def test_verdicts_when_asked_for(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """They are published with `mqtt.verdicts`, and not without."""
    broker = start_mosquitto(*OPEN)
    verdict = next(message for message in EXAMPLES.values() if isinstance(message, messages.Verdict))
    with Subscriber(broker.port, TOPICS.verdicts) as subscriber:
        async with box(tmp_path, settings(broker.port)) as (delivery, outbox):
            delivery.verdict(verdict)
            assert outbox.status().unstored == 0
        async with box(tmp_path, settings(broker.port, verdicts=True)) as (delivery, _):
            delivery.verdict(verdict)
            assert await subscriber.next() == Received(
                TOPICS.verdicts, to_bytes(verdict), retain=False, content_type=messages.CLOUDEVENTS_TYPE
            )


async def test_trouble_when_told(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """A part that works worse is told once, and that it works again is told with since when it did not."""
    broker = start_mosquitto(*OPEN)
    with Subscriber(broker.port, TOPICS.alerts) as subscriber:
        async with box(tmp_path, settings(broker.port)) as (delivery, _):
            delivery.tell(part="outbox", reason="disk_full")
            delivery.tell(part="outbox", reason="disk_full")
            delivery.tell(part="outbox", reason=None)
            delivery.tell(part="outbox", reason=None)
            worse, well = await until_seq(subscriber, 2)
    assert isinstance(worse.data, messages.Degraded)
    assert isinstance(well.data, messages.Recovered)
    assert (well.data.reason, well.data.since) == ("disk_full", worse.data.time)


async def test_twins_when_two_boxes_share_a_client_id(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """The cause is named and they step back, so that the two do not fight every second."""
    broker = start_mosquitto(*OPEN)
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    async with (
        box(folders[0], settings(broker.port, client_id="twin")) as (first, _),
        box(folders[1], settings(broker.port, client_id="twin")) as (second, _),
    ):
        await settled(lambda: first.broker_stats().taken_over + second.broker_stats().taken_over >= 1)
        connects = first.broker_stats().connects + second.broker_stats().connects
        await asyncio.sleep(2.0)
        assert first.broker_stats().connects + second.broker_stats().connects <= connects + 2
        assert "taken_over" in {first.broker_stats().reason, second.broker_stats().reason}


async def test_held_alerts_when_telling_of_them_is_cut_off(tmp_path: Path) -> None:
    """A run that ends in the middle leaves them to the next, which tells of them."""
    quick = settings(free_port(), flood=FloodSettings(burst=1, per_minute=0.001, summary_s=1))
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        outbox = await SlowToRead.open(storage, client_id="box", settings=SMALL)
        delivery = Delivery(quick, outbox, RetainedTable(storage))
        await delivery.load()
        for name in ("a", "b", "c"):
            await delivery.accept(alert(delivery, name))
        outbox.may_read.clear()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(delivery.run(), name="first")
            await settled(lambda: outbox.reading)
            first.cancel()
        outbox.may_read.set()
        async with asyncio.TaskGroup() as tasks:
            second = tasks.create_task(delivery.run(), name="second")
            await settled(lambda: outbox.status().last_seq == 4)
            second.cancel()


class SlowToRead(Outbox):
    """An outbox whose held messages take their time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Read at once at first."""
        super().__init__(*arguments, **options)
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.reading = 0

    async def held(self, limit: int, after_row: int = 0) -> list[OutboxRow]:
        """Return what is held, when reading is allowed."""
        if not self.may_read.is_set():
            self.reading += 1
        await self.may_read.wait()
        return await super().held(limit, after_row)
