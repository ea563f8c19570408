"""A link to the broker that is never given up: one session after the other, for as long as the box runs.

Whoever sends over it works inside a session and begins anew with the next one: a session that is over takes what was
not confirmed with it, and what must not be lost lies in the outbox.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NoReturn

import structlog

from gateway.backoff import pause_s
from gateway.contract.topics import ONLINE, STOPPED, Topics
from gateway.delivery.connection import Connection, Listen
from gateway.delivery.packets import CHECK_TWIN, Ended, LinkReason, Outgoing, Terms, Version
from gateway.errors import DeliveryError
from gateway.settings import BrokerSettings

SIDE_WINDOW = 16
"""Messages of a session that may wait for their PUBACK beside the sender's."""

CONNECT_TIMEOUT_S = 10.0
CONNACK_TIMEOUT_S = 3.0  # with `protocol: auto`, how long version 5 may stay unanswered
PUBACK_TIMEOUT_S = 10.0
_LAST_S = 0.8  # so that the first alert is out within a second after the broker is back
STEADY_S = 5.0  # a session that lived shorter is no reason to reconnect quickly
_FAREWELL_S = 0.5
# A twin with our client id ends our session as we end its: both would do nothing else, were they quick.
TWIN_FIRST_S, TWIN_LAST_S = 5.0, 60.0
_TWIN_STEADY_S = 120.0
# mosquitto 2.0 ends a session that was taken over without a word: so many short ones in a row, each let in at once,
# look like a twin. A broker that restarts refuses in between, unless it is quicker than we are: so pauses stay short.
_SUSPICIOUS, _SUSPICIOUS_S, SUSPECTED_LAST_S = 5, 10.0, 10.0
_SUSPECTED = Ended(
    "it ends each session without a word",
    f"{CHECK_TWIN}, and that the broker does not restart all the time",
    code=LinkReason.TAKEN_OVER,
)
# What will not be different a second later, and what brokers lock clients out for.
_OPERATORS = frozenset({LinkReason.AUTH, LinkReason.CLIENT_ID, LinkReason.TLS})
_OPERATORS_LAST_S = 5.0

Acknowledged = asyncio.Future[str | None]
"""The broker's refusal, or None."""

_log = structlog.get_logger()


class SessionOver(DeliveryError):
    """The session ended before the broker confirmed a message."""


