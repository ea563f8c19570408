"""One MQTT connection, from CONNECT to its end, used once.

paho runs in one thread of the connection's own and is called from nowhere else: orders go in through a queue and a
wake-up socket, news come out through `call_soon_threadsafe`. paho never reconnects and never queues; both are the
publisher's business, because what paho queues can neither be seen nor kept from going out twice.
"""

import asyncio
import contextlib
import selectors
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.contract.topics import OFFLINE
from gateway.settings import BrokerSettings

Version = Literal["5", "3.1.1"]
Acknowledged = Callable[[int, str | None], None]

_PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_TICK_S = 1.0  # how often paho looks at its keepalive
# What sockets, TLS, and paho's reading of a broken packet raise.
_FAILURES = (OSError, ValueError, LookupError, TypeError, struct.error, MQTTException)

_CHECK_ADDRESS = "mqtt.host, mqtt.port, and that the broker runs"
_CHECK_LOGIN = "mqtt.user and mqtt.password, and what the broker allows this user"
_CHECK_TLS = "mqtt.tls_ca_certs, and that mqtt.host is a name in the broker's certificate"
_CHECK_LISTENER = "mqtt.port, mqtt.protocol, and whether this port speaks TLS (mqtt.tls_ca_certs, mqtt.tls_certfile)"
_CHECK_BROKER = "the broker's log"
_CHECK_BY_CODE = {
    0x84: "mqtt.protocol",
    0x85: "mqtt.client_id",
    0x86: _CHECK_LOGIN,
    0x87: _CHECK_LOGIN,
    0x8C: _CHECK_LOGIN,
    0x8E: "whether another program uses the same mqtt.client_id",
}
_UNSUPPORTED_VERSION = 0x84
_UNLIMITED = 65_535  # what MQTT 5 means when the broker names no receive maximum
_MOST_UNCONFIRMED = 64  # well above the publisher's window: beyond it, this broker has stopped confirming


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish at QoS 1; `number` is how its acknowledgement names it."""

    number: int
    topic: str
    payload: bytes
    retain: bool = False
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why there is no connection, what the operator should look at, and whether the other version may do better."""

    reason: str
    check: str
    try_other_version: bool = False


class Connection:
    """The event loop's side. `acknowledged(number, refusal)` is called on the loop for every PUBACK.

    A `will_topic` gets the retained will `offline`. `refusal` is None or the broker's reason; MQTT 3.1.1 has none, and
    there a broker that denies says nothing or hangs up.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        version: Version,
        connect_timeout_s: float,
        will_topic: str | None,
        acknowledged: Acknowledged,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._reached: asyncio.Future[None] = loop.create_future()
        self._opened: asyncio.Future[Ended | None] = loop.create_future()
        self.on_acknowledged = acknowledged
        self._driver = _Driver(
            settings,
            version=version,
            connect_timeout_s=connect_timeout_s,
            will_topic=will_topic,
            news=self,
            loop=loop,
        )

    async def open(self, *, within_s: float, connack_within_s: float) -> Ended | None:
        """Connect; return None when the broker accepted, else why not. The first call on a connection."""
        threading.Thread(target=self._driver.run, name="mqtt", daemon=True).start()
        try:
            async with asyncio.timeout(within_s):
                ways_on: tuple[asyncio.Future[Any], ...] = (self._reached, self._opened)
                await asyncio.wait(ways_on, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({self._opened}, timeout=connack_within_s)
        except TimeoutError:
            pass  # the two futures say how far it came
        finally:
            if not self._opened.done():
                self.abandon()
        if self._opened.done():
            return self._opened.result()
        if self._reached.done():
            return Ended("it takes connections but sent no CONNACK in time", _CHECK_LISTENER, try_other_version=True)
        return Ended("no answer in time", _CHECK_ADDRESS)

    def send(self, message: Outgoing) -> None:
        """Hand a message over without waiting. Its PUBACK follows, or the end of the connection."""
        self._driver.orders.append(message)
        self._driver.wake()

    async def leave(self, *, within_s: float) -> None:
        """Say DISCONNECT, so that the broker drops the will, and wait for the end; abandon after `within_s`."""
        self._driver.leaving.set()
        self._driver.wake()
        try:
            await asyncio.wait({self.ended}, timeout=within_s)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the socket without a word; the broker publishes the will.

        The thread ends at once, or when the system gives up resolving or reaching the host.
        """
        self._driver.abandoned.set()
        self._driver.wake()

    def on_reached(self) -> None:
        """TCP and TLS stand, CONNECT is out; called on the loop, like all news."""
        if not self._reached.done():
            self._reached.set_result(None)

    def on_opened(self, refused: Ended | None) -> None:
        """CONNACK is here."""
        if not self._opened.done():
            self._opened.set_result(refused)

    def on_ended(self, ended: Ended) -> None:
        """The thread has done its last."""
        self.on_opened(ended)
        if not self.ended.done():
            self.ended.set_result(ended)


