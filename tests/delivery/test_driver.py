"""What a hostile broker sends: bounded, counted, and named when it ends the connection."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from fakes.brokers import ScriptedBroker

from gateway.contract.requests import MAX_REQUEST_BYTES
from gateway.delivery.connection import Connection
from gateway.delivery.packets import Incoming, LinkReason, Terms
from gateway.settings import BrokerSettings


def publish_packet(topic: str, payload: bytes, *, retain: bool = False, packet_id: int = 0) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1 as a broker sends it, at QoS 0, or with a packet id at QoS 2."""
    number = struct.pack("!H", packet_id) if packet_id else b""
    body = struct.pack("!H", len(topic)) + topic.encode() + number + payload
    length, digits = len(body), b""
    while True:
        digits += bytes([length % 128 | (0x80 if length >= 128 else 0)])
        length //= 128
        if not length:
            return bytes([0x30 | (4 if packet_id else 0) | int(retain)]) + digits + body


@asynccontextmanager
async def connected(broker: ScriptedBroker, listen: Callable[[Incoming], None]) -> AsyncIterator[Connection]:
    """Connect to a scripted broker and abandon the connection with the block."""
    settings = BrokerSettings(host="127.0.0.1", port=broker.port, client_id="box")
    terms = Terms("3.1.1", connect_timeout_s=5.0, subscriptions=("spectragate/alerts/replay",))
    connection = Connection(settings, terms, listen=listen)
    try:
        assert await connection.open(within_s=5.0, connack_within_s=5.0) is None
        yield connection
    finally:
        connection.abandon()
        await asyncio.wait({connection.ended}, timeout=5.0)


async def test_requests_when_one_is_too_large() -> None:
    """It is dropped and counted; the next one comes through with its retain flag."""
    heard: asyncio.Queue[Incoming] = asyncio.Queue()
    async with ScriptedBroker().running() as broker, connected(broker, heard.put_nowait) as connection:
        broker.send(publish_packet("a", b"x" * (MAX_REQUEST_BYTES + 1)))
        broker.send(publish_packet("a", b"small", retain=True))
        async with asyncio.timeout(10.0):
            assert await heard.get() == Incoming("a", b"small", retain=True)
        assert connection.incoming_dropped == 1


async def test_requests_when_there_are_too_many() -> None:
    """A flood does not fill the memory: what cannot be taken is dropped and counted, nothing is taken twice."""
    heard: list[Incoming] = []
    async with ScriptedBroker().running() as broker, connected(broker, heard.append) as connection:
        broker.send(b"".join(publish_packet("a", b"%d" % number) for number in range(5_000)))
        async with asyncio.timeout(20.0):
            while len(heard) + connection.incoming_dropped < 5_000:  # noqa: ASYNC110 (the thread's counter)
                await asyncio.sleep(0.01)
    numbers = [int(message.payload) for message in heard]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("packet", [b"\x30\xff\xff\xff\x7f", b"\x30\x80\x80\x40abc"], ids=["256 MB", "1 MB"])
async def test_broker_when_it_announces_a_giant_packet(packet: bytes) -> None:
    """The connection ends before the packet is taken in, and says what was wrong."""
    async with ScriptedBroker().running() as broker, connected(broker, lambda _: None) as connection:
        broker.send(packet)
        async with asyncio.timeout(10.0):
            ended = await connection.ended
    assert ended.code is LinkReason.PROTOCOL
    assert "bytes" in ended.reason


async def test_broker_when_it_sends_at_qos_2_and_releases_nothing() -> None:
    """Nobody asked for it, and paho would keep all of them: the connection ends."""
    async with ScriptedBroker().running() as broker, connected(broker, lambda _: None) as connection:
        for number in range(1, 2_000):
            broker.send(publish_packet("a", b"x" * 1_000, packet_id=number))
        async with asyncio.timeout(10.0):
            ended = await connection.ended
    assert (ended.code, "packets wait" in ended.reason) == (LinkReason.PROTOCOL, True)


async def test_broker_when_a_topic_is_no_text() -> None:
    """The connection ends, and it is not said that a name was not found."""
    async with ScriptedBroker().running() as broker, connected(broker, lambda _: None) as connection:
        broker.send(b"\x30\x04\x00\x01\xffx")
        async with asyncio.timeout(10.0):
            ended = await connection.ended
    assert ended.code is LinkReason.PROTOCOL
