"""A subscriber's connection to the broker, made again for ever: news come out, requests go in.

paho runs in one thread of its own and is called from nowhere else. Every session begins clean: what a broker keeps for
an absent subscriber is bounded and does not outlive the broker, and what was missed is asked for by number anyway. At
most `MAX_WAITING` messages wait for whoever reads the news; then the thread waits, and the broker with it.
"""

import asyncio
import contextlib
import itertools
import secrets
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from gateway.delivery.driver import MAX_PACKET_BYTES, announced_bytes, move_bytes
from gateway.delivery.tls import tls_context
from gateway.settings import BrokerSettings

MAX_WAITING = 1_000
CONNECT_S = 5.0
CONNACK_S = 3.0
_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 1.0
_TICK_S = 0.5
_FAREWELL_S = 1.0
_MAX_REQUESTS = 64
_PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
# What sockets, TLS, and paho's reading of a broken packet raise.
_FAILURES = (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error, MQTTException)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Up:
    """The subscription stands, on a new connection."""


@dataclass(frozen=True, slots=True)
class Down:
    """There is no connection; told once for each new reason."""

    reason: str


News = Arrived | Up | Down


def new_client_id() -> str:
    """Return a client id that no other subscriber has, in the 23 characters that every MQTT 3.1.1 broker takes."""
    return f"spectragate-watch-{secrets.token_hex(8)[:5]}"


class Subscriber:
    """An async context manager; `news` waits for the next thing that happens."""

    def __init__(self, settings: BrokerSettings, filters: tuple[str, ...]) -> None:
        self._news: asyncio.Queue[News] = asyncio.Queue()  # bounded by the driver's `room`
        self._driver = _Driver(settings, filters, self._news.put_nowait, asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._driver.run, name="watch", daemon=True)

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Say DISCONNECT where there is a connection, and end."""
        self._driver.stopping.set()
        self._driver.wake()
        await asyncio.to_thread(self._thread.join, 2 * _FAREWELL_S)

    async def news(self, *, within_s: float | None) -> News | None:
        """Return what happens next, or None when nothing happens in time."""
        try:
            async with asyncio.timeout(within_s):
                news = await self._news.get()
        except TimeoutError:
            return None
        if isinstance(news, Arrived):
            self._driver.room.release()
        return news

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a request where there is a connection; nothing is kept for later, the core asks again."""
        if len(self._driver.requests) < _MAX_REQUESTS:
            self._driver.requests.append((topic, payload))
            self._driver.wake()


class _Driver:
    """The thread's side."""

    def __init__(
        self,
        settings: BrokerSettings,
        filters: tuple[str, ...],
        tell: Callable[[News], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.stopping = threading.Event()
        self.room = threading.Semaphore(MAX_WAITING)
        self.requests: deque[tuple[str, bytes]] = deque()
        self._settings = settings
        self._filters = filters
        self._tell_loop = tell
        self._loop = loop
        self._versions = itertools.cycle(("5", "3.1.1") if settings.protocol == "auto" else (settings.protocol,))
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)  # noqa: FBT003 (a method of the socket)
        self._wake_out.setblocking(False)  # noqa: FBT003
        self._up = False
        self._reason = ""

    def wake(self) -> None:
        """Let the thread look around now."""
        with contextlib.suppress(OSError):  # full: it is awake anyway; closed: it has ended
            self._wake_in.send(b"\0")

    def _tell(self, news: News) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._tell_loop, news)

    def run(self) -> None:
        """Connect and serve, again and again, until told to stop: the whole life of the thread."""
        version, delay_s, told = next(self._versions), _FIRST_DELAY_S, ""
        try:
            while not self.stopping.is_set():
                self._up = False
                self._reason = "it hung up"
                self._connect_and_serve(version)
                if self.stopping.is_set():
                    return
                if self._up or self._reason != told:
                    told = self._reason
                    self._tell(Down(told))
                version = version if self._up else next(self._versions)
                delay_s = _FIRST_DELAY_S if self._up else min(2 * delay_s, _LAST_DELAY_S)
                self.stopping.wait(delay_s)
        finally:
            self._wake_in.close()
            self._wake_out.close()

    def _connect_and_serve(self, version: str) -> None:
        try:
            client = self._new_client(version)
            client.connect(self._settings.host, self._settings.port, self._settings.keepalive_s)
            connected: Any = client.socket()
            if connected is not None:
                with contextlib.closing(connected):
                    self._serve(client, connected)
        except _FAILURES as error:
            self._reason = _explain(error)

    def _new_client(self, version: str) -> paho.Client:
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=_PROTOCOLS[version],
            clean_session=True if version == "3.1.1" else None,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        if settings.user is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            client.username_pw_set(settings.user, password)
        if settings.tls_ca_certs is not None:
            client.tls_set_context(tls_context(settings))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _serve(self, client: paho.Client, connected: Any) -> None:
        """Move bytes until the connection is over; one that gets no subscription in time is given up."""
        began_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            selector.register(connected, selectors.EVENT_READ)
            while client.socket() is not None and not self.stopping.is_set():
                if not self._up and time.monotonic() - began_s > CONNACK_S:
                    self._reason = "no answer in time"
                    return
                self._send_requests(client)
                move_bytes(client, connected, selector, wake_out=self._wake_out)
                if announced_bytes(client) > MAX_PACKET_BYTES:  # paho would take it in
                    self._reason = f"it sends a packet of {announced_bytes(client)} bytes: too large for any of a box"
                    return
        self._leave(client)

    def _send_requests(self, client: paho.Client) -> None:
        while self.requests and self._up:
            topic, payload = self.requests.popleft()
            client.publish(topic, payload, qos=1)

    def _leave(self, client: paho.Client) -> None:
        if client.socket() is not None:
            client.socket().settimeout(_FAREWELL_S)  # type: ignore[union-attr]
            client.disconnect()
            client.loop_write()

    def _on_connect(self, client: paho.Client, _data: object, _flags: object, code: ReasonCode, _d: object) -> None:
        if code.is_failure:
            self._reason = f"it refuses: {code}"
            return
        client.subscribe([(one, 1) for one in self._filters])

    def _on_subscribe(self, client: paho.Client, _data: object, _mid: int, codes: list[ReasonCode], _d: object) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            self._reason = f"it refuses to let {self._settings.user or 'this subscriber'} read: {refused[0]}"
            client.disconnect()
            return
        self.requests.clear()  # of the connection before
        self._up = True
        self._tell(Up())

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        while not self.room.acquire(timeout=_TICK_S):
            if self.stopping.is_set():
                return
        self._tell(Arrived(message.topic, bytes(message.payload)))

    def _on_disconnect(self, _client: object, _data: object, _flags: object, code: ReasonCode, _d: object) -> None:
        if code.is_failure and self._reason == "it hung up":
            self._reason = f"connection lost: {code}"


def _explain(error: Exception) -> str:
    """Say what a failure means; the text of none of them holds the password."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case socket.gaierror() | UnicodeError():
            return "its name cannot be resolved"
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return error.strerror or str(error)
    return f"it answers, but not in MQTT: {error}"
