"""What one MQTT message means to a subscriber of alerts: bytes in, a value out, never an exception."""

from dataclasses import dataclass

from gateway.contract.messages import Alert, Message, MessageError, Notice, ReplayEnd, parse
from gateway.contract.notices import Flood, Gap
from gateway.contract.topics import OFFLINE, ONLINE, STOPPED, Topics

Span = tuple[int, int]
"""Numbers from the first to the last, both included."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An alert or a notice; `seq` is None where the message does not stand in its box's line, as those of a replay."""

    message: Alert | Notice
    payload: bytes
    seq: int | None
    gone: tuple[Span, ...] = ()
    held: tuple[Span, ...] = ()

    @property
    def source(self) -> str:
        """Which box it comes from."""
        return self.message.source

    @property
    def subject(self) -> str:
        """The camera, or what a notice that concerns none has in its place."""
        return self.message.subject


@dataclass(frozen=True, slots=True)
class Presence:
    """A box came to the broker, or left it."""

    here: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No message of ours, and why."""

    reason: str


Reading = Numbered | ReplayEnd | Presence | Unreadable | None


def read(topic: str, payload: bytes, topics: Topics) -> Reading:
    """Return what a message means; None for those that concern no alert."""
    if topic == topics.available:
        return _presence(payload)
    if topic not in {topics.alerts, topics.replayed}:
        return None
    try:
        message = parse(payload)
    except MessageError as error:
        return Unreadable(str(error))
    if isinstance(message, Alert | Notice):
        return _numbered(message, payload)
    if isinstance(message, ReplayEnd) and topic == topics.replayed:
        return message
    return _misplaced(message, topic)


def _presence(payload: bytes) -> Presence | Unreadable:
    words = {ONLINE.encode(): True, STOPPED.encode(): False, OFFLINE.encode(): False}
    if payload not in words:
        return Unreadable(f"{payload[:40]!r} is not a word of `available`")
    return Presence(words[payload])


def _numbered(message: Alert | Notice, payload: bytes) -> Numbered | Unreadable:
    data = message.data
    if isinstance(message, Alert) and message.data.replay:
        return Numbered(message, payload, None)
    if not message.id.endswith(f"-{data.seq}"):
        return Unreadable(f"its id {message.id[:80]} does not belong to its number {data.seq}")
    gone = ((data.from_seq, data.to_seq),) if isinstance(data, Gap) else ()
    held = data.held if isinstance(data, Flood) else ()
    return Numbered(message, payload, data.seq, gone, held)


def _misplaced(message: Message, topic: str) -> Unreadable:
    return Unreadable(f"a {message.type} does not belong on {topic}")
