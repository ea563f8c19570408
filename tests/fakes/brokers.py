"""Brokers and a subscriber for tests: mosquitto as a child process, and a small broker that follows a script."""

import asyncio
import contextlib
import itertools
import os
import queue
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

START_S = 10.0
MISSING = "this test needs the mosquitto broker: apt-get install -y mosquitto"


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
_PORTS = random.SystemRandom().sample(range(20_000 + _WORKER, 32_000, 2), 6_000)
"""Below those that the system gives to connections: one of them would take the port of a broker that is away.

Even or odd, as the other of two workers that run tests would take it, too.
"""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now, and that was not returned before."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port := _PORTS.pop()))
            return port


def mosquitto_program() -> str | None:
    """Return the path of mosquitto, also where /usr/sbin is not searched, or None."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """A mosquitto child process on one loopback port; may be stopped, killed and started again."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        """Write the configuration: these lines, a listener, and `user root` where root runs the tests."""
        program = mosquitto_program()
        assert program is not None, MISSING
        self.port = port or free_port()
        self._log = folder / "mosquitto.log"
        config = folder / "mosquitto.conf"
        root = ["user root"] if os.geteuid() == 0 else []
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *lines, *root, ""]))
        self._command = [program, "-v", "-c", str(config)]
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the broker wrote so far."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> Self:
        """Start the child and wait until it listens."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._child.poll() is None, f"mosquitto ended at once:\n{self.log}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
                return self
            time.sleep(0.02)
        self.end(signal.SIGKILL)
        raise AssertionError(f"mosquitto does not listen on {self.port}:\n{self.log}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the child with a signal, by its process id, and reap it."""
        if self._child is not None:
            self._child.send_signal(how)
            try:
                self._child.wait(START_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait(START_S)
            self._child = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """End."""
        self.end()


def make_authority(folder: Path) -> None:
    """Let openssl make ca.pem, and srv.pem/srv.key and client.pem/client.key signed by it for localhost."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("srv", "client"):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed_by, "-out", f"{name}.pem")


@dataclass(frozen=True, slots=True)
class Received:
    """What a subscriber was given."""

    topic: str
    payload: bytes
    retain: bool
    content_type: str = ""


class Subscriber:
    """A subscriber with a persistent session: it comes back on its own and misses nothing the broker kept."""

    _numbers = itertools.count(1)

    def __init__(self, port: int, topic: str = "#", *, user: str | None = None, password: str | None = None) -> None:
        """Name the broker and the topic."""
        self._port = port
        self._topic = topic
        self._received: queue.Queue[Received] = queue.Queue()
        self._subscribed: queue.Queue[None] = queue.Queue()
        name = f"subscriber-{next(self._numbers)}"
        version = MQTTProtocolVersion.MQTTv5
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
        self._client.reconnect_delay_set(1, 1)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.put(None)
        self._client.on_message = self._on_message

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        content_type = getattr(message.properties, "ContentType", "")
        self._received.put(Received(message.topic, bytes(message.payload), message.retain, content_type))

    def __enter__(self) -> Self:
        """Connect and wait until the broker has the subscription."""
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", self._port, clean_start=False, properties=session)
        self._client.loop_start()
        self._subscribed.get(timeout=START_S)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self._client.loop_stop()
        self._client.disconnect()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish as anybody could."""
        self._client.publish(topic, payload, qos=1)

    @property
    def waiting(self) -> int:
        """How many messages have come and were not taken yet."""
        return self._received.qsize()

    async def next(self, *, within_s: float = START_S) -> Received:
        """Return the next message."""
        return await asyncio.to_thread(self._received.get, timeout=within_s)

    def send(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1."""
        self._client.publish(topic, payload, qos=1)

    async def until(self, last: bytes, *, within_s: float = 40.0) -> list[Received]:
        """Return everything up to the message with the payload `last`."""
        received = [await self.next(within_s=within_s)]
        while received[-1].payload != last:
            received.append(await self.next(within_s=within_s))
        return received


@dataclass(frozen=True, slots=True)
class Published:
    """A PUBLISH as the scripted broker read it; `connection` counts from 1, `packet_id` is 0 at QoS 0."""

    connection: int
    topic: str
    payload: bytes
    retain: bool
    packet_id: int


CONNACK_3 = b"\x20\x02\x00\x00"
CONNACK_5 = b"\x20\x03\x00\x00\x00"


def connack(level: int) -> bytes:
    """Accept, in the version of the CONNECT."""
    return CONNACK_5 if level == 5 else CONNACK_3


def puback(packet_id: int, reason: int = 0) -> bytes:
    """Acknowledge; with a reason, in version 5."""
    body = struct.pack("!H", packet_id) + (bytes([reason]) if reason else b"")
    return bytes([0x40, len(body)]) + body


Answer = bytes | None


@dataclass
class ScriptedBroker:
    """A broker that answers as told: `on_connect(level)` and `on_publish(published)` return bytes to send, or None.

    Empty bytes hang up. `levels` are the protocol levels of the CONNECTs seen (4 is MQTT 3.1.1, 5 is 5).
    """

    on_connect: Callable[[int], Answer] = connack
    on_publish: Callable[[Published], Answer] = lambda published: puback(published.packet_id)
    published: list[Published] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    farewells: int = 0
    port: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.hang_up()
            await server.wait_closed()

    def send(self, payload: bytes) -> None:
        """Send bytes to the newest client."""
        self._writers[-1].write(payload)

    def hang_up(self) -> None:
        """Close every connection without a word."""
        for writer in self._writers:
            writer.close()

    def payloads(self, connection: int) -> list[bytes]:
        """Return what was published on one connection, without the words on `available`."""
        return [
            published.payload
            for published in self.published
            if published.connection == connection and not published.topic.endswith("/available")
        ]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        number = len(self._writers)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, IndexError, struct.error):
                while (answer := self._answer(number, *await _packet(reader))) != b"":
                    if answer is not None:
                        writer.write(answer)
        finally:
            writer.close()

    def _answer(self, number: int, kind: int, body: bytes) -> Answer:
        match kind >> 4:
            case 1:
                (name_length,) = struct.unpack_from("!H", body)
                self.levels.append(body[2 + name_length])
                return self.on_connect(self.levels[-1])
            case 3:
                published = _published(number, kind, body, with_properties=self.levels[-1] == 5)
                self.published.append(published)
                return self.on_publish(published) if published.packet_id else None
            case 14:
                self.farewells += 1
                return b""
        return None


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return kind, await reader.readexactly(length)


def _published(connection: int, kind: int, body: bytes, *, with_properties: bool) -> Published:
    (length,) = struct.unpack_from("!H", body)
    topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
    packet_id, start = 0, 0
    if kind & 0x06:
        (packet_id,), start = struct.unpack_from("!H", rest), 2
    if with_properties:
        start += 1 + rest[start]  # all property lengths here are below 128
    return Published(connection, topic, rest[start:], retain=bool(kind & 1), packet_id=packet_id)
