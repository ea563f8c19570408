"""Who brings what the box says to its broker: one for as long as `mqtt` stays the same, another after a reload.

Words that are shown are remembered here, so that a new link shows them too.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Protocol

import structlog

from gateway import backoff
from gateway.contract import messages
from gateway.contract.states import BrokerStats
from gateway.delivery.commands import Obeyed
from gateway.errors import DeliveryError, StorageError
from gateway.settings import BrokerSettings
from gateway.tasks import Retry, supervise

LEAVE_S = 1.0

_log = structlog.get_logger()


class Delivering(Protocol):
    """A link to a broker, or to none."""

    def submit(self, alert: messages.Alert) -> Future[None]:
        """Queue an alert for the disk; the future is done when it is there.

        Raises:
            StorageError: It cannot be kept.
        """

    def verdict(self, verdict: messages.Verdict) -> None:
        """Say a verdict, where verdicts are asked for."""

    def show(self, topic: str, payload: bytes) -> None:
        """Keep this word for whoever comes."""

    def clear(self, topic: str) -> None:
        """Take a word back."""

    def say(self, topic: str, payload: bytes) -> None:
        """Say something once, if anybody listens now."""

    def know(self, cameras: Collection[str]) -> None:
        """Learn which cameras there are."""

    def tell(self, *, part: str, reason: str | None) -> None:
        """Tell among the alerts that a part works worse, or, without a reason, that it works again."""

    def tell_command(self, done: Obeyed) -> None:
        """Tell among the alerts that a command was obeyed that did not come by way of the link."""

    def held_of(self, camera: str) -> int:
        """Return how many alert messages of a camera were held back."""

    def broker_stats(self) -> BrokerStats:
        """Return how the link is."""

    @property
    def turns(self) -> int | None:
        """How often the link's thread has come round, at least once a second; None where there is no connection."""

    def fall_silent(self) -> None:
        """Say nothing more when `run` is cancelled: the process failed."""

    async def load(self) -> None:
        """Learn what earlier runs left; before `run`, and `know` again after it.

        Raises:
            StorageError: The disk cannot be read.
        """

    async def run(self) -> None:
        """Deliver, for ever.

        Raises:
            DeliveryError: Something that passes; run it again.
        """


class Overhears(Protocol):
    """Hears what goes out, whether or not there is a broker; it never waits."""

    def on_word(self, topic: str, payload: bytes | None) -> None:
        """A word is shown or, None, taken back; or something is said once."""

    def on_alert(self, alert: messages.Alert) -> None:
        """An alert is handed over."""


class Postman:
    """The link in use; `make` makes one from settings, `next_seq` counts the alerts of the box."""

    def __init__(
        self,
        make: Callable[[BrokerSettings | None], Delivering],
        group: asyncio.TaskGroup,
        *,
        next_seq: Callable[[], int],
    ) -> None:
        self.next_seq = next_seq
        self._make = make
        self._group = group
        self._link = make(None)
        self._task: asyncio.Task[None] | None = None
        self._shown: dict[str, bytes] = {}
        self._cameras: tuple[str, ...] = ()
        self._troubles: dict[str, str] = {}
        self._overhearing: list[Overhears] = []

    def overhear(self, ear: Overhears) -> None:
        """Let somebody hear what goes out from now on."""
        self._overhearing.append(ear)

    def word(self, topic: str) -> bytes | None:
        """Return what is shown under a topic."""
        return self._shown.get(topic)

    @property
    def link(self) -> Delivering:
        """The link in use."""
        return self._link

    async def begin(self, settings: BrokerSettings | None, cameras: Collection[str]) -> None:
        """Deliver by these settings from now on; a link that stands is left first."""
        await self.end()
        if settings is None:
            _log.warning("no_broker", instead="alerts stand in this log and wait in the outbox")
        self._link = self._make(settings)
        for topic, payload in self._shown.items():
            self._link.show(topic, payload)
        for part, reason in self._troubles.items():  # or this link would have nothing to say when it is over
            self._link.tell(part=part, reason=reason)
        self.know(cameras)
        deliver = partial(self._deliver, self._link)
        failures = 0

        def pause_s(error: Exception) -> float:
            nonlocal failures
            failures += 1
            _log.error("delivery_failed", reason=str(error))
            return backoff.pause_s(failures, chance=0.0)

        retry = Retry((DeliveryError, StorageError), pause_s)
        self._task = self._group.create_task(supervise("delivery", deliver, retry=retry), name="delivery")

    async def _deliver(self, link: Delivering) -> None:
        await link.load()
        link.know(self._cameras)  # now that it knows of earlier runs
        await link.run()

    async def end(self) -> None:
        """Leave the broker in good order; what waits stays where it is kept."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=LEAVE_S)
            self._task = None

    def submit(self, alert: messages.Alert) -> Future[None]:
        """Queue an alert for the disk.

        Raises:
            StorageError: It cannot be kept.
        """
        for ear in self._overhearing:
            ear.on_alert(alert)
        return self._link.submit(alert)

    def verdict(self, verdict: messages.Verdict) -> None:
        """Say a verdict, where verdicts are asked for."""
        self._link.verdict(verdict)

    def show(self, topic: str, payload: bytes) -> None:
        """Keep this word for whoever comes."""
        self._shown[topic] = payload
        self._link.show(topic, payload)
        self._tell_overhearing(topic, payload)

    def clear(self, topic: str) -> None:
        """Take a word back."""
        self._shown.pop(topic, None)
        self._link.clear(topic)
        self._tell_overhearing(topic, None)

    def say(self, topic: str, payload: bytes) -> None:
        """Say something once, if anybody listens now."""
        self._link.say(topic, payload)
        self._tell_overhearing(topic, payload)

    def _tell_overhearing(self, topic: str, payload: bytes | None) -> None:
        for ear in self._overhearing:
            ear.on_word(topic, payload)

    def tell_command(self, done: Obeyed) -> None:
        """Tell among the alerts that a command was obeyed that came over HTTP."""
        self._link.tell_command(done)

    def know(self, cameras: Collection[str]) -> None:
        """Learn which cameras there are."""
        self._cameras = tuple(cameras)
        self._link.know(cameras)

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong now: the reason of each part."""
        return self._troubles

    def tell(self, *, part: str, reason: str | None) -> None:
        """Tell among the alerts that a part works worse or again, once for each change."""
        if self._troubles.get(part) == reason:
            return
        if reason is None:
            del self._troubles[part]
        else:
            self._troubles[part] = reason
        self._link.tell(part=part, reason=reason)
