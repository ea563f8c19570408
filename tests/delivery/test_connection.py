"""Real brokers: mosquitto with access rules, TLS, kills and freezes; and amqtt, the demo's broker."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from amqtt.broker import Broker
from fakes.brokers import Mosquitto, Received, Subscriber, free_port, make_authority

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import CLOUDEVENTS_TYPE, Alert, parse, to_bytes
from gateway.contract.topics import Topics
from gateway.delivery.mqtt import Publisher
from gateway.errors import DeliveryError
from gateway.settings import BrokerSettings

TOPICS = Topics("spectragate")
OPEN = ("allow_anonymous true",)
# What a broker needs to keep its queues over a kill.
DURABLE = (*OPEN, "persistence true", "autosave_interval 1", "autosave_on_changes true", "max_inflight_messages 0")
PASSWORD = "correct horse: battery/staple@ü"
StartMosquitto = Callable[..., Mosquitto]


def settings(port: int, **changes: Any) -> BrokerSettings:
    """Return settings for a broker on this machine."""
    return BrokerSettings(**{"host": "127.0.0.1", "port": port, "client_id": "box", **changes})


@pytest.fixture
def guarded(start_mosquitto: StartMosquitto, tmp_path: Path) -> Mosquitto:
    """Return a broker where `gw` may write below spectragate/ but not to verdicts, and `viewer` may read."""
    passwords = tmp_path / "pw"
    for user in ("gw", "viewer"):
        new = ["-c"] if user == "gw" else []
        command = ["mosquitto_passwd", "-b", *new, str(passwords), user, PASSWORD]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    rules = tmp_path / "acl"
    rules.write_text(
        "user gw\ntopic deny spectragate/verdicts\ntopic write spectragate/#\nuser viewer\ntopic read spectragate/#\n"
    )
    for file in (passwords, rules):
        file.chmod(0o600)
    return start_mosquitto("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")


@pytest.mark.end_to_end
@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
async def test_mosquitto_when_messages_are_published(start_mosquitto: StartMosquitto, protocol: str) -> None:
    """A subscriber gets every message as it was written, and who subscribes later still learns the retained state."""
    broker = start_mosquitto(*OPEN)
    messages = [message for message in EXAMPLES.values() if isinstance(message, Alert)]
    async with Publisher(settings(broker.port, protocol=protocol)) as publisher:
        assert publisher.version == ("3.1.1" if protocol == "3.1.1" else "5")
        with Subscriber(broker.port) as subscriber:
            assert await subscriber.next() == Received(TOPICS.available, b"online", retain=True)
            for message in messages:
                await publisher.publish(TOPICS.alerts, to_bytes(message), content_type=CLOUDEVENTS_TYPE)
            received = [await subscriber.next() for _ in messages]
    assert [parse(message.payload) for message in received] == messages
    assert {message.content_type for message in received} == {"" if protocol == "3.1.1" else CLOUDEVENTS_TYPE}
    with Subscriber(broker.port) as late:
        assert await late.next() == Received(TOPICS.available, b"stopped", retain=True)


@pytest.mark.end_to_end
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_mosquitto_when_the_body_fails(start_mosquitto: StartMosquitto, protocol: str) -> None:
    """The broker publishes the will: `offline`, retained."""
    broker = start_mosquitto(*OPEN)
    with Subscriber(broker.port, TOPICS.available) as subscriber:
        with contextlib.suppress(ZeroDivisionError):
            async with Publisher(settings(broker.port, protocol=protocol)):
                raise ZeroDivisionError
        assert [(await subscriber.next()).payload for _ in range(2)] == [b"online", b"offline"]


async def frozen_with_all_received(broker: Mosquitto, subscriber: Subscriber) -> None:
    """Stop the broker where it is, until the subscriber has read what the publisher was told to be safe.

    mosquitto saves nothing of what it has sent to a connected subscriber before that confirms it; and a subscriber that
    writes to a broker which is gone throws away what it has not read.
    """
    os.kill(broker.pid, signal.SIGSTOP)
    async with asyncio.timeout(30.0):
        # One is for `online`, which is not subscribed to.
        while subscriber.waiting < broker.log.count("Sending PUBACK to box") - 1:  # noqa: ASYNC110 (it has no event)
            await asyncio.sleep(0.01)


@pytest.mark.end_to_end
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
async def test_mosquitto_when_it_dies_in_the_middle(
    start_mosquitto: StartMosquitto, tmp_path: Path, how: signal.Signals
) -> None:
    """Every message arrives at least once, with its id, and first arrivals are in order."""
    broker = start_mosquitto(*DURABLE, f"persistence_location {tmp_path}/")
    count, third = 300, asyncio.Event()
    with Subscriber(broker.port, TOPICS.alerts) as subscriber:
        async with Publisher(settings(broker.port)) as publisher, asyncio.TaskGroup() as tasks:

            async def publish(number: int) -> None:
                payload = json.dumps({"id": f"box-{number}"}).encode()
                await publisher.publish(TOPICS.alerts, payload)
                if publisher.published >= count // 3:
                    third.set()

            for number in range(count):
                tasks.create_task(publish(number))
            await third.wait()
            if how is signal.SIGKILL:
                await frozen_with_all_received(broker, subscriber)
            await asyncio.to_thread(broker.end, how)
            await asyncio.to_thread(broker.start)
        received = await subscriber.until(json.dumps({"id": f"box-{count - 1}"}).encode())
    ids = [json.loads(message.payload)["id"] for message in received]
    assert list(dict.fromkeys(ids)) == [f"box-{number}" for number in range(count)]
    assert publisher.published == count


@pytest.mark.end_to_end
async def test_mosquitto_when_it_freezes(start_mosquitto: StartMosquitto) -> None:
    """A frozen broker is noticed by its missing ping; a message published meanwhile arrives after it wakes."""
    broker = start_mosquitto(*OPEN)
    async with Publisher(settings(broker.port, keepalive_s=1)) as publisher:
        async with asyncio.TaskGroup() as tasks:
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                tasks.create_task(publisher.publish(TOPICS.alerts, b"one"))
                async with asyncio.timeout(30.0):
                    while publisher.online:  # noqa: ASYNC110 (the publisher has no event for it)
                        await asyncio.sleep(0.05)
            finally:
                os.kill(broker.pid, signal.SIGCONT)
        assert publisher.published == 1


@pytest.mark.end_to_end
async def test_mosquitto_when_a_topic_is_denied(guarded: Mosquitto) -> None:
    """An access rule that denies is an error with the topic, although paho calls it published."""
    async with Publisher(settings(guarded.port, user="gw", password=PASSWORD)) as publisher:
        await publisher.publish(TOPICS.alerts, b"one")
        with pytest.raises(DeliveryError, match=f"{TOPICS.verdicts}: Not authorized"):
            await publisher.publish(TOPICS.verdicts, b"two")
        await publisher.publish(TOPICS.alerts, b"three")
        assert publisher.published == 2


@pytest.mark.end_to_end
async def test_mosquitto_when_the_user_may_only_read(guarded: Mosquitto) -> None:
    """That is noticed on connecting."""
    with pytest.raises(DeliveryError, match=rf"{TOPICS.available}: Not authorized"):
        await Publisher(settings(guarded.port, user="viewer", password=PASSWORD)).__aenter__()


@pytest.mark.end_to_end
@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
@pytest.mark.parametrize("login", [{}, {"user": "gw"}, {"user": "gw", "password": "wrong-Secret"}], ids=str)
async def test_mosquitto_when_the_login_is_wrong(guarded: Mosquitto, protocol: str, login: dict[str, str]) -> None:
    """The error names the settings to look at and not the password."""
    with pytest.raises(DeliveryError, match=r"refuses.*mqtt\.user and mqtt\.password") as refused:
        await Publisher(settings(guarded.port, protocol=protocol, **login)).__aenter__()
    assert "wrong-Secret" not in str(refused.value)


@pytest.fixture
def secure(start_mosquitto: StartMosquitto, authority: Path) -> Mosquitto:
    """Return a broker that speaks TLS and asks for a client certificate."""
    files = ("cafile ca.pem", "certfile srv.pem", "keyfile srv.key")
    lines = [f"{word} {authority / name}" for word, name in (line.split() for line in files)]
    return start_mosquitto(*lines, "tls_version tlsv1.2", "require_certificate true", *OPEN)


def certified(authority: Path) -> dict[str, Path]:
    """Return the settings of a client with a certificate."""
    return {
        "tls_ca_certs": authority / "ca.pem",
        "tls_certfile": authority / "client.pem",
        "tls_keyfile": authority / "client.key",
    }


@pytest.mark.end_to_end
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls_when_both_sides_have_certificates(secure: Mosquitto, authority: Path, host: str) -> None:
    """Messages go through, also more than fit into one TLS record."""
    async with (
        Publisher(settings(secure.port, host=host, **certified(authority))) as publisher,
        asyncio.TaskGroup() as all_,
    ):
        for _ in range(40):
            all_.create_task(publisher.publish(TOPICS.alerts, b"x" * 30_000))
    assert publisher.published == 40


@pytest.mark.end_to_end
async def test_tls_when_the_broker_is_not_trusted(secure: Mosquitto, authority: Path, tmp_path: Path) -> None:
    """A broker of another authority is refused, and the error names the setting."""
    await asyncio.to_thread(make_authority, tmp_path)
    strange = {**certified(authority), "tls_ca_certs": tmp_path / "ca.pem"}
    with pytest.raises(DeliveryError, match=r"certificate is not trusted.*mqtt\.tls_ca_certs"):
        await Publisher(settings(secure.port, **strange)).__aenter__()


@pytest.mark.end_to_end
async def test_tls_when_the_client_shows_no_certificate(secure: Mosquitto, authority: Path) -> None:
    """The broker hangs up, and the error leads to the certificate."""
    with pytest.raises(DeliveryError, match=r"cannot be used.*mqtt\.tls_certfile"):
        await Publisher(settings(secure.port, tls_ca_certs=authority / "ca.pem")).__aenter__()


@pytest.mark.end_to_end
async def test_tls_when_the_settings_forget_it(secure: Mosquitto) -> None:
    """A plain CONNECT to a TLS port is an error that mentions TLS."""
    with pytest.raises(DeliveryError, match="TLS"):
        await Publisher(settings(secure.port), connect_timeout_s=2.0).__aenter__()


@contextlib.asynccontextmanager
async def amqtt() -> AsyncIterator[int]:
    """Run amqtt inside this process, as the demo does, and give its port."""
    port = free_port()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    await broker.start()
    try:
        yield port
    finally:
        await broker.shutdown()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every connection's thread ends with its publisher."""
    yield
    for thread in threading.enumerate():
        if thread.name == "mqtt":
            thread.join(5.0)
            assert not thread.is_alive()


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
async def test_amqtt_when_messages_are_published(protocol: str) -> None:
    """It leaves a CONNECT of version 5 with a will unanswered: `auto` falls back after three seconds."""
    async with amqtt() as port, Publisher(settings(port, protocol=protocol)) as publisher:
        assert publisher.version == "3.1.1"
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(publisher.publish(TOPICS.alerts, b"%d" % number))
        assert publisher.published == 50