class Session:
    """One connection that stands; of use until it ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unconfirmed: dict[int, Acknowledged] = {}
        self._numbers = itertools.count(1)
        self._room = asyncio.Semaphore(SIDE_WINDOW)
        self._sent_s: dict[int, float] = {}
        self._answered_s = self._newest_answered_s = float("-inf")
        self.gave_up: Ended | None = None
        # The session's own: a late PUBACK of another connection must not confirm what has the same number here.
        connection.on_acknowledged = self._on_acknowledged

    @property
    def version(self) -> Version:
        """The MQTT version in use."""
        return self._connection.version

    def send(self, topic: str, payload: bytes, *, retain: bool = False, content_type: str = "") -> Acknowledged:
        """Hand a message over at QoS 1; the future stays open when the session ends first. The caller bounds them."""
        number = next(self._numbers)
        self._unconfirmed[number] = future = asyncio.get_running_loop().create_future()
        self._sent_s[number] = time.monotonic()
        future.add_done_callback(partial(self._on_answer, number))
        self._connection.send(Outgoing(number, topic, payload, retain=retain, content_type=content_type))
        return future

    def say(self, topic: str, payload: bytes) -> None:
        """Hand a message over at QoS 0: it arrives or it does not."""
        if not self._room.locked():
            self._connection.send(Outgoing(0, topic, payload, content_type="application/json", qos=0))

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, content_type: str = "") -> str | None:
        """Publish at QoS 1 and return the broker's refusal, or None; a broker that stays silent ends the session.

        Raises:
            SessionOver: The session ended first.
        """
        async with self._room:
            future = self.send(topic, payload, retain=retain, content_type=content_type)
            sent_s = time.monotonic()
            ways_out: tuple[asyncio.Future[Any], ...] = (future, self._connection.ended)
            while not any(way.done() for way in ways_out):
                left_s = self.patience_ends_s(sent_s, PUBACK_TIMEOUT_S) - time.monotonic()
                if left_s <= 0.0:
                    self.give_up(f"no PUBACK for a message on {topic}")
                    break
                await asyncio.wait(ways_out, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            raise SessionOver(f"a message on {topic} was not confirmed")

    def patience_ends_s(self, sent_s: float, patience_s: float) -> float:
        """Return until when a message sent then may stay unconfirmed, both monotonic.

        A slow broker that goes on confirming has time. One that confirmed what was sent later has lost it: PUBACKs come
        in the order of the messages.
        """
        was_passed_over = self._newest_answered_s > sent_s
        return (sent_s if was_passed_over else max(sent_s, self._answered_s)) + patience_s

    def _on_acknowledged(self, number: int, refusal: str | None) -> None:
        future = self._unconfirmed.pop(number, None)
        if future is not None and not future.done():
            future.set_result(refusal)

    def _on_answer(self, number: int, _answer: Acknowledged) -> None:
        self._answered_s = time.monotonic()
        self._newest_answered_s = max(self._newest_answered_s, self._sent_s.pop(number))

    def give_up(self, reason: str) -> None:
        """End the session: this broker does not do what it should; the link makes the next one."""
        self.gave_up = self.gave_up or Ended(reason, "the broker's log", code=LinkReason.SILENT)
        self._connection.abandon()


@dataclass(frozen=True, slots=True)
class LinkState:
    """How the link is; `reason` says why it is away, or `acl` where the broker does not let us say `online`."""

    state: Literal["online", "away"]
    reason: LinkReason | None
    version: Version | None
    connects: int
    taken_over: int
    incoming_dropped: int


Serve = Callable[[Session], Awaitable[None]]


class Link:
    """Keeps one session with the broker, and says `online`, `stopped` and the will `offline` on `available`."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        subscriptions: tuple[str, ...] = (),
        listen: Listen | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._subscriptions = subscriptions
        self._listen = listen
        self._chance = chance
        self._available = Topics(settings.topic_prefix).available
        self._version: Version = "3.1.1" if settings.protocol == "3.1.1" else "5"
        self._may_change_version = settings.protocol == "auto"
        self._connection: Connection | None = None
        self._reason: LinkReason | None = None
        self._is_silent = False
        self._connects = 0
        self._taken_over = 0
        self._incoming_dropped = 0

    @property
    def state(self) -> LinkState:
        """How the link is now."""
        connection = self._connection
        return LinkState(
            "away" if connection is None else "online",
            self._reason,
            None if connection is None else self._version,
            self._connects,
            self._taken_over,
            self._incoming_dropped + (0 if connection is None else connection.incoming_dropped),
        )

    @property
    def turns(self) -> int | None:
        """How often the thread of the connection has come round; None while there is no connection."""
        return None if self._connection is None else self._connection.turns

    async def run(self, serve: Serve) -> NoReturn:
        """Connect for ever and let `serve` use each session; it is cancelled when its session ends.

        When cancelled itself, it says `stopped` and disconnects.

        Raises:
            BaseExceptionGroup: Whatever `serve` raises, but for `SessionOver`.
        """
        clock = asyncio.get_running_loop()
        failures, twins, cut_short, told = 0, 0, 0, ""
        while True:
            outcome = await self._connect()
            lived_s = 0.0
            if isinstance(outcome, Ended):
                cut_short = 0
            else:
                if self._connects == 0:
                    _log.info("broker_connected", host=self._settings.host, port=self._settings.port)
                elif told:
                    _log.info("broker_back", host=self._settings.host, port=self._settings.port)
                began_s, told = clock.time(), ""
                outcome = await self._use(outcome, serve)
                lived_s = clock.time() - began_s
                is_short = outcome.code is LinkReason.LOST and lived_s < _SUSPICIOUS_S
                cut_short = cut_short + 1 if is_short else 0
                if cut_short >= _SUSPICIOUS:
                    outcome = _SUSPECTED
            self._reason = outcome.code
            if outcome.reason != told:
                told = outcome.reason
                self._tell_away(outcome)
            failures = 1 if lived_s > STEADY_S else failures + 1
            taken_over = outcome.code is LinkReason.TAKEN_OVER
            twins = twins + 1 if taken_over and lived_s < _TWIN_STEADY_S else int(taken_over)
            await asyncio.sleep(self._pause_s(outcome, failures, twins))

    def _pause_s(self, outcome: Ended, failures: int, twins: int) -> float:
        if outcome.code is LinkReason.TAKEN_OVER:
            last_s = SUSPECTED_LAST_S if outcome is _SUSPECTED else TWIN_LAST_S
            return pause_s(twins, chance=self._chance(), first_s=TWIN_FIRST_S, last_s=last_s)
        if outcome.code in _OPERATORS:
            return pause_s(failures, chance=self._chance(), last_s=_OPERATORS_LAST_S)
        return pause_s(failures, chance=self._chance(), last_s=_LAST_S)

    def _tell_away(self, outcome: Ended) -> None:
        if outcome.code is LinkReason.TAKEN_OVER:
            self._taken_over += 1
            _log.error("session_taken_over", client_id=self._settings.client_id, check=outcome.check)
            return
        host, port = self._settings.host, self._settings.port
        _log.warning("broker_away", host=host, port=port, reason=outcome.reason, check=outcome.check)

    async def _connect(self) -> Connection | Ended:
        """Try once, in the version that worked last; after a failure that may be the version's, next time the other.

        A broker that spoke version 5 goes on doing so: one that was frozen for a moment must not leave us with 3.1.1,
        in which nothing is heard of what it denies.
        """
        patience_s = CONNACK_TIMEOUT_S if self._may_change_version and self._version == "5" else CONNECT_TIMEOUT_S
        terms = Terms(self._version, CONNECT_TIMEOUT_S, self._available, self._subscriptions)
        connection = Connection(self._settings, terms, listen=self._listen)
        stands = False
        try:
            failed = await connection.open(within_s=CONNECT_TIMEOUT_S, connack_within_s=patience_s)
            stands = failed is None
        finally:
            if not stands:
                connection.abandon()
        if failed is None:
            if self._may_change_version and self._version == "3.1.1":
                _log.warning("broker_without_version_5", missing="the reason where it denies a message")
            self._may_change_version &= self._version != "5"
            return connection
        if failed.try_other_version and self._may_change_version:
            self._version = "3.1.1" if self._version == "5" else "5"
        return failed

    async def _use(self, connection: Connection, serve: Serve) -> Ended:
        """Serve a session until its connection ends and return why it did."""
        session = Session(connection)
        self._connection, self._reason = connection, None
        self._connects += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                served = tasks.create_task(self._serve(session, serve), name="mqtt-session")
                over: tuple[asyncio.Future[Any], ...] = (connection.ended, served)
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
                served.cancel()
        except asyncio.CancelledError:
            await self._take_leave(session, connection)
            raise
        finally:
            connection.abandon()
            self._connection = None
            self._incoming_dropped += connection.incoming_dropped
        await asyncio.wait({connection.ended}, timeout=_FAREWELL_S)
        ended = connection.ended.result() if connection.ended.done() else Ended("given up", "the broker's log")
        return session.gave_up or ended

    async def _serve(self, session: Session, serve: Serve) -> None:
        try:
            if refusal := await session.publish(self._available, ONLINE.encode(), retain=True):
                self._reason = LinkReason.ACL
                _log.error("message_refused", topic=self._available, reason=refusal)
            await serve(session)
        except SessionOver:
            return  # the link knows why
        except BaseExceptionGroup as failures:  # of a group of tasks that shared the session
            if failures.split(SessionOver)[1] is not None:
                raise

    async def _take_leave(self, session: Session, connection: Connection) -> None:
        """Say `stopped`; a broker that does not answer in time publishes the will instead."""
        if connection.ended.done() or self._is_silent:
            return
        said = session.send(self._available, STOPPED.encode(), retain=True)
        await asyncio.wait({said}, timeout=_FAREWELL_S)
        if said.done():
            await connection.leave(within_s=_FAREWELL_S)

    def fall_silent(self) -> None:
        """Leave without a word when the time comes, so that the broker publishes the will: this process failed."""
        self._is_silent = True
