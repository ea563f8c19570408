"""The thread of one MQTT connection: paho, its socket, and which packet id carries which number.

paho runs in this thread and is called from nowhere else: orders come in through a queue and a wake-up socket, news go
out through `call_soon_threadsafe`. paho never reconnects and never queues; both are the publisher's business, because
what paho queues can neither be seen nor kept from going out twice.
"""

import asyncio
import contextlib
import selectors
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.contract.requests import MAX_REQUEST_BYTES
from gateway.contract.topics import OFFLINE
from gateway.delivery.packets import (
    CHECK_ADDRESS,
    CHECK_BROKER,
    CHECK_LISTENER,
    CHECK_TLS,
    Ended,
    Incoming,
    LinkReason,
    Outgoing,
    Terms,
    explain_code,
)
from gateway.delivery.tls import TlsFileError, tls_context
from gateway.settings import BrokerSettings

MAX_PACKET_BYTES = 65_536
_PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_TICK_S = 1.0  # how often paho looks at its keepalive
# What sockets, TLS, and paho's reading of a broken packet raise.
_FAILURES = (OSError, ValueError, LookupError, TypeError, struct.error, MQTTException)
_UNSUPPORTED_VERSION = 0x84
_UNLIMITED = 65_535  # what MQTT 5 means when the broker names no receive maximum
_MOST_UNCONFIRMED = 64  # well above the windows: beyond it, this broker has stopped confirming
_MOST_INCOMING = 64
_MOST_HELD_PACKETS = 256  # beyond it, this broker sends at QoS 2, which nobody asked for, or takes no PUBACK


class News(Protocol):
    """What the thread tells; every call is made on the loop."""

    def on_reached(self) -> None:
        """TCP and TLS stand, CONNECT is out."""

    def on_opened(self, refused: Ended | None) -> None:
        """CONNACK is here."""

    def on_answers(self, answers: Sequence[tuple[int, str | None]]) -> None:
        """PUBACKs are here, in their order: the number of each message, and the broker's refusal."""

    def on_subscriptions_refused(self, refused: tuple[str, ...]) -> None:
        """The broker does not let us listen to these."""

    def on_incoming(self) -> None:
        """One more message lies in `incoming`."""

    def on_ended(self, ended: Ended) -> None:
        """The thread has done its last."""


