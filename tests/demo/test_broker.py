"""The broker inside the process and the subscriber: loopback alone, quiet, gone at the end, honest about losses."""

import asyncio
import logging
import socket
import sys
from pathlib import Path

import pytest
from fakes.brokers import ScriptedBroker, free_port
from fakes.demo import alert_of

from gateway.contract import messages
from gateway.delivery.mqtt import Publisher
from gateway.demo import broker
from gateway.demo.broker import LOOPBACK, AlertSubscriber, embedded_broker
from gateway.demo.passages import DemoSettings, plan
from gateway.errors import ConfigError, DeliveryError
from gateway.settings import BrokerSettings

TOPIC = "spectragate-demo/alerts"
PASSAGES = plan(DemoSettings(), "gate")


def publisher(port: int) -> Publisher:
    """Return the product's publisher, as the demo sets it up."""
    return Publisher(BrokerSettings(host=LOOPBACK, port=port, protocol="3.1.1", topic_prefix="spectragate-demo"))


def addresses_of(port: int) -> list[str]:
    """Return the local addresses, as /proc writes them, on which somebody listens at this port."""
    tables = [Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]


async def test_alerts_arrive_at_the_subscriber() -> None:
    """What the publisher confirms, the subscriber gets: each id, once."""
    alerts = [alert_of(PASSAGES[1], number=number) for number in range(1, 31)]
    async with embedded_broker() as port, publisher(port) as box, AlertSubscriber(LOOPBACK, port, TOPIC) as subscriber:
        for alert in alerts:
            await box.publish(TOPIC, messages.to_bytes(alert))
        ids = frozenset(alert.id for alert in alerts)
        assert await subscriber.missing(ids, within_s=10.0) == frozenset()
        assert subscriber.arrived == dict.fromkeys(ids, 1)


async def test_embedded_broker_listens_on_loopback_alone() -> None:
    """Nobody else's machine can reach the demo, whatever its firewall says; its broker has no passwords."""
    usual = addresses_of(1883)  # a broker of this machine's may listen there
    async with embedded_broker() as port:
        assert addresses_of(port) == ["0100007F"]
        assert addresses_of(1883) == usual
    assert addresses_of(port) == []


async def test_embedded_broker_leaves_no_task_and_says_nothing(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """After the demo the process is as before: no task, no log line, no changed logger."""
    before = asyncio.all_tasks()
    with caplog.at_level(logging.DEBUG):
        async with embedded_broker() as port, AlertSubscriber(LOOPBACK, port, TOPIC):
            pass
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert [record.name for record in caplog.records if record.name.startswith(("amqtt", "transitions"))] == []
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("amqtt").propagate
    assert logging.getLogger("amqtt").handlers == []


async def test_embedded_broker_ends_although_clients_are_left() -> None:
    """A stranger's open connection holds nothing up."""
    async with asyncio.timeout(20):
        async with embedded_broker() as port:
            stranger = socket.create_connection((LOOPBACK, port))
            idle = AlertSubscriber(LOOPBACK, port, TOPIC)
            await idle.__aenter__()
    await idle.__aexit__(None, None, None)
    stranger.close()


async def test_missing_broker_package_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the operator is told what to install, and the way around."""
    monkeypatch.setitem(sys.modules, "amqtt.broker", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[demo\]'.*--broker HOST:PORT"):
        async with embedded_broker():
            pass


async def test_broker_that_does_not_start_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting has a deadline."""
    from amqtt.broker import Broker

    async def hang(_self: Broker) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(Broker, "start", hang)
    monkeypatch.setattr(broker, "START_TIMEOUT_S", 0.05)
    with pytest.raises(DeliveryError, match="did not start"):
        async with embedded_broker():
            pass


async def test_lost_alerts_are_named() -> None:
    """An alert that never arrives is told by its id, after the wait."""
    alert = alert_of(PASSAGES[1])
    async with embedded_broker() as port, publisher(port) as box, AlertSubscriber(LOOPBACK, port, TOPIC) as subscriber:
        await box.publish(TOPIC, messages.to_bytes(alert))
        assert await subscriber.missing(frozenset({alert.id}), within_s=10.0) == frozenset()
        missing = await subscriber.missing(frozenset({alert.id, "never"}), within_s=0.5)
    assert missing == {"never"}


async def test_subscriber_counts_alerts_alone_and_every_copy() -> None:
    """On a broker of many, what is no alert of ours is nobody's arrival; a repetition is counted, not hidden."""
    alert = alert_of(PASSAGES[1])
    async with embedded_broker() as port, publisher(port) as box, AlertSubscriber(LOOPBACK, port, TOPIC) as subscriber:
        for payload in (b"hello", b"\xff", b'{"type":"other"}', messages.to_bytes(alert), messages.to_bytes(alert)):
            await box.publish(TOPIC, payload)
        last = alert_of(PASSAGES[1], number=2)
        await box.publish(TOPIC, messages.to_bytes(last))
        assert await subscriber.missing(frozenset({last.id}), within_s=10.0) == frozenset()
    assert subscriber.arrived == {alert.id: 2, last.id: 1}


async def test_subscriber_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood on somebody's broker does not fill the memory."""
    monkeypatch.setattr(broker, "MAX_ALERTS", 2)
    subscriber = AlertSubscriber(LOOPBACK, 1883, TOPIC)
    for number in (1, 2, 3, 1):
        subscriber._take(messages.to_bytes(alert_of(PASSAGES[1], number=number)))
    assert sorted(subscriber.arrived.values()) == [1, 2]


@pytest.mark.parametrize("kind", ["nobody", "refusing"])
async def test_subscriber_names_a_broker_that_cannot_be_used(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker, or one that refuses the login, is told within the deadline, and no thread stays."""
    monkeypatch.setattr(broker, "START_TIMEOUT_S", 0.5)
    scripted = ScriptedBroker(on_connect=lambda _level: b"\x20\x02\x00\x05")
    async with scripted.running():
        port = scripted.port if kind == "refusing" else free_port()
        with pytest.raises(DeliveryError, match=f"{LOOPBACK}:{port} cannot be listened to.*Check --broker"):
            async with AlertSubscriber(LOOPBACK, port, TOPIC):
                pass
