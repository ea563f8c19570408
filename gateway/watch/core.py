"""What a subscriber of alerts must do, without any I/O: each message once, gaps noticed, asked for and told.

Feed it every message of `filters` with `take`, tell it with `connected` that the subscription stands, call `tick` when
`next_s` has come; carry out the steps that `take` and `tick` return, in order. It never raises on what it is fed.

    watch = Watch(Topics("spectragate"))
    for step in watch.take(topic, payload, now_s=clock()):
        match step:
            case Deliver(): handle(step.reading.message)
            case Ask(): publish(watch.request_topic, to_request(step))

A message stands in its box's line by `seq`, and that decides whether it is new; where it stands in none, or the box is
one too many, its `id` does, among the last `WINDOW` of them. `positions` is what a subscriber keeps over a restart.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.contract.messages import Event, ReplayEnd
from gateway.contract.requests import ReplayRequest
from gateway.contract.topics import Topics
from gateway.watch.box import ANSWER_S, MAX_ATTEMPTS, MAX_SEQ, PATIENCE_S, Box, Fate, Position, backoff_s
from gateway.watch.reading import Numbered, Presence, Unreadable, read
from gateway.watch.steps import Ask, Deliver, Garbled, Step

WINDOW: Final = 100_000
MAX_BOXES: Final = 64


@dataclass(slots=True)
class Counts:
    """What happened so far."""

    delivered: int = 0
    late: int = 0
    duplicates: int = 0
    altered: int = 0
    unreadable: int = 0
    asked: int = 0


class _Ids:
    """The last messages by their id, with a digest of their content; the oldest are forgotten."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._digests: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._digests)

    def before(self, message: Event) -> bytes | None:
        """Return the digest of the message that had this id before, if any."""
        return self._digests.get(_key(message))

    def remember(self, message: Event, content: bytes) -> None:
        """Keep the digest of a message that is passed on."""
        self._digests[_key(message)] = content
        if len(self._digests) > self._window:
            self._digests.popitem(last=False)


def _key(message: Event) -> bytes:
    return hashlib.blake2b(f"{message.source}\0{message.id}".encode(), digest_size=16).digest()


def _digest(payload: bytes) -> bytes:
    """Return 8 bytes that tell two contents of one message apart."""
    return hashlib.blake2b(payload, digest_size=8).digest()


@dataclass(slots=True)
class _FirstAsk:
    """The request to boxes that are not known yet: everything after a number the user names."""

    since_seq: int
    at_s: float | None = None
    attempts: int = 0
    requesters: set[str] = field(default_factory=set)