class _Driver:
    """The thread's side: paho, its socket, and which packet id carries which number."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        version: Version,
        connect_timeout_s: float,
        will_topic: str | None,
        news: Connection,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.orders: deque[Outgoing] = deque()  # at most `_MOST_UNCONFIRMED`, then the connection ends
        self.leaving = threading.Event()
        self.abandoned = threading.Event()
        self._settings = settings
        self._version = version
        self._connect_timeout_s = connect_timeout_s
        self._will_topic = will_topic
        self._news = news
        self._loop = loop
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)  # noqa: FBT003 (a method of the socket)
        self._wake_out.setblocking(False)  # noqa: FBT003
        self._numbers: dict[int, int] = {}
        self._may_be_unacknowledged = 0  # until CONNACK says more
        self._accepted = False
        self._ended: Ended | None = None

    def wake(self) -> None:
        """Let the thread look at its orders now; called from the loop."""
        with contextlib.suppress(OSError):  # full: it is awake anyway; closed: it has ended
            self._wake_in.send(b"\0")

    def run(self) -> None:
        """Connect and serve until the connection is over; the whole life of the thread."""
        ended = Ended("its thread failed", "the log of this program, and report it")
        try:
            ended = self._serve()
        except _FAILURES as error:
            ended = self._explain(error)
        finally:
            self._wake_in.close()
            self._wake_out.close()
            self._tell(self._news.on_ended, ended)

    def _tell(self, news: Callable[..., None], *facts: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(news, *facts)

    def _serve(self) -> Ended:
        client = self._new_client()
        client.connect(self._settings.host, self._settings.port, self._settings.keepalive_s)
        connected: Any = client.socket()  # a socket, with TLS one that also has bytes `pending`
        if connected is None:  # CONNECT could not even be written
            return self._ended or Ended("it hung up without CONNACK", _CHECK_LISTENER)
        self._tell(self._news.on_reached)
        with contextlib.closing(connected), selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            selector.register(connected, selectors.EVENT_READ)
            while client.socket() is not None and not self.abandoned.is_set():
                self._carry_out_orders(client)
                if client.socket() is not None:
                    self._move_bytes(client, connected, selector)
        return self._ended or Ended("given up", _CHECK_BROKER)

    def _new_client(self) -> paho.Client:
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=_PROTOCOLS[self._version],
            clean_session=True if self._version == "3.1.1" else None,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._connect_timeout_s
        client.max_inflight_messages_set(0)  # the publisher's window rules
        if self._will_topic is not None:
            client.will_set(self._will_topic, OFFLINE, qos=1, retain=True)
        if settings.user is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            client.username_pw_set(settings.user, password)
        if settings.tls_ca_certs is not None:
            client.tls_set_context(tls_context(settings))
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        return client

    def _carry_out_orders(self, client: paho.Client) -> None:
        if len(self.orders) + len(self._numbers) > _MOST_UNCONFIRMED:
            self._ended = Ended("it no longer confirms what it is sent", _CHECK_BROKER)
            self.abandoned.set()
            return
        while self.orders and len(self._numbers) < self._may_be_unacknowledged:
            message = self.orders.popleft()
            properties = None
            if message.content_type and self._version == "5":
                properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                properties.ContentType = message.content_type
            sent = client.publish(message.topic, message.payload, qos=1, retain=message.retain, properties=properties)
            if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return  # the connection broke: the publisher keeps the message
            self._numbers[sent.mid] = message.number
        if self.leaving.is_set():
            self.leaving.clear()
            client.disconnect()

    def _move_bytes(self, client: paho.Client, connected: Any, selector: selectors.BaseSelector) -> None:
        """Wait until there is something to do and do it; paho closes its socket when the connection is over."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
        selector.modify(connected, wanted)
        pending = isinstance(connected, ssl.SSLSocket) and connected.pending() > 0
        events = {key.fileobj: mask for key, mask in selector.select(0 if pending else _TICK_S)}
        if self._wake_out in events:
            self._wake_out.recv(4096)
        mask = events.get(connected, 0)
        if pending or mask & selectors.EVENT_READ:
            client.loop_read()
        if mask & selectors.EVENT_WRITE:
            client.loop_write()
        client.loop_misc()

    def _on_socket_open(self, _client: object, _data: object, opened: Any) -> None:
        if self.abandoned.is_set():  # a CONNECT this late would take over the session of our next connection
            raise TimeoutError
        # Small packets must not wait until the ones before are acknowledged by TCP.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(self, _client: object, _data: object, _flags: object, code: ReasonCode, details: Any) -> None:
        if code.is_failure:
            other = code.value == _UNSUPPORTED_VERSION
            self._ended = Ended(f"it refuses: {code}", _CHECK_BY_CODE.get(code.value, _CHECK_BROKER), other)
            return
        self._accepted = True
        self._may_be_unacknowledged = getattr(details, "ReceiveMaximum", _UNLIMITED)
        self._tell(self._news.on_opened, None)

    def _on_publish(self, _client: object, _data: object, mid: int, code: ReasonCode, details: Any) -> None:
        number = self._numbers.pop(mid, None)
        if number is None:
            return
        explained = getattr(details, "ReasonString", "")
        refusal = f"{code}{f' ({explained})' if explained else ''}" if code.is_failure else None
        self._tell(self._news.on_acknowledged, number, refusal)

    def _on_disconnect(self, _client: object, _data: object, _flags: object, code: ReasonCode, _d: object) -> None:
        if self._ended is not None:
            return
        if self._accepted:
            self._ended = Ended(f"connection lost: {code}", _CHECK_BY_CODE.get(code.value, _CHECK_BROKER))
        else:
            self._ended = Ended("it hung up without CONNACK", _CHECK_LISTENER, try_other_version=True)

    def _explain(self, error: Exception) -> Ended:
        """Say what a failure means to the operator; the text of none of them holds the password."""
        match error:
            case _TlsFileError():
                return Ended(str(error), "the file's path, format and permissions")
            case ssl.SSLCertVerificationError():
                return Ended(f"its certificate is not trusted: {error.verify_message}", _CHECK_TLS)
            case ssl.SSLError():
                return Ended(f"TLS failed: {error.reason or error}", _CHECK_LISTENER)
            case socket.gaierror() | UnicodeError():
                return Ended("its name cannot be resolved", "mqtt.host")
            case TimeoutError():
                return Ended("no answer in time", _CHECK_ADDRESS)
            case OSError():
                return Ended(error.strerror or str(error), _CHECK_ADDRESS)
        return Ended(f"it answers, but not in MQTT: {error}", _CHECK_LISTENER, try_other_version=not self._accepted)


class _TlsFileError(OSError):
    """A certificate or key file cannot be used."""


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 (the signature of the base class)
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def tls_context(settings: BrokerSettings) -> ssl.SSLContext:
    """Return TLS 1.2 or newer that trusts the given authority alone and checks the broker's name.

    Raises:
        OSError: A file cannot be used; the text names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TlsSocket
    try:
        context.load_verify_locations(cafile=settings.tls_ca_certs)
    except OSError as error:
        raise _TlsFileError(f"mqtt.tls_ca_certs {settings.tls_ca_certs} cannot be used: {error}") from error
    if settings.tls_certfile is not None:
        try:
            # The empty password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(settings.tls_certfile, settings.tls_keyfile, password="")
        except OSError as error:
            files = f"mqtt.tls_certfile {settings.tls_certfile} with mqtt.tls_keyfile {settings.tls_keyfile}"
            raise _TlsFileError(f"{files} cannot be used: {error}") from error
    return context
