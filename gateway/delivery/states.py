"""What the box shows at the broker: the newest word for each topic, retained, and said again after every reconnect.

What was ever shown is kept in a ledger on the disk, so that a camera that is no more takes its words with it, also
over a restart.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import NoReturn, Protocol

import structlog

from gateway.contract.topics import RESERVED_WORDS
from gateway.delivery.link import Session
from gateway.errors import StorageError

MAX_TOPICS = 2048

_log = structlog.get_logger()


class Ledger(Protocol):
    """Remembers retained topics over a restart; `storage.tables.RetainedTable` is one."""

    async def set(self, topic: str, payload: bytes | None, *, kind: str) -> None:
        """Keep what a topic holds; None forgets it."""

    async def all(self, kind: str) -> dict[str, bytes]:
        """Return the topics of a kind."""


class Shown:
    """The words of one kind. Nothing here waits but `publish` and `load`; an empty payload takes a word back."""

    def __init__(self, ledger: Ledger, *, kind: str) -> None:
        self._ledger = ledger
        self._kind = kind
        self._words: dict[str, bytes] = {}
        self._unsaid: dict[str, None] = {}
        self._known: set[str] = set()
        self._stirred = asyncio.Event()
        self.refused: dict[str, str] = {}

    async def load(self) -> None:
        """Learn what earlier runs have shown; without a disk that can be read, nothing."""
        try:
            self._known |= set(await self._ledger.all(self._kind))
        except StorageError as error:
            _log.error("ledger_unreadable", kind=self._kind, reason=str(error))

    def show(self, topic: str, payload: bytes) -> None:
        """Keep this word for whoever comes."""
        if topic not in self._words and len(self._words) >= MAX_TOPICS:
            _log.error("too_many_states", topic=topic, most=MAX_TOPICS)
            return
        if self._words.get(topic) != payload:
            self._words[topic] = payload
            self._unsaid[topic] = None
            self._stirred.set()

    def clear(self, topic: str) -> None:
        """Take a word back, also at the broker."""
        self.show(topic, b"")

    def keep_only(self, wanted: Callable[[str], bool]) -> None:
        """Take back every word, of earlier runs too, whose topic is not wanted."""
        for topic in sorted(self._known | set(self._words)):
            if not wanted(topic):
                self.clear(topic)

    def say_again(self) -> None:
        """Say every word again."""
        self._unsaid.update(dict.fromkeys(self._words))
        self._stirred.set()

    async def publish(self, session: Session) -> NoReturn:
        """Say everything once, and then whatever changes, until the session ends."""
        self.say_again()
        while True:
            while self._unsaid:
                topic = next(iter(self._unsaid))
                del self._unsaid[topic]
                await self._say(session, topic, self._words[topic])
            self._stirred.clear()
            await self._stirred.wait()

    async def _say(self, session: Session, topic: str, payload: bytes) -> None:
        if payload and topic not in self._known:
            await self._note(topic, b"1")  # before it is said: whatever is at a broker is in the ledger
        refusal = await session.publish(topic, payload, retain=True)
        self._take_answer(topic, refusal)
        if not payload and refusal is None and self._words.get(topic) == b"":
            del self._words[topic]
            await self._note(topic, None)

    async def _note(self, topic: str, payload: bytes | None) -> None:
        try:
            await self._ledger.set(topic, payload, kind=self._kind)
        except StorageError as error:
            _log.error("ledger_not_written", topic=topic, reason=str(error))
            return
        (self._known.discard if payload is None else self._known.add)(topic)

    def _take_answer(self, topic: str, refusal: str | None) -> None:
        if refusal is None:
            self.refused.pop(topic, None)
        elif self.refused.get(topic) != refusal:
            self.refused[topic] = refusal
            _log.error("message_refused", topic=topic, reason=refusal, check="what the broker allows mqtt.user")


def is_of(topic: str, *, prefix: str, cameras: Iterable[str]) -> bool:
    """Return whether a topic belongs to one of the cameras, or to none at all."""
    camera, _, rest = topic.removeprefix(f"{prefix}/").partition("/")
    return not rest or camera in RESERVED_WORDS or camera in set(cameras)