class Watch:
    """A subscriber's mind. `name` tells its requests from those of others and is unique to it.

    Without `since_seq` and `positions` a box begins with the first message that comes.
    """

    def __init__(
        self,
        topics: Topics,
        *,
        name: str = "watch",
        since_seq: int | None = None,
        positions: Iterable[Position] = (),
        now_s: float = 0.0,
    ) -> None:
        self._topics = topics
        self._name = name
        self._ids = _Ids(WINDOW)
        self._boxes = {one.source: Box(one, name=name, now_s=now_s) for one in list(positions)[:MAX_BOXES]}
        self._first_ask = None if since_seq is None else _FirstAsk(since_seq)
        self._here = True
        self.counts = Counts()

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to, at QoS 1."""
        return self._topics.alerts, self._topics.replayed, self._topics.available

    @property
    def request_topic(self) -> str:
        """Where requests go."""
        return self._topics.replay

    @property
    def positions(self) -> tuple[Position, ...]:
        """How far each box's line is known, for a later start."""
        return tuple(box.position for box in self._boxes.values())

    @property
    def next_s(self) -> float | None:
        """When to call `tick`; None while there is nothing to wait for."""
        if not self._here:
            return None
        times = [box.next_s for box in self._boxes.values()]
        times.append(self._first_ask.at_s if self._first_ask else None)
        return min((time_s for time_s in times if time_s is not None), default=None)

    def connected(self, now_s: float) -> None:
        """The subscription stands, on a new connection: whatever came meanwhile may have been lost."""
        self._here = True
        for box in self._boxes.values():
            box.ask_again(now_s)
        if self._first_ask is not None:  # a box that just came may not listen for requests yet
            self._first_ask.at_s, self._first_ask.attempts = now_s + PATIENCE_S, 0

    def tick(self, now_s: float) -> list[Step]:
        """Do what time demands: ask, ask again, give up."""
        if not self._here:
            return []
        steps = self._ask_everybody(now_s)
        for box in self._boxes.values():
            steps += box.tick(now_s)
        self.counts.asked += sum(isinstance(step, Ask) for step in steps)
        return steps

    def _ask_everybody(self, now_s: float) -> list[Step]:
        first = self._first_ask
        if first is None or first.at_s is None or first.at_s > now_s:
            return []
        first.attempts += 1
        first.at_s = None if first.attempts >= MAX_ATTEMPTS else now_s + ANSWER_S + backoff_s(first.attempts)
        requester = f"{self._name}-all-{first.attempts}"
        first.requesters.add(requester)
        return [Ask(None, requester, first.since_seq + 1, MAX_SEQ)]

    def take(self, topic: str, payload: bytes, *, now_s: float) -> list[Step]:
        """Take one message as it arrived."""
        match read(topic, payload, self._topics):
            case Numbered() as reading:
                return self._take_numbered(topic, reading, now_s)
            case ReplayEnd() as end:
                return self._take_end(end, now_s)
            case Presence(here):
                return self._take_presence(now_s, here=here)
            case Unreadable(reason):
                self.counts.unreadable += 1
                return [Garbled(topic, reason)]
        return []

    def _take_presence(self, now_s: float, *, here: bool) -> list[Step]:
        if here:
            self.connected(now_s)
        self._here = here
        return []

    def _take_end(self, end: ReplayEnd, now_s: float) -> list[Step]:
        first = self._first_ask
        if first is not None and end.requester in first.requesters and end.answered_to_seq is not None:
            first.at_s = None
            self._box(end.source, first.since_seq + 1, now_s)
        box = self._boxes.get(end.source)
        return [] if box is None else box.answered(end, now_s=now_s)

    def _take_numbered(self, topic: str, reading: Numbered, now_s: float) -> list[Step]:
        message = reading.message
        self._here = self._here or topic == self._topics.alerts  # another box may have left: this one is there
        before, content = self._ids.before(message), _digest(reading.payload)
        known = before == content
        box = None if reading.seq is None else self._box(message.source, reading.seq, now_s)
        steps: list[Step] = []
        if box is None or reading.seq is None:
            fate = Fate.NEW if before is None else Fate.DUPLICATE
        else:
            happened_s = datetime.fromisoformat(message.time).timestamp()
            fate, steps = box.take(reading.seq, happened_s, now_s=now_s, known=known)
        if fate is Fate.DUPLICATE:
            self.counts.duplicates += 1
            return [] if known or before is None else [self._altered(topic, message.id)]
        self._ids.remember(message, content)
        self.counts.delivered += 1
        self.counts.late += fate is Fate.LATE
        after = [] if box is None else box.forget(reading.gone) + box.hold_back(reading.held)
        return [Deliver(reading, late=fate is Fate.LATE), *steps, *after]

    def _altered(self, topic: str, event_id: str) -> Garbled:
        self.counts.altered += 1
        return Garbled(topic, f"{event_id} came again with other content: the first one was passed on")

    def _box(self, source: str, seq: int, now_s: float) -> Box | None:
        """Return the box of a message; None where there are too many of them."""
        box = self._boxes.get(source)
        if box is None and len(self._boxes) < MAX_BOXES:
            name = f"{self._name}-{len(self._boxes)}"
            if self._first_ask is None:
                box = Box.beginning_at(seq, source, name=name, now_s=now_s)
            else:
                since = self._first_ask.since_seq
                box = Box(Position(source, since, float("-inf")), name=name, now_s=now_s, floor=since)
            self._boxes[source] = box
        return box


def to_request(step: Ask) -> bytes:
    """Return the payload of a request, as `<prefix>/alerts/replay` takes it."""
    request = ReplayRequest(from_seq=step.first, to_seq=step.last, requester=step.requester, source=step.source)
    return request.model_dump_json().encode()
