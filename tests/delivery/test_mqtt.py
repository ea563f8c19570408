"""The publisher against a broker that follows a script: window, order, refusals, versions, deadlines."""

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import CONNACK_3, Published, ScriptedBroker, connack, free_port, puback
from structlog.testing import capture_logs

from gateway.delivery import mqtt as mqtt_module
from gateway.delivery.mqtt import WINDOW, Publisher
from gateway.errors import DeliveryError
from gateway.settings import BrokerSettings

TOPIC = "spectragate/alerts"
SECRET = "hunter2-Ünïcode"


def settings(port: int, **changes: Any) -> BrokerSettings:
    """Return settings for a broker on this machine."""
    return BrokerSettings(**{"host": "127.0.0.1", "port": port, "client_id": "box", "protocol": "5", **changes})


async def settled(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (the condition is the broker's, it has no event)
            await asyncio.sleep(0.005)


def confirm_available_alone(published: Published) -> bytes | None:
    """Let the publisher come online and then confirm nothing."""
    return puback(published.packet_id) if published.topic.endswith("/available") else None


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every connection's thread ends with its publisher."""
    yield
    for thread in threading.enumerate():
        if thread.name == "mqtt":
            thread.join(5.0)
            assert not thread.is_alive()


async def test_publisher_without_presence_speaks_for_nobody() -> None:
    """A replay beside a running daemon leaves the daemon's `available` alone, also when it dies."""
    async with ScriptedBroker().running() as broker:
        async with Publisher(settings(broker.port), presence=False) as publisher:
            await publisher.publish(TOPIC, b"one")
        await settled(lambda: broker.farewells)
    assert [message.topic for message in broker.published] == [TOPIC]


async def test_publisher_when_all_is_well() -> None:
    """It says online, publishes, says stopped and disconnects, in this order; its own words are retained."""
    async with ScriptedBroker().running() as broker:
        async with Publisher(settings(broker.port)) as publisher:
            await publisher.publish(TOPIC, b"one")
            await publisher.publish("spectragate/lobby/alert", b"ON", retain=True)
            assert (publisher.online, publisher.published, publisher.waiting) == (True, 2, 0)
        await settled(lambda: broker.farewells)

    assert [(message.topic, message.payload, message.retain) for message in broker.published] == [
        ("spectragate/available", b"online", True),
        (TOPIC, b"one", False),
        ("spectragate/lobby/alert", b"ON", True),
        ("spectragate/available", b"stopped", True),
    ]


async def test_publisher_when_the_body_fails() -> None:
    """No `stopped` and no DISCONNECT: the broker publishes the will. The error comes through as it is."""
    async with ScriptedBroker().running() as broker:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 (the error must come from inside the block)
            async with Publisher(settings(broker.port)) as publisher:
                await publisher.publish(TOPIC, b"one")
                raise ZeroDivisionError
        assert b"stopped" not in [message.payload for message in broker.published]
        assert broker.farewells == 0


async def test_publisher_when_cancelled() -> None:
    """An orderly end by cancellation says `stopped` too."""
    async with ScriptedBroker().running() as broker:
        entered = asyncio.Event()

        async def body() -> None:
            async with Publisher(settings(broker.port)):
                entered.set()
                await asyncio.sleep(60.0)

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(body())
            await entered.wait()
            task.cancel()
        assert task.cancelled()
        assert broker.published[-1].payload == b"stopped"


async def test_window_when_the_broker_confirms_nothing() -> None:
    """Sixteen messages go out, the others wait without reaching the broker, and move up with each PUBACK."""
    async with ScriptedBroker(on_publish=confirm_available_alone).running() as broker:
        async with Publisher(settings(broker.port)) as publisher, asyncio.TaskGroup() as tasks:
            for number in range(WINDOW + 4):
                tasks.create_task(publisher.publish(TOPIC, b"%d" % number))
            await settled(lambda: len(broker.payloads(1)) == WINDOW)
            await asyncio.sleep(0.05)
            assert len(broker.payloads(1)) == publisher.waiting == WINDOW
            broker.send(puback(broker.published[1].packet_id))
            await settled(lambda: len(broker.payloads(1)) == WINDOW + 1)
            broker.on_publish = lambda published: puback(published.packet_id)
            for published in broker.published[2:]:
                broker.send(puback(published.packet_id))
        assert broker.payloads(1) == [b"%d" % number for number in range(WINDOW + 4)]
        assert publisher.published == WINDOW + 4


async def test_window_when_the_broker_asks_for_less() -> None:
    """A receive maximum below our window is kept, or the broker would hang up."""
    held: list[Published] = []
    most = 0

    def hold(published: Published) -> bytes | None:
        nonlocal most
        if published.topic.endswith("/available"):
            return puback(published.packet_id)
        held.append(published)
        most = max(most, len(held))
        return None

    receive_maximum_2 = bytes([0x20, 6, 0, 0, 3, 0x21, 0, 2])
    async with (
        ScriptedBroker(on_connect=lambda _: receive_maximum_2, on_publish=hold).running() as broker,
        Publisher(settings(broker.port)) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(6):
            tasks.create_task(publisher.publish(TOPIC, b"%d" % number))
        for _ in range(6):
            await settled(lambda: held)
            await asyncio.sleep(0.02)
            broker.send(puback(held.pop(0).packet_id))
    assert most == 2


async def test_publish_when_the_connection_breaks_in_between() -> None:
    """What was not confirmed goes out again after the reconnect, in order, with the same bytes."""

    def hang_up_at_the_fifth(published: Published) -> bytes | None:
        first = published.connection == 1 and published.topic == TOPIC
        if first and published.payload == b"4":
            return b""
        return None if first and published.payload > b"1" else puback(published.packet_id)

    async with ScriptedBroker(on_publish=hang_up_at_the_fifth).running() as broker:
        with capture_logs() as logs:
            async with Publisher(settings(broker.port)) as publisher:
                async with asyncio.TaskGroup() as tasks:
                    for number in range(8):
                        tasks.create_task(publisher.publish(TOPIC, b"%d" % number))
                        if number == 1:  # a PUBACK that lies unread where the connection breaks confirms nothing
                            await settled(lambda: publisher.published == 2)
                assert publisher.published == 8
    assert broker.payloads(1)[:5] == [b"0", b"1", b"2", b"3", b"4"]
    assert broker.payloads(2) == [b"2", b"3", b"4", b"5", b"6", b"7"]
    assert [event["event"] for event in logs] == ["broker_lost", "broker_back"]
    assert logs[1]["resent"] == 6


async def test_publish_when_the_broker_is_away() -> None:
    """Messages wait for the broker to come back and then go out once each; nothing is queued twice on the way."""
    first = ScriptedBroker()
    async with first.running():
        publisher = Publisher(settings(first.port), publish_timeout_s=30.0)
        await publisher.__aenter__()
    try:
        await settled(lambda: not publisher.online)
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(publisher.publish(TOPIC, b"%d" % number))
            await asyncio.sleep(0.2)
            second = ScriptedBroker(port=first.port)
            await tasks.create_task(_serve_until(second, lambda: len(second.payloads(1)) == 3, publisher))
    finally:
        await publisher.__aexit__(None, None, None)
    assert second.payloads(1) == [b"0", b"1", b"2"]
    assert second.published[0].payload == b"online"


async def _serve_until(broker: ScriptedBroker, condition: Any, publisher: Publisher) -> None:
    async with broker.running():
        await settled(condition)
        await settled(lambda: publisher.waiting == 0)


async def test_publish_when_never_confirmed() -> None:
    """The deadline ends in an error that names broker, topic and state; the window is free again."""
    async with (
        ScriptedBroker(on_publish=confirm_available_alone).running() as broker,
        Publisher(settings(broker.port), publish_timeout_s=0.1) as publisher,
    ):
        with pytest.raises(DeliveryError, match=rf"127\.0\.0\.1:{broker.port}.*{TOPIC}.*silent"):
            await publisher.publish(TOPIC, b"one")
        assert publisher.waiting == 0


async def test_publish_when_refused() -> None:
    """A PUBACK with a failure code is an error that names topic and reason; the next message still goes."""

    def refuse_alerts(published: Published) -> bytes | None:
        return puback(published.packet_id, reason=0x87 if published.topic == TOPIC else 0)

    async with (
        ScriptedBroker(on_publish=refuse_alerts).running() as broker,
        Publisher(settings(broker.port)) as publisher,
    ):
        with pytest.raises(DeliveryError, match=f"{TOPIC}: Not authorized"):
            await publisher.publish(TOPIC, b"one")
        await publisher.publish("spectragate/verdicts", b"two")
        assert publisher.published == 1


async def test_publish_when_nobody_subscribes() -> None:
    """The code `no matching subscribers` is a success."""

    def nobody(published: Published) -> bytes | None:
        return puback(published.packet_id, reason=0x10)

    async with ScriptedBroker(on_publish=nobody).running() as broker, Publisher(settings(broker.port)) as publisher:
        await publisher.publish(TOPIC, b"one")


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "a" * 65_536])
async def test_publish_when_the_topic_is_none(topic: str) -> None:
    """A wildcard is our own mistake, and never reaches the broker."""
    async with ScriptedBroker().running() as broker, Publisher(settings(broker.port)) as publisher:
        with pytest.raises(ValueError, match="no topic"):
            await publisher.publish(topic, b"one")


async def test_publish_when_the_publisher_closes() -> None:
    """Who still waits is told so at once."""
    outcomes: list[BaseException | None] = []

    async def publish(publisher: Publisher) -> None:
        try:
            await publisher.publish(TOPIC, b"one")
        except DeliveryError as error:
            outcomes.append(error)

    async with (
        ScriptedBroker(on_publish=confirm_available_alone).running() as broker,
        asyncio.TaskGroup() as tasks,
        Publisher(settings(broker.port)) as publisher,
    ):
        for _ in range(WINDOW + 2):
            tasks.create_task(publish(publisher))
        await settled(lambda: len(broker.payloads(1)) == WINDOW)
    assert len(outcomes) == WINDOW + 2


async def test_publish_when_cancelled_leaves_no_trace() -> None:
    """A late PUBACK of a message nobody waits for is ignored."""
    async with (
        ScriptedBroker(on_publish=confirm_available_alone).running() as broker,
        Publisher(settings(broker.port)) as publisher,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(publisher.publish(TOPIC, b"one"), 0.05)
        assert publisher.waiting == 0
        await settled(lambda: broker.payloads(1))
        broker.send(puback(broker.published[1].packet_id))
        broker.send(puback(4711))
        broker.on_publish = lambda published: puback(published.packet_id)
        await publisher.publish(TOPIC, b"two")


async def test_connection_when_the_broker_stops_confirming() -> None:
    """Memory stays bounded: after 64 unconfirmed messages the connection is made anew."""
    async with (
        ScriptedBroker(on_publish=confirm_available_alone).running() as broker,
        Publisher(settings(broker.port), publish_timeout_s=0.05) as publisher,
    ):
        tries = 0
        while len(broker.levels) == 1:
            with pytest.raises(DeliveryError):
                await publisher.publish(TOPIC, b"one")
            tries += 1
        assert tries > 64
        assert len(broker.payloads(1)) <= 66  # fewer, where the thread was held up and the last were still with it


async def test_publisher_when_it_leaves_while_the_broker_is_away() -> None:
    """It does not wait for the broker: `offline` is already there."""
    async with ScriptedBroker().running() as broker:
        async with Publisher(settings(broker.port)) as publisher:
            broker.on_connect = lambda _: None
            broker.hang_up()
            await settled(lambda: len(broker.levels) == 2)
            assert not publisher.online
            leaving_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - leaving_s < 5.0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="no CONNACK"),
        pytest.param(b"", id="hangs up"),
        pytest.param(b"\x20\x02\x00\x01", id="refuses as version 3.1.1 does"),
        pytest.param(b"\x20\x03\x00\x84\x00", id="refuses as version 5 does"),
        pytest.param(b"\x20\x01\x00", id="broken CONNACK"),
    ],
)
async def test_auto_when_version_5_is_not_accepted(answer: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusal and silence both lead to 3.1.1, and reconnects stay there."""
    broker = ScriptedBroker(on_connect=lambda level: answer if level == 5 else CONNACK_3)
    broker.port = free_port()
    monkeypatch.setattr(mqtt_module, "CONNACK_TIMEOUT_S", 1.0)
    auto = Publisher(settings(broker.port, protocol="auto"), connect_timeout_s=30.0)
    async with broker.running(), auto as publisher:
        assert publisher.version == "3.1.1"
        broker.hang_up()
        await settled(lambda: broker.levels == [5, 4, 4])
        await publisher.publish(TOPIC, b"one")


async def test_auto_when_version_5_is_accepted() -> None:
    """There is no second connection."""
    async with ScriptedBroker().running() as broker, Publisher(settings(broker.port, protocol="auto")) as publisher:
        assert publisher.version == "5"
        assert broker.levels == [5]


@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
@pytest.mark.parametrize(
    ("code", "check"),
    [(0x86, "mqtt.user"), (0x87, "mqtt.user"), (0x85, "mqtt.client_id"), (0x88, "the broker's log")],
)
async def test_connect_when_refused(protocol: str, code: int, check: str) -> None:
    """The error names the broker, its reason and the setting to look at; another version is not tried in vain."""
    old_codes = {0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}

    def refuse(level: int) -> bytes:
        return bytes([0x20, 3, 0, code, 0]) if level == 5 else bytes([0x20, 2, 0, old_codes[code]])

    async with ScriptedBroker(on_connect=refuse).running() as broker:
        with pytest.raises(DeliveryError, match=rf"127\.0\.0\.1:{broker.port} .*refuses.*{check}"):
            await Publisher(settings(broker.port, protocol=protocol)).__aenter__()
        assert len(broker.levels) == 1


async def test_connect_when_available_is_refused() -> None:
    """A user who may not write below the prefix is noticed at once, with the topic."""
    broker = ScriptedBroker(on_publish=lambda published: puback(published.packet_id, reason=0x87))
    async with broker.running():
        with pytest.raises(DeliveryError, match=r"spectragate/available: Not authorized"):
            await Publisher(settings(broker.port)).__aenter__()


async def test_connect_when_nobody_listens() -> None:
    """A refused TCP connection is an error at once, with host and port."""
    port = free_port()
    with pytest.raises(DeliveryError, match=rf"127\.0\.0\.1:{port} .*refused.*mqtt\.host, mqtt\.port"):
        await Publisher(settings(port)).__aenter__()


async def test_connect_when_the_host_has_no_name() -> None:
    """An unknown name says that the host is wrong; `.invalid` never exists."""
    with pytest.raises(DeliveryError, match=r"broker\.invalid:1883 .*(resolved|no answer).*mqtt\.host"):
        await Publisher(settings(1883, host="broker.invalid"), connect_timeout_s=5.0).__aenter__()


async def test_connect_when_the_listener_is_mute() -> None:
    """Silence ends at the deadline, and the error hints at port, version and TLS."""
    async with ScriptedBroker(on_connect=lambda _: None).running() as broker:
        with pytest.raises(DeliveryError, match=r"no CONNACK.*TLS"):
            await Publisher(settings(broker.port), connect_timeout_s=5.0).__aenter__()


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\xff\xff\xff\xff\x7f", b"\x20\x00"])
async def test_connect_when_the_answer_is_not_mqtt(garbage: bytes) -> None:
    """Another service on that port is an error of ours, never a crash of the thread."""
    async with ScriptedBroker(on_connect=lambda _: garbage).running() as broker:
        with pytest.raises(DeliveryError, match="cannot be used"):
            await Publisher(settings(broker.port), connect_timeout_s=0.5).__aenter__()


async def test_connection_when_the_broker_turns_to_garbage() -> None:
    """A broken packet ends the connection, and the next one carries on."""
    async with ScriptedBroker().running() as broker, Publisher(settings(broker.port)) as publisher:
        broker.send(b"\x40\x01\x00")  # a PUBACK without its packet id
        await settled(lambda: len(broker.levels) == 2)
        await publisher.publish(TOPIC, b"one")
        assert broker.payloads(2) == [b"one"]


async def test_reconnect_when_it_takes_several_attempts() -> None:
    """It keeps trying, at most about a second apart, and logs each change once, not each attempt."""
    attempts = itertools.count()
    async with ScriptedBroker().running() as broker:
        with capture_logs() as logs:
            async with Publisher(settings(broker.port)) as publisher:
                broker.on_connect = lambda level: b"" if next(attempts) < 2 else connack(level)
                broker.hang_up()
                await publisher.publish(TOPIC, b"one")
    assert len(broker.levels) == 4
    assert [event["event"] for event in logs] == ["broker_lost", "broker_away", "broker_back"]
    assert logs[1]["reason"] == "it hung up without CONNACK"


async def test_password_when_things_go_wrong_stays_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither representations nor errors nor log lines hold it."""
    caplog.set_level(logging.DEBUG)
    async with ScriptedBroker(on_connect=lambda _: b"\x20\x03\x00\x86\x00").running() as broker:
        secret = settings(broker.port, user="gw", password=SECRET)
        with capture_logs() as logs, pytest.raises(DeliveryError) as refused:
            await Publisher(secret).__aenter__()
    everything = f"{secret!r} {secret} {refused.value!r} {logs} {caplog.text} {secret.model_dump()}"
    assert SECRET not in everything
    assert "hunter2" not in everything


async def test_tls_when_a_file_is_missing(tmp_path: Path) -> None:
    """The error names the setting and the file."""
    with pytest.raises(DeliveryError, match=r"mqtt\.tls_ca_certs .*nowhere\.pem"):
        await Publisher(settings(free_port(), tls_ca_certs=tmp_path / "nowhere.pem")).__aenter__()


async def test_tls_when_the_key_does_not_fit(authority: Path) -> None:
    """A key of another certificate is named with both files."""
    files = {"tls_certfile": authority / "client.pem", "tls_keyfile": authority / "srv.key"}
    with pytest.raises(DeliveryError, match=r"client\.pem.*srv\.key"):
        await Publisher(settings(free_port(), tls_ca_certs=authority / "ca.pem", **files)).__aenter__()


async def test_tls_when_the_port_does_not_speak_it(authority: Path) -> None:
    """A plain listener never finishes the handshake; the deadline or its answer ends the attempt."""
    async with ScriptedBroker().running() as broker:
        with pytest.raises(DeliveryError, match="cannot be used"):
            await Publisher(
                settings(broker.port, tls_ca_certs=authority / "ca.pem"), connect_timeout_s=0.5
            ).__aenter__()
