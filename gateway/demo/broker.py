"""The demo's two ends of MQTT: a broker inside this process, and a subscriber that says which alerts really arrive."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.contract import messages
from gateway.errors import ConfigError, DeliveryError

if TYPE_CHECKING:
    from amqtt.broker import Broker

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
MAX_ALERTS = 10_000

_LISTENER = "default"


@asynccontextmanager
async def embedded_broker() -> AsyncIterator[int]:
    """Run an MQTT 3.1.1 broker on a free port of 127.0.0.1 and yield the port; whoever is on this machine may connect.

    Raises:
        ConfigError: amqtt is not installed.
        DeliveryError: It does not start in `START_TIMEOUT_S`.
    """
    with _quiet("amqtt"), _quiet("transitions"):
        broker = await _start_broker()
        connections = _Connections(broker)
        try:
            # The socket is ours: the system chooses a free port, and nothing but loopback ever listens.
            server = await asyncio.start_server(connections.serve, LOOPBACK, 0)
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                server.close()
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(broker.shutdown(), STOP_TIMEOUT_S)
            await connections.end()


async def _start_broker() -> "Broker":
    try:
        from amqtt.broker import Broker  # noqa: PLC0415  (of an extra: its absence is told in words)
    except ImportError as error:
        raise ConfigError(
            "the demo's own broker is missing: pip install '.[demo]', or name a broker: --broker HOST:PORT"
        ) from error
    broker = Broker(
        {
            "listeners": {_LISTENER: {"type": "external"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await broker.start()
    except TimeoutError as error:
        raise DeliveryError(f"the demo's own broker did not start in {START_TIMEOUT_S:g} s") from error
    return broker


class _Connections:
    """Hands connections to the broker, and ends those that it leaves behind: it forgets clients that never log in."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # noqa: PLC0415  (of an extra, see above)

        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        try:
            await self._broker.external_connected(StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's log to itself: it tells of every packet, and of every client that leaves."""
    logger = logging.getLogger(name)
    before = logger.propagate, logger.level
    silence = logging.NullHandler()
    logger.addHandler(silence)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(silence)
        logger.propagate, logger.level = before


class AlertSubscriber:
    """A subscriber to one topic of alerts, as an async context manager: counts what arrives, by the messages' ids.

    Raises:
        DeliveryError: On entering: the broker refuses, or has not confirmed the subscription in `START_TIMEOUT_S`.
    """

    def __init__(self, host: str, port: int, topic: str) -> None:
        self.arrived: dict[str, int] = {}
        self._where = f"the MQTT broker {host}:{port}"
        self._address = (host, port)
        self._topic = topic
        self._news = asyncio.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"spectragate-{secrets.token_hex(5)}",
            protocol=MQTTProtocolVersion.MQTTv311,
        )

    async def __aenter__(self) -> Self:
        """Connect and wait until the broker has the subscription."""
        loop = asyncio.get_running_loop()
        subscribed: asyncio.Future[str | None] = loop.create_future()

        def settle(refusal: str | None) -> None:
            if not subscribed.done():
                subscribed.set_result(refusal)

        def on_connect(client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            if code.is_failure:
                loop.call_soon_threadsafe(settle, str(code))
            else:
                client.subscribe(self._topic, qos=1)

        def on_subscribe(_client: Any, _data: Any, _id: Any, codes: list[Any], _properties: Any) -> None:
            loop.call_soon_threadsafe(settle, next((str(code) for code in codes if code.is_failure), None))

        def on_message(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
            loop.call_soon_threadsafe(self._take, bytes(message.payload))

        self._client.on_connect = on_connect
        self._client.on_subscribe = on_subscribe
        self._client.on_message = on_message
        await self._connect(subscribed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the broker and end the thread."""
        await self._leave()

    async def missing(self, ids: frozenset[str], *, within_s: float) -> frozenset[str]:
        """Wait until messages with all these ids have arrived; return those that have not in `within_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not ids <= self.arrived.keys():
                    self._news.clear()
                    await self._news.wait()
        return ids - self.arrived.keys()

    async def _connect(self, subscribed: asyncio.Future[str | None]) -> None:
        refusal: str | None = f"no answer in {START_TIMEOUT_S:g} s"
        stands = False
        try:
            self._client.connect_async(*self._address)
            self._client.loop_start()
            with contextlib.suppress(TimeoutError):
                refusal = await asyncio.wait_for(subscribed, START_TIMEOUT_S)
            stands = refusal is None
        finally:
            if not stands:
                await self._leave()
        if refusal is not None:
            raise DeliveryError(f"{self._where} cannot be listened to on {self._topic}: {refusal}. Check --broker")

    async def _leave(self) -> None:
        self._client.disconnect()
        # Joining the thread may wait for a connection attempt: not on the event loop.
        await asyncio.to_thread(self._client.loop_stop)

    def _take(self, payload: bytes) -> None:
        try:
            message = messages.parse(payload)
        except messages.MessageError:
            return  # somebody else's, on a broker that is not the demo's own
        if message.type == "spectragate.alert.v1" and (message.id in self.arrived or len(self.arrived) < MAX_ALERTS):
            self.arrived[message.id] = self.arrived.get(message.id, 0) + 1
            self._news.set()
