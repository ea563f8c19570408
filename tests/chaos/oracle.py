"""The oracle: never killed, hears what the outbox accepted and what a subscriber was delivered, and judges.

It runs the reference subscriber, as any consumer would, against a real broker.
"""

import asyncio
import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

from chaos.gateway_side import ENOUGH
from fakes.boxes import TOPICS

from gateway.contract.messages import Alert
from gateway.settings import BrokerSettings
from gateway.watch.core import Watch, to_request
from gateway.watch.steps import Ask, Deliver, GapFilled, GapLost, GapNoticed, Garbled, Step
from gateway.watch.subscriber import Arrived, Down, Subscriber, Up, new_client_id


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the outbox reported after its commit."""

    seq: int
    digest: str
    camera: str
    alert_id: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the subscriber was given, in its order."""

    seq: int
    digest: str
    camera: str
    alert_id: str
    kind: str
    late: bool
    replayed: bool
    at_s: float


@dataclass
class Ledger:
    """Everything that was accepted and delivered."""

    accepted: dict[int, Accepted] = field(default_factory=dict)
    accepted_twice: list[int] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    arrived: Counter[str] = field(default_factory=Counter)  # messages on the wire by topic
    on_the_wire: Counter[int] = field(default_factory=Counter)  # first topic only: how often each number came
    noticed: list[tuple[GapNoticed, float]] = field(default_factory=list)
    filled: list[GapFilled] = field(default_factory=list)
    lost: list[GapLost] = field(default_factory=list)
    garbled: list[Garbled] = field(default_factory=list)
    connections: int = 0

    def accept(self, line: bytes) -> None:
        """Take one report of the outbox."""
        seq, digest, camera, alert_id = line.decode().split()
        if int(seq) in self.accepted:
            self.accepted_twice.append(int(seq))
        self.accepted[int(seq)] = Accepted(int(seq), digest, camera, alert_id, time.monotonic())

    def missing(self) -> set[int]:
        """Return what was accepted and not delivered so far."""
        return set(self.accepted) - {one.seq for one in self.delivered}

    def told_gone(self) -> set[int]:
        """Return the numbers of which the box said that it has them no longer."""
        return {seq for gap in self.lost if gap.reason == "gone" for seq in range(gap.first, gap.last + 1)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger proves. `missing` was accepted and not delivered; `unexplained` of it was not told as gone."""

    accepted: int
    delivered: int
    missing: tuple[int, ...]
    unexplained: tuple[int, ...]
    twice: tuple[int, ...]
    altered: tuple[int, ...]
    accepted_twice: tuple[int, ...]
    inversions_per_alert: int
    inversions_per_camera: int
    late: int
    gaps_noticed: int
    gaps_lost: int
    wire_duplicates: int
    garbled: int
    connections: int
    slowest_found_s: float
    slowest_fill_s: float

    def in_words(self, title: str) -> str:
        """Return one line of figures."""
        again = f"{self.wire_duplicates} ({100 * self.wire_duplicates / max(self.accepted, 1):.1f} %)"
        figures = (
            f"accepted {self.accepted}, lost {len(self.missing)}, twice {len(self.twice)}, "
            f"altered {len(self.altered)}, inversions {self.inversions_per_camera} per camera and "
            f"{self.inversions_per_alert} per alert, filled by replay {self.late} in {self.gaps_noticed} gaps "
            f"(found after {self.slowest_found_s:.1f} s, filled after {self.slowest_fill_s:.1f} s at most), "
            f"on the wire again {again}"
        )
        return f"{title}: {figures}"

    def as_json(self) -> dict[str, object]:
        """Return it for `reliability.json`."""
        return asdict(self)


class Oracle:
    """Listens to reports and to the broker until its block ends."""

    def __init__(self, port: int) -> None:
        self.ledger = Ledger()
        self._clock = asyncio.get_running_loop().time
        settings = BrokerSettings(
            host="127.0.0.1", port=port, topic_prefix=TOPICS.prefix, client_id=new_client_id(), protocol="5"
        )
        self._watch = Watch(TOPICS, name=settings.client_id, since_seq=0, now_s=self._clock())
        self._subscriber = Subscriber(settings, self._watch.filters)
        self._partial = b""
        self._enough = asyncio.Event()

    @asynccontextmanager
    async def listening(self, reports: int) -> AsyncIterator["Oracle"]:
        """Hear the reports on this pipe, and what the broker delivers."""
        loop = asyncio.get_running_loop()
        os.set_blocking(reports, False)
        loop.add_reader(reports, self._read, reports)
        try:
            async with self._subscriber, asyncio.TaskGroup() as tasks:
                listener = tasks.create_task(self._listen(), name="oracle")
                yield self
                listener.cancel()
        finally:
            loop.remove_reader(reports)

    def _read(self, reports: int) -> None:
        *lines, self._partial = (self._partial + os.read(reports, 65_536)).split(b"\n")
        for line in lines:
            if line == ENOUGH.strip():
                self._enough.set()
            else:
                self.ledger.accept(line)

    async def _listen(self) -> None:
        while True:
            next_s = self._watch.next_s
            within_s = None if next_s is None else max(next_s - self._clock(), 0.0)
            news = await self._subscriber.news(within_s=within_s)
            match news:
                case Arrived(topic, payload):
                    self.ledger.arrived[topic] += 1
                    self._note_wire(topic, payload)
                    self._carry_out(self._watch.take(topic, payload, now_s=self._clock()), topic)
                case Up():
                    self.ledger.connections += 1
                    self._watch.connected(self._clock())
                case Down() | None:
                    pass
            self._carry_out(self._watch.tick(self._clock()), "")

    def _note_wire(self, topic: str, payload: bytes) -> None:
        if topic == TOPICS.alerts:
            try:
                self.ledger.on_the_wire[json.loads(payload)["data"]["seq"]] += 1
            except (ValueError, LookupError, TypeError):
                self.ledger.arrived["garbled"] += 1

    def _carry_out(self, steps: list[Step], topic: str) -> None:
        for step in steps:
            match step:
                case Deliver():
                    self._deliver(step, topic)
                case Ask():
                    self._subscriber.publish(self._watch.request_topic, to_request(step))
                case GapNoticed():
                    self.ledger.noticed.append((step, time.monotonic()))
                case GapFilled():
                    self.ledger.filled.append(step)
                case GapLost():
                    self.ledger.lost.append(step)
                case Garbled():
                    self.ledger.garbled.append(step)

    def _deliver(self, step: Deliver, topic: str) -> None:
        message = step.reading.message
        if isinstance(message, Alert):
            digest = hashlib.sha256(step.reading.payload).hexdigest()[:16]
            data = message.data
            facts = (data.seq, digest, data.camera, data.alert_id, data.type)
            delivered = Delivered(*facts, step.late, topic == TOPICS.replayed, time.monotonic())
            self.ledger.delivered.append(delivered)

    async def settled(self, *, within_s: float) -> None:
        """Wait until the alerts end and all that was accepted is delivered, or the time is over."""
        async with asyncio.timeout(within_s):
            await self._enough.wait()
        deadline_s = self._clock() + within_s
        # A ledger has no events to wait for.
        while self._clock() < deadline_s and self.ledger.missing() - self.ledger.told_gone():  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    async def fresh(self, count: int, *, within_s: float) -> None:
        """Wait until so many alerts more are delivered than now."""
        wanted = len(self.ledger.delivered) + count
        async with asyncio.timeout(within_s):
            while len(self.ledger.delivered) < wanted:  # noqa: ASYNC110 (a ledger has no events)
                await asyncio.sleep(0.05)

    def judge(self) -> Verdict:
        """Return what the ledger proves now."""
        return judge(self.ledger)


def judge(ledger: Ledger) -> Verdict:
    """Return what a ledger proves."""
    times = Counter(one.seq for one in ledger.delivered)
    altered = [
        one.seq
        for one in ledger.delivered
        if one.seq in ledger.accepted and ledger.accepted[one.seq].digest != one.digest
    ]
    return Verdict(
        accepted=len(ledger.accepted),
        delivered=len(ledger.delivered),
        missing=tuple(sorted(ledger.missing())),
        unexplained=tuple(sorted(ledger.missing() - ledger.told_gone())),
        twice=tuple(sorted(seq for seq, count in times.items() if count > 1)),
        altered=tuple(sorted(altered)),
        accepted_twice=tuple(ledger.accepted_twice),
        inversions_per_alert=_inversions(ledger.delivered, by_alert=True),
        inversions_per_camera=_inversions(ledger.delivered, by_alert=False),
        late=sum(one.replayed for one in ledger.delivered),
        gaps_noticed=len(ledger.noticed),
        gaps_lost=len(ledger.lost),
        wire_duplicates=sum(count - 1 for count in ledger.on_the_wire.values()),
        garbled=len(ledger.garbled),
        connections=ledger.connections,
        slowest_found_s=max((_found_s(ledger, gap, at_s) for gap, at_s in ledger.noticed), default=0.0),
        slowest_fill_s=max((one.after_s for one in ledger.filled), default=0.0),
    )


def _found_s(ledger: Ledger, gap: GapNoticed, at_s: float) -> float:
    """Return how long after the last of its alerts was accepted a gap was noticed."""
    accepted = [ledger.accepted[seq].at_s for seq in range(gap.first, gap.last + 1) if seq in ledger.accepted]
    return at_s - max(accepted, default=at_s)


def _inversions(delivered: list[Delivered], *, by_alert: bool) -> int:
    """Count messages that came after a later one of the same alert or camera, without those that a replay brought."""
    lines: defaultdict[str, list[int]] = defaultdict(list)
    for one in delivered:
        if not one.replayed:
            lines[one.alert_id if by_alert else one.camera].append(one.seq)
    return sum(later < max(seqs[: place + 1]) for seqs in lines.values() for place, later in enumerate(seqs))
