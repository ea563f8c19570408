"""Publishing over MQTT at QoS 1: every message until its PUBACK, over as many connections as it takes.

A PUBACK says that the broker has the message, not that it survives the broker's power cut: who needs that keeps the
message and publishes it again. This module keeps at most `WINDOW` messages, in memory, in order.
"""

import asyncio
import itertools
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import structlog

from gateway.contract.topics import ONLINE, STOPPED, Topics
from gateway.delivery.connection import Connection
from gateway.delivery.packets import Ended, Outgoing, Terms, Version
from gateway.errors import DeliveryError
from gateway.settings import BrokerSettings

WINDOW = 16
CONNECT_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 30.0
CONNACK_TIMEOUT_S = 3.0  # with `protocol: auto`, how long version 5 may stay unanswered
_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 1.0
_STEADY_S = 5.0  # a connection that lived shorter is no reason to reconnect quickly
_FAREWELL_S = 2.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class _Unacknowledged:
    """A message the broker has not confirmed; the future holds the broker's refusal, or None."""

    message: Outgoing
    acknowledgement: asyncio.Future[str | None]


class Publisher:
    """A box's presence at the broker, as an async context manager.

    Entering connects and says `online` on `<prefix>/available`; leaving says `stopped`. When the body fails, nothing is
    said and the broker publishes the will `offline`. Without `presence` none of this is said: a replay beside a running
    daemon must not speak for it. A lost connection is made again for ever, at most a second apart,
    and what was not acknowledged goes out again in its order; subscribers drop the duplicates by `id`. Used once.

    Raises:
        DeliveryError: On entering: the broker refuses, or cannot be reached in `connect_timeout_s`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        presence: bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
    ) -> None:
        self._settings = settings
        self._where = f"the MQTT broker {settings.host}:{settings.port}"
        self._available = Topics(settings.topic_prefix).available if presence else None
        self._connect_timeout_s = connect_timeout_s
        self._publish_timeout_s = publish_timeout_s
        self._version: Version = "3.1.1" if settings.protocol == "3.1.1" else "5"
        self._room = asyncio.Semaphore(WINDOW)
        self._numbers = itertools.count()
        self._window: dict[int, _Unacknowledged] = {}  # in the order of publishing
        self._notices: dict[int, _Unacknowledged] = {}  # on `available`, of one connection
        self._connection: Connection | None = None
        self._closed = False
        self._tasks = asyncio.TaskGroup()
        self.published = 0

    @property
    def version(self) -> Version:
        """The MQTT version in use."""
        return self._version

    @property
    def online(self) -> bool:
        """Whether the broker is connected now."""
        return self._connection is not None

    @property
    def waiting(self) -> int:
        """How many messages wait for their PUBACK, at most `WINDOW`."""
        return len(self._window)

    async def __aenter__(self) -> Self:
        """Connect."""
        connection = await self._connect_first()
        await self._tasks.__aenter__()
        self._keeper = self._tasks.create_task(self._stay_connected(connection), name="mqtt")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say `stopped`, unless the body failed, and disconnect."""
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        self._closed = True
        self._keeper.cancel()
        try:
            await self._go_offline(in_good_order=kind is None or cancelled)
        finally:
            # The group must see a cancellation, but would wrap any other error of the body.
            await self._tasks.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, content_type: str = "") -> None:
        """Publish and return after the PUBACK; wait for room when `WINDOW` messages are unacknowledged.

        `content_type` is told to MQTT 5 subscribers.

        Raises:
            DeliveryError: The broker refused this message, or did not acknowledge it in time; then it may still arrive.
            ValueError: This is no topic to publish to.
        """
        _check_topic(topic)
        try:
            async with asyncio.timeout(self._publish_timeout_s), self._room:
                refusal = await self._acknowledgement(topic, payload, retain=retain, content_type=content_type)
        except TimeoutError as error:
            state = "connected, but it stays silent" if self.online else "away"
            raise DeliveryError(
                f"{self._where} did not confirm a message on {topic} in {self._publish_timeout_s:g} s: it is {state}"
            ) from error
        if refusal is not None:
            raise DeliveryError(
                f"{self._where} refuses a message on {topic}: {refusal}. Check what it allows the user of mqtt.user"
            )
        self.published += 1

    async def _acknowledgement(self, topic: str, payload: bytes, *, retain: bool, content_type: str) -> str | None:
        if self._closed:
            raise DeliveryError(f"{self._where}: the publisher is closed, a message on {topic} stays here")
        message = Outgoing(next(self._numbers), topic, payload, retain=retain, content_type=content_type)
        entry = _Unacknowledged(message, asyncio.get_running_loop().create_future())
        self._window[message.number] = entry
        try:
            if self._connection is not None:
                self._connection.send(message)
            return await entry.acknowledgement
        finally:
            del self._window[message.number]

    def _on_acknowledged(self, number: int, refusal: str | None) -> None:
        entry = self._window.get(number) or self._notices.get(number)
        if entry is not None and not entry.acknowledgement.done():
            entry.acknowledgement.set_result(refusal)

    async def _connect_first(self) -> Connection:
        """Connect in the version asked for; with `auto` in 5, and where that is not answered, in 3.1.1."""
        deadline_s = asyncio.get_running_loop().time() + self._connect_timeout_s
        failed = Ended("no time was left", "the deadline")
        for version in ("5", "3.1.1") if self._settings.protocol == "auto" else (self._version,):
            self._version = version
            left_s = deadline_s - asyncio.get_running_loop().time()
            patient = self._settings.protocol != "auto" or version == "3.1.1"
            connack_within_s = left_s if patient else min(CONNACK_TIMEOUT_S, left_s / 2)
            outcome = await self._attempt(within_s=left_s, connack_within_s=connack_within_s)
            if isinstance(outcome, Connection):
                return outcome
            failed = outcome
            if not failed.try_other_version:
                break
        raise DeliveryError(f"{self._where} cannot be used: {failed.reason}. Check {failed.check}")

    async def _attempt(self, *, within_s: float, connack_within_s: float) -> Connection | Ended:
        """Connect, say `online`, and send again what is unacknowledged."""
        connection = Connection(
            self._settings,
            Terms(self._version, connect_timeout_s=max(within_s, 0.001), will_topic=self._available),
            acknowledged=self._on_acknowledged,
        )
        stands = False
        try:
            failed = await connection.open(within_s=within_s, connack_within_s=connack_within_s)
            failed = failed or await self._notify(connection, ONLINE, within_s=within_s)
            stands = failed is None
        finally:
            if not stands:
                connection.abandon()
        if failed is not None:
            return failed
        self._connection = connection
        for entry in self._window.values():
            connection.send(entry.message)
        return connection

    async def _notify(self, connection: Connection, word: str, *, within_s: float) -> Ended | None:
        """Say `word` on `<prefix>/available`, retained; return why that failed; silent without presence."""
        if self._available is None:
            return None
        number = next(self._numbers)
        acknowledgement: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        message = Outgoing(number, self._available, word.encode(), retain=True)
        self._notices[number] = _Unacknowledged(message, acknowledgement)
        try:
            connection.send(message)
            ways_out: tuple[asyncio.Future[Any], ...] = (acknowledgement, connection.ended)
            await asyncio.wait(ways_out, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._notices[number]
        if acknowledgement.done():
            refusal = acknowledgement.result()
            return Ended(f"it refuses {self._available}: {refusal}", "what it allows mqtt.user") if refusal else None
        return connection.ended.result() if connection.ended.done() else Ended("no PUBACK in time", "the broker's log")

    async def _stay_connected(self, connection: Connection) -> None:
        """Wait for the end of each connection and make the next; log once that the broker went and that it is back."""
        clock = asyncio.get_running_loop()
        while True:
            began_s = clock.time()
            await asyncio.wait({connection.ended})
            self._connection = None
            reason = connection.ended.result().reason
            _log.warning("broker_lost", host=self._settings.host, port=self._settings.port, reason=reason)
            steady = clock.time() - began_s > _STEADY_S
            connection = await self._reconnect(_FIRST_DELAY_S if steady else _LAST_DELAY_S, reason)
            _log.info("broker_back", host=self._settings.host, port=self._settings.port, resent=len(self._window))

    async def _reconnect(self, delay_s: float, reason: str) -> Connection:
        """Try for ever; a reason is logged when it changes, because some of them need the operator."""
        while True:
            await asyncio.sleep(delay_s)
            outcome = await self._attempt(within_s=self._connect_timeout_s, connack_within_s=self._connect_timeout_s)
            if isinstance(outcome, Connection):
                return outcome
            if outcome.reason != reason:
                reason = outcome.reason
                _log.warning("broker_away", host=self._settings.host, port=self._settings.port, reason=reason)
            delay_s = min(2 * delay_s, _LAST_DELAY_S)

    async def _go_offline(self, *, in_good_order: bool) -> None:
        for entry in self._window.values():
            if not entry.acknowledgement.done():
                what = f"a message on {entry.message.topic} was not confirmed before the publisher closed"
                entry.acknowledgement.set_exception(DeliveryError(f"{self._where}: {what}"))
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if in_good_order and await self._notify(connection, STOPPED, within_s=_FAREWELL_S) is None:
                await connection.leave(within_s=_FAREWELL_S)
        finally:
            connection.abandon()


def _check_topic(topic: str) -> None:
    if not topic or set("+#\0") & set(topic) or len(topic.encode("utf-8", "replace")) > 65_535:
        raise ValueError(f"{topic[:80]!r} is no topic to publish to: no wildcards, not empty, at most 65,535 bytes")