class Driver:
    """The whole life of the thread is `run`."""

    def __init__(
        self,
        settings: BrokerSettings,
        terms: Terms,
        *,
        news: News,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.orders: deque[Outgoing] = deque()  # at most `_MOST_UNCONFIRMED`, then the connection ends
        self.incoming: deque[Incoming] = deque()  # at most `_MOST_INCOMING`; what is beyond is dropped
        self.incoming_dropped = 0
        self.turns = 0  # grows at least every `_TICK_S` while the connection stands: proof that this thread lives
        self.leaving = threading.Event()
        self.abandoned = threading.Event()
        self._settings = settings
        self._terms = terms
        self._news = news
        self._loop = loop
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)  # noqa: FBT003 (a method of the socket)
        self._wake_out.setblocking(False)  # noqa: FBT003
        self._is_woken = False
        self._numbers: dict[int, int] = {}
        self._answers: list[tuple[int, str | None]] = []
        self._may_be_unacknowledged = 0  # until CONNACK says more
        self._accepted = False
        self._ended: Ended | None = None

    def wake(self) -> None:
        """Let the thread look at its orders now; called from the loop, where one byte does for many orders."""
        if self._is_woken:
            return
        self._is_woken = True
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
            self._tell_answers()
            self._tell(self._news.on_ended, ended)

    def _tell(self, news: Callable[..., None], *facts: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(news, *facts)

    def _tell_answers(self) -> None:
        if self._answers:
            answers, self._answers = self._answers, []
            self._tell(self._news.on_answers, answers)

    def _serve(self) -> Ended:
        client = self._new_client()
        client.connect(self._settings.host, self._settings.port, self._settings.keepalive_s, properties=self._wishes())
        connected: Any = client.socket()  # a socket, with TLS one that also has bytes `pending`
        if connected is None:  # CONNECT could not even be written
            return self._ended or Ended("it hung up without CONNACK", CHECK_LISTENER, code=LinkReason.PROTOCOL)
        self._tell(self._news.on_reached)
        with contextlib.closing(connected), selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            selector.register(connected, selectors.EVENT_READ)
            while client.socket() is not None and not self.abandoned.is_set():
                self.turns += 1
                self._is_woken = False  # before the orders: whatever comes from now on wakes again
                self._carry_out_orders(client)
                if client.socket() is not None:
                    move_bytes(client, connected, selector, wake_out=self._wake_out)
                    self._tell_answers()
                    self._refuse_excess(client)
        return self._ended or Ended("given up", CHECK_BROKER)

    def _new_client(self) -> paho.Client:
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=_PROTOCOLS[self._terms.version],
            clean_session=True if self._terms.version == "3.1.1" else None,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._terms.connect_timeout_s
        client.max_inflight_messages_set(0)  # the publisher's window rules
        if self._terms.will_topic is not None:
            client.will_set(self._terms.will_topic, OFFLINE, qos=1, retain=True)
        if settings.user is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            client.username_pw_set(settings.user, password)
        if settings.tls_ca_certs is not None:
            client.tls_set_context(tls_context(settings))
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _wishes(self) -> Properties | None:
        """Return what MQTT 5 lets us ask for: small packets, and few at a time."""
        if self._terms.version != "5":
            return None
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.MaximumPacketSize = MAX_PACKET_BYTES
        wishes.ReceiveMaximum = _MOST_INCOMING
        return wishes

    def _carry_out_orders(self, client: paho.Client) -> None:
        if len(self.orders) + len(self._numbers) > _MOST_UNCONFIRMED:
            self._ended = Ended("it no longer confirms what it is sent", CHECK_BROKER, code=LinkReason.SILENT)
            self.abandoned.set()
            return
        while self.orders and len(self._numbers) < self._may_be_unacknowledged:
            message = self.orders.popleft()
            properties = None
            if message.content_type and self._terms.version == "5":
                properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                properties.ContentType = message.content_type
            sent = client.publish(
                message.topic, message.payload, qos=message.qos, retain=message.retain, properties=properties
            )
            if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return  # the connection broke: the publisher keeps the message
            if message.qos:
                self._numbers[sent.mid] = message.number
        if self.leaving.is_set():
            self.leaving.clear()
            client.disconnect()

    def _refuse_excess(self, client: paho.Client) -> None:
        """End the connection when a broker sends what none of ours does; paho would keep all of it in memory."""
        announced = announced_bytes(client)
        if announced > MAX_PACKET_BYTES:
            what = f"it sends a packet of {announced} bytes, at most {MAX_PACKET_BYTES} are taken"
        elif held_packets(client) > _MOST_HELD_PACKETS:
            what = f"more than {_MOST_HELD_PACKETS} packets wait for it: it sends and does not go on"
        else:
            return
        self._ended = Ended(what, CHECK_BROKER, code=LinkReason.PROTOCOL)
        self.abandoned.set()

    def _on_socket_open(self, _client: object, _data: object, opened: Any) -> None:
        if self.abandoned.is_set():  # a CONNECT this late would take over the session of our next connection
            raise TimeoutError
        # Small packets must not wait until the ones before are acknowledged by TCP.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(self, client: paho.Client, _data: object, _flags: object, code: ReasonCode, details: Any) -> None:
        if code.is_failure:
            other = code.value == _UNSUPPORTED_VERSION
            check, word = explain_code(code.value, otherwise=LinkReason.REFUSED)
            self._ended = Ended(f"it refuses: {code}", check, other, word)
            return
        self._accepted = True
        self._may_be_unacknowledged = getattr(details, "ReceiveMaximum", _UNLIMITED)
        if self._terms.subscriptions:
            client.subscribe([(topic, 1) for topic in self._terms.subscriptions])
        self._tell(self._news.on_opened, None)

    def _on_subscribe(
        self, _client: object, _data: object, _mid: int, codes: Sequence[ReasonCode], _details: object
    ) -> None:
        pairs = zip(self._terms.subscriptions, codes, strict=False)
        refused = tuple(f"{topic}: {code}" for topic, code in pairs if code.is_failure)
        if refused:
            self._tell(self._news.on_subscriptions_refused, refused)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if len(self.incoming) >= _MOST_INCOMING or len(message.payload) > MAX_REQUEST_BYTES:
            self.incoming_dropped += 1
            return
        self.incoming.append(Incoming(message.topic, bytes(message.payload), retain=message.retain))
        self._tell(self._news.on_incoming)

    def _on_publish(self, _client: object, _data: object, mid: int, code: ReasonCode, details: Any) -> None:
        number = self._numbers.pop(mid, None)
        if number is None:
            return
        explained = getattr(details, "ReasonString", "")
        refusal = f"{code}{f' ({explained})' if explained else ''}" if code.is_failure else None
        self._answers.append((number, refusal))

    def _on_disconnect(self, _client: object, _data: object, _flags: object, code: ReasonCode, _d: object) -> None:
        if self._ended is not None:
            return
        if self._accepted:
            check, word = explain_code(code.value, otherwise=LinkReason.LOST)
            self._ended = Ended(f"connection lost: {code}", check, code=word)
        else:
            self._ended = Ended(
                "it hung up without CONNACK", CHECK_LISTENER, try_other_version=True, code=LinkReason.PROTOCOL
            )

    def _explain(self, error: Exception) -> Ended:
        """Say what a failure means to the operator; the text of none of them holds the password."""
        match error:
            case TlsFileError():
                return Ended(str(error), "the file's path, format and permissions", code=LinkReason.TLS)
            case ssl.SSLCertVerificationError():
                what = f"its certificate is not trusted: {error.verify_message}"
                return Ended(what, CHECK_TLS, code=LinkReason.TLS)
            case ssl.SSLError():
                return Ended(f"TLS failed: {error.reason or error}", CHECK_LISTENER, code=LinkReason.TLS)
            case socket.gaierror() | UnicodeError() if not self._accepted:
                return Ended("its name cannot be resolved", "mqtt.host", code=LinkReason.NAME)
            case TimeoutError():
                return Ended("no answer in time", CHECK_ADDRESS, code=LinkReason.TIMEOUT)
            case ConnectionRefusedError():
                return Ended(error.strerror or str(error), CHECK_ADDRESS, code=LinkReason.REFUSED)
            case OSError():
                word = LinkReason.LOST if self._accepted else LinkReason.UNREACHABLE
                return Ended(error.strerror or str(error), CHECK_ADDRESS, code=word)
        return Ended(
            f"it answers, but not in MQTT: {error}", CHECK_LISTENER, not self._accepted, code=LinkReason.PROTOCOL
        )


def move_bytes(client: paho.Client, connected: Any, selector: selectors.BaseSelector, *, wake_out: Any) -> None:
    """Wait until there is something to do and do it; paho closes its socket when the connection is over.

    `selector` knows both: the connection, and the socket on which others wake this thread.
    """
    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
    selector.modify(connected, wanted)
    pending = isinstance(connected, ssl.SSLSocket) and connected.pending() > 0
    events = {key.fileobj: mask for key, mask in selector.select(0 if pending else _TICK_S)}
    if wake_out in events:
        wake_out.recv(4096)
    mask = events.get(connected, 0)
    if pending or mask & selectors.EVENT_READ:
        client.loop_read()
    if mask & selectors.EVENT_WRITE:
        client.loop_write()
    client.loop_misc()


def announced_bytes(client: paho.Client) -> int:
    """Return how large the packet is that paho has begun to read; 0 between packets."""
    return int(client._in_packet["remaining_length"])  # noqa: SLF001 (paho says it nowhere else)


def held_packets(client: paho.Client) -> int:
    """Return how many packets paho keeps: of QoS 2 and not released, or written to a socket that takes nothing."""
    return len(client._in_messages) + len(client._out_packet)  # noqa: SLF001
