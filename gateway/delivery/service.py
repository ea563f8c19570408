"""Delivery as the daemon sees it: hand over, and it arrives. Everything else about the broker happens in here.

`submit`, `show`, `say` and the others return at once; `run` brings what they were given to the broker, for ever. What
is submitted before `run` begins, or while the broker is away, waits in the outbox.
"""

import asyncio
import time
from asyncio import Future
from collections.abc import Callable, Collection
from typing import NoReturn

import structlog

from gateway.contract import messages
from gateway.contract.fields import Severity
from gateway.contract.states import BrokerStats
from gateway.contract.topics import Asked, Topics
from gateway.delivery.commands import Commands, Ears, Obeyed
from gateway.delivery.discovery import announcements, birth_topic
from gateway.delivery.flood import Flood
from gateway.delivery.link import Link, Session
from gateway.delivery.notices import Notices
from gateway.delivery.outbox import Outbox, OutboxEntry, Rank
from gateway.delivery.packets import Incoming, LinkReason
from gateway.delivery.replies import Replies
from gateway.delivery.sender import Sender
from gateway.delivery.states import Ledger, Shown, is_of
from gateway.errors import DeliveryError, StorageError
from gateway.settings import BrokerSettings

RANKS: dict[Severity, Rank] = {"watch": Rank.WATCH, "alert": Rank.ALERT, "critical": Rank.CRITICAL}

_log = structlog.get_logger()


