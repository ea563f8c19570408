"""One MQTT connection, from CONNECT to its end, as the event loop sees it; the thread behind it is in `driver`."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from gateway.delivery.driver import Driver
from gateway.delivery.packets import CHECK_ADDRESS, CHECK_LISTENER, Ended, Incoming, LinkReason, Outgoing, Terms
from gateway.settings import BrokerSettings

Acknowledged = Callable[[int, str | None], None]
Listen = Callable[[Incoming], None]

_log = structlog.get_logger()


class Connection:
    """The event loop's side. `acknowledged(number, refusal)` is called on the loop for every PUBACK.

    `refusal` is None or the broker's reason; MQTT 3.1.1 has none, and
    there a broker that denies says nothing or hangs up.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        terms: Terms,
        *,
        acknowledged: Acknowledged = lambda _number, _refusal: None,
        listen: Listen | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._reached: asyncio.Future[None] = loop.create_future()
        self._opened: asyncio.Future[Ended | None] = loop.create_future()
        self.on_acknowledged = acknowledged
        self.version = terms.version
        self._listen = listen
        self._driver = Driver(settings, terms, news=self, loop=loop)

    @property
    def incoming_dropped(self) -> int:
        """How many messages to us were too many or too large."""
        return self._driver.incoming_dropped

    @property
    def turns(self) -> int:
        """How often the thread has looked for something to do; it does at least once a second."""
        return self._driver.turns

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
            what = "it takes connections but sent no CONNACK in time"
            return Ended(what, CHECK_LISTENER, try_other_version=True, code=LinkReason.TIMEOUT)
        return Ended("no answer in time", CHECK_ADDRESS, code=LinkReason.TIMEOUT)

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

    def on_answers(self, answers: Sequence[tuple[int, str | None]]) -> None:
        """PUBACKs are here."""
        for number, refusal in answers:
            self.on_acknowledged(number, refusal)

    def on_incoming(self) -> None:
        """Hand over the oldest message that came in."""
        if self._driver.incoming and self._listen is not None:
            self._listen(self._driver.incoming.popleft())

    def on_subscriptions_refused(self, refused: tuple[str, ...]) -> None:
        """Say which requests will never reach us."""
        _log.warning("subscriptions_refused", topics=refused)

    def on_ended(self, ended: Ended) -> None:
        """The thread has done its last."""
        self.on_opened(ended)
        if not self.ended.done():
            self.ended.set_result(ended)