class Delivery:
    """One box's link to its broker, and the outbox behind it."""

    def __init__(
        self,
        settings: BrokerSettings,
        outbox: Outbox,
        ledger: Ledger,
        *,
        ears: Ears | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._monotonic = monotonic
        self._topics = Topics(settings.topic_prefix)
        self.source = f"spectragate/{settings.client_id}"
        self._flood = Flood(settings.flood)
        self._notices = Notices(outbox, self._topics, source=self.source, clock=clock)
        self._sender = Sender(outbox)
        self._replies = Replies(outbox, self._topics, source=self.source)
        self._commands = Commands(allowed=settings.commands, ears=ears or Ears())
        self._states = Shown(ledger, kind="state")
        self._discovery = Shown(ledger, kind="discovery")
        self._session: Session | None = None
        self._flooded = asyncio.Event()
        birth = (birth_topic(settings),) if settings.home_assistant.enabled else ()
        self._link = Link(settings, subscriptions=(*self._topics.requests, *birth), listen=self._on_incoming)

    def next_seq(self) -> int:
        """Return the number of the next alert message; it is handed to `submit` before anything is awaited."""
        return self._outbox.next_seq()

    def submit(self, alert: messages.Alert) -> Future[None]:
        """Queue an alert for the disk; the future is done when it is there, and from then on it will arrive.

        Raises:
            StorageError: Too many wait for a disk that takes nothing; the loss is told as a gap.
        """
        data = alert.data
        held = self._flood.holds(
            data.camera, data.alert_id, says=data.type, severity=data.severity, now_s=self._monotonic()
        )
        if held:
            self._flooded.set()
        entry = OutboxEntry(
            "alert",
            self._topics.alerts,
            messages.to_bytes(alert),
            seq=data.seq,
            rank=RANKS[data.severity],
            content_type=messages.CLOUDEVENTS_TYPE,
            camera=data.camera,
            alert_id=data.alert_id,
            held=held,
        )
        return self._outbox.submit(entry)

    async def accept(self, alert: messages.Alert) -> None:
        """Return when an alert is on the disk.

        Raises:
            StorageError: As `submit`.
        """
        await self.submit(alert)

    def verdict(self, verdict: messages.Verdict) -> None:
        """Queue a verdict, where `mqtt.verdicts` asks for them; the first to go when space runs out."""
        if not self._settings.verdicts:
            return
        entry = OutboxEntry(
            "telemetry",
            self._topics.verdicts,
            messages.to_bytes(verdict),
            content_type=messages.CLOUDEVENTS_TYPE,
            camera=verdict.data.camera,
        )
        try:
            self._outbox.submit(entry)
        except StorageError as error:
            _log.warning("verdict_not_kept", camera=verdict.data.camera, reason=str(error))

    def show(self, topic: str, payload: bytes) -> None:
        """Keep this word for whoever comes: retained at the broker, said again after every reconnect."""
        self._states.show(topic, payload)

    def clear(self, topic: str) -> None:
        """Take a word back, also at the broker."""
        self._states.clear(topic)

    def say(self, topic: str, payload: bytes) -> None:
        """Say something once, if the broker is there now."""
        if self._session is not None:
            self._session.say(topic, payload)

    def know(self, cameras: Collection[str]) -> None:
        """Learn which cameras there are; what was ever shown or announced of others is taken back."""
        prefix = self._settings.topic_prefix
        self._states.keep_only(lambda topic: is_of(topic, prefix=prefix, cameras=cameras))
        wanted = announcements(self._settings, cameras) if self._settings.home_assistant.enabled else {}
        for topic, payload in wanted.items():
            self._discovery.show(topic, payload)
        self._discovery.keep_only(wanted.__contains__)

    def tell(self, *, part: str, reason: str | None) -> None:
        """Tell among the alerts that a part works worse, or, without a reason, that it works again."""
        self._notices.tell(part=part, reason=reason)

    def tell_command(self, done: Obeyed) -> None:
        """Tell among the alerts that a command was obeyed, however it came."""
        self._notices.tell_command(done)

    def held_of(self, camera: str) -> int:
        """Return how many alert messages of a camera were held since the start."""
        return self._flood.counts.get(camera, 0)

    def broker_stats(self) -> BrokerStats:
        """Return how the link is, and what was counted."""
        link = self._link.state
        denied = self._sender.refusal is not None or bool(self._states.refused)
        reason = LinkReason.ACL if link.reason is None and denied else link.reason
        return BrokerStats(
            state=link.state,
            reason=None if reason is None else reason.value,
            protocol=link.version,
            connects=link.connects,
            taken_over=link.taken_over,
            published=self._sender.published,
            refused=self._sender.refused + self._sender.telemetry_refused,
            requests_dropped=link.incoming_dropped + self._replies.dropped,
            commands_ignored=self._commands.ignored,
        )

    @property
    def turns(self) -> int | None:
        """How often the link's thread has come round, at least once a second; None while the broker is away."""
        return self._link.turns

    def fall_silent(self) -> None:
        """Say nothing more when `run` is cancelled: the process failed, and the broker is to publish the will."""
        self._link.fall_silent()

    async def load(self) -> None:
        """Learn what earlier runs have shown and held; before `know` and `run`."""
        await self._states.load()
        await self._discovery.load()
        if await self._outbox.held(1):
            self._flood.begin_anew(self._monotonic())
            self._flooded.set()

    async def run(self) -> NoReturn:
        """Deliver, for ever. Cancelled, it says `stopped` and leaves; what waits stays in the outbox.

        Raises:
            DeliveryError: The outbox cannot be read; run it again.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_outbox(), name="delivery-outbox")
                tasks.create_task(self._sender.settle(), name="delivery-settle")
                tasks.create_task(self._summarize(), name="delivery-flood")
                await self._link.run(self._serve)
        except BaseExceptionGroup as failures:
            stored, others = failures.split(StorageError)
            if stored is None or others is not None:
                raise
            raise DeliveryError(f"the outbox cannot be read: {_first(stored)}") from None

    async def _serve(self, session: Session) -> None:
        self._session = session
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sender.drain(session), name="delivery-sender")
                tasks.create_task(self._states.publish(session), name="delivery-states")
                tasks.create_task(self._discovery.publish(session), name="delivery-discovery")
                tasks.create_task(self._replies.answer(session), name="delivery-replies")
                tasks.create_task(self._notices.tell_gaps(), name="delivery-gaps")
        finally:
            self._session = None

    async def _watch_outbox(self) -> NoReturn:
        while True:
            await self._outbox.changed.wait()
            self._outbox.changed.clear()
            self._sender.stir()
            self._notices.stir()

    async def _summarize(self) -> NoReturn:
        """Tell of held alerts when they have gathered long enough."""
        while True:
            self._flooded.clear()
            due_s = self._flood.due_in_s(self._monotonic())
            if due_s is None:
                await self._flooded.wait()
            elif due_s > 0:
                await asyncio.sleep(due_s)
            else:
                self._flood.begin_anew()
                all_told = False
                try:
                    all_told = await self._notices.tell_flood()
                finally:  # also when the next run has to go on
                    if not all_told:
                        self._flood.begin_anew(self._monotonic())

    def _on_incoming(self, message: Incoming) -> None:
        if message.topic == birth_topic(self._settings) and self._settings.home_assistant.enabled:
            if message.payload == b"online" and not message.retain:
                self._discovery.say_again()
                self._states.say_again()
            return
        asked = self._topics.asked(message.topic)
        if asked is None:
            return
        if asked.what == "replay":
            self._replies.ask(message.payload)
        else:
            self._obey(asked, message)

    def _obey(self, asked: Asked, message: Incoming) -> None:
        done = self._commands.obey(asked, message)
        if done is not None:
            self.tell_command(done)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
