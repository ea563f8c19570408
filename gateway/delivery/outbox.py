"""Messages that must arrive: numbered, on the disk before anybody hears of them, and kept after their delivery.

A message is accepted when `accept` returns: its row has reached the disk, and from then on it is sent, found again by
its number, or its loss is itself told by number (decision 0008). A PUBACK is not durability, so a delivered alert
stays for the retention window. Nothing here knows MQTT.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any, Self

import structlog

from gateway.delivery.outbox_rules import Limits, Numbers, Written, numbers_of, prune, settle, write
from gateway.errors import StorageError
from gateway.settings import OutboxSettings
from gateway.storage.database import Connection, Degraded
from gateway.storage.failpoints import fail_point
from gateway.storage.gaps import Gap, add_gap, open_gaps, ranges_of
from gateway.storage.rows import COLUMNS, MAX_PAYLOAD_BYTES, Kind, OutboxRow, read
from gateway.storage.state import Storage

MAX_UNSTORED = 1000
"""Messages that may wait in memory for a disk that takes nothing; of these, telemetry may be half."""

_PRUNE_EVERY_S = 60.0
_TELL_EVERY_S = 60.0
_ROOM_BYTES = 2**18  # what goes at once on a full disk: removing takes room itself

_log = structlog.get_logger()


class Rank(IntEnum):
    """What goes first when space runs out: the lowest."""

    TELEMETRY = 0
    WATCH = 1
    ALERT = 2
    CRITICAL = 3
    NOTICE = 4


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message to accept. Alerts and notices carry a number from `next_seq`, telemetry none.

    `held` ones are not among the pending until they are released: flood control tells them in a summary.
    `announces` are the numbers of the gaps that a notice tells.
    """

    kind: Kind
    topic: str
    payload: bytes
    seq: int | None = None
    rank: Rank = Rank.TELEMETRY
    content_type: str = ""
    camera: str | None = None
    alert_id: str | None = None
    time_s: float | None = None
    held: bool = False
    announces: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be delivered by number."""
        if (self.kind == "telemetry") != (self.seq is None):
            raise ValueError(f"an outbox entry of kind {self.kind} with seq {self.seq}: telemetry alone has no number")
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a message of {len(self.payload)} bytes; at most {MAX_PAYLOAD_BYTES} are kept")


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The outbox at the last change: `depth` messages wait, the oldest since `oldest_s` seconds."""

    depth: int
    oldest_s: float | None
    bytes: int
    last_seq: int
    unstored: int
    gaps: int
    telemetry_dropped: int
    alerts_evicted: int
    degraded: Degraded | None


@dataclass(slots=True)
class _Counters:
    telemetry_dropped: int = 0
    alerts_evicted: int = 0
    unstored: int = 0
    refused: list[int] = field(default_factory=list)  # numbers given to messages that found no room in memory


class Outbox:
    """The outbox of one box. For the event loop alone."""

    def __init__(
        self, storage: Storage, numbers: Numbers, *, client_id: str, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self.client_id = client_id
        self.changed = asyncio.Event()
        self._storage = storage
        self._limits = limits
        self._clock = clock
        self._numbers = numbers
        self._next_seq = numbers.last_seq + 1
        self._next_row = numbers.last_row + 1
        self._counters = _Counters()
        self._pruned_at_s = -_PRUNE_EVERY_S
        self._tell_again_s = 0.0

    @classmethod
    async def open(
        cls,
        storage: Storage,
        *,
        client_id: str,
        settings: OutboxSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Return the outbox of a state file, which goes on counting where it stopped.

        Raises:
            StorageError: The file cannot be read.
        """
        settings = settings or OutboxSettings()
        limits = Limits(settings.max_bytes, settings.retention_hours * 3600.0)
        storage.when_full(partial(prune, free_bytes=_ROOM_BYTES))
        numbers = await storage.read(numbers_of)
        return cls(storage, numbers, client_id=client_id, limits=limits, clock=clock)

    @property
    def last_row(self) -> int:
        """The place of the newest message in the order of acceptance."""
        return self._next_row - 1

    def next_seq(self) -> int:
        """Return the number of the next alert or notice; hand the message to `accept` before anything is awaited."""
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def submit(self, entry: OutboxEntry) -> asyncio.Future[None]:
        """Queue a message for the disk; the future is done when it is there. On a disk that takes nothing it waits.

        Who cancels the future does not take the message back: it is stored all the same.

        Raises:
            StorageError: `MAX_UNSTORED` wait already; the loss is then told as a gap of its own. The future holds one
                when the storage is closed before the message is on the disk.
        """
        self._check_room(entry)
        refused, self._counters.refused = self._counters.refused, []
        work = partial(
            write,
            row=self._row_of(entry),
            held=entry.held,
            announces=entry.announces,
            refused=ranges_of(sorted(refused)),
            limits=self._limits,
        )
        try:
            stored = self._storage.submit(work)
        except StorageError:
            self._counters.refused = [*refused, *([] if entry.seq is None else [entry.seq])]
            raise
        self._counters.unstored += 1
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stored.add_done_callback(partial(self._on_stored, accepted, entry.seq))
        return accepted

    async def accept(self, entry: OutboxEntry) -> None:
        """Return when the message is on the disk.

        Raises:
            StorageError: As `submit`.
        """
        await self.submit(entry)

    def _on_stored(self, accepted: asyncio.Future[None], seq: int | None, stored: asyncio.Future[Written]) -> None:
        self._counters.unstored -= 1
        error = stored.exception()
        if error is None:
            fail_point("outbox.before_reply")
            self._note(stored.result())
        elif seq is not None:
            self._counters.refused.append(seq)
        if accepted.done():
            return  # nobody waits any more
        if error is None:
            accepted.set_result(None)
        else:
            accepted.set_exception(error)

    def _check_room(self, entry: OutboxEntry) -> None:
        room = MAX_UNSTORED // 2 if entry.seq is None else MAX_UNSTORED
        if self._counters.unstored < room:
            return
        if entry.seq is None:
            self._counters.telemetry_dropped += 1
        else:
            self._counters.refused.append(entry.seq)
        raise StorageError(
            f"a message on {entry.topic} finds no room: {self._counters.unstored} wait for a disk that takes nothing "
            f"({self._storage.degraded or 'slow'}). Check the disk of {self._storage.folder}"
        )

    def _row_of(self, entry: OutboxEntry) -> OutboxRow:
        row, self._next_row = self._next_row, self._next_row + 1
        return OutboxRow(
            row=row,
            seq=entry.seq,
            kind=entry.kind,
            rank=int(entry.rank),
            topic=entry.topic,
            content_type=entry.content_type,
            camera=entry.camera,
            alert_id=entry.alert_id,
            time_s=self._clock() if entry.time_s is None else entry.time_s,
            payload=entry.payload,
        )

    def _note(self, written: Written) -> None:
        self._numbers = written.numbers
        self._counters.telemetry_dropped += written.telemetry_evicted
        self._counters.alerts_evicted += written.alerts_evicted
        if written.telemetry_evicted or written.alerts_evicted:
            self._tell_eviction()
        self.changed.set()

    def _tell_eviction(self) -> None:
        """Log what was evicted since the start: at the first and then once in a while, not at every message."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._tell_again_s:
            self._tell_again_s = now_s + _TELL_EVERY_S
            counters = self._counters
            _log.warning("outbox_evicted", telemetry=counters.telemetry_dropped, alerts=counters.alerts_evicted)

    async def pending(self, limit: int, after_row: int = 0) -> list[OutboxRow]:
        """Return messages that wait to be sent, in the order of their acceptance, from behind `after_row`.

        Raises:
            StorageError: The file cannot be read.
        """
        return await self._waiting(limit, after_row, held=False)

    async def held(self, limit: int, after_row: int = 0) -> list[OutboxRow]:
        """Return messages that are held, in the order of their acceptance.

        Raises:
            StorageError: The file cannot be read.
        """
        return await self._waiting(limit, after_row, held=True)

    async def _waiting(self, limit: int, after_row: int, *, held: bool) -> list[OutboxRow]:
        where = "row IN (SELECT row FROM waiting WHERE row > ? AND held = ? ORDER BY row LIMIT ?) ORDER BY row"
        return await self._proved(where, (after_row, int(held), limit))

    async def between(self, from_seq: int, to_seq: int, limit: int) -> list[OutboxRow]:
        """Return stored messages by number, both ends included, in order, delivered or not.

        Raises:
            StorageError: The file cannot be read.
        """
        return await self._proved("seq BETWEEN ? AND ? ORDER BY seq LIMIT ?", (from_seq, to_seq, limit))

    async def _proved(self, where: str, parameters: tuple[int, ...]) -> list[OutboxRow]:
        """Return the rows whose checksum holds; one that was altered on the disk becomes a gap, never a message."""
        while True:
            columns = await self._storage.read(partial(_select, where=where, parameters=parameters))
            rows = [(values[0], read(values)) for values in columns]
            altered = [row for row, proved in rows if proved is None]
            if not altered:
                return [proved for _, proved in rows if proved is not None]
            _log.error("outbox_rows_altered", rows=altered[:10], count=len(altered))
            time_s = self._clock()
            self._note(await self._storage.run(partial(settle, rows=altered, lost_at_s=time_s)))

    async def delivered(self, rows: Sequence[OutboxRow]) -> None:
        """Note that messages reached the broker, or were told by a summary: they stay for the retention window.

        Raises:
            StorageError: The disk takes nothing; the messages are sent again, with the `id` they have.
        """
        now_s = self._clock()
        before_s = None
        if not 0 <= now_s - self._pruned_at_s < _PRUNE_EVERY_S:
            self._pruned_at_s, before_s = now_s, now_s - self._limits.retention_s
        work = partial(settle, rows=[row.row for row in rows], prune_before_s=before_s)
        self._numbers = (await self._storage.run(work, frees=True)).numbers

    async def release(self, rows: Sequence[OutboxRow]) -> None:
        """Let held messages be sent after all.

        Raises:
            StorageError: The disk takes nothing.
        """
        await self._storage.run(partial(_release, rows=[row.row for row in rows]))
        self.changed.set()

    async def gaps(self) -> list[Gap]:
        """Return losses that no notice has told yet.

        Raises:
            StorageError: The file cannot be read.
        """
        return await self._storage.read(open_gaps)

    async def give_up(self, seq: int) -> None:
        """Turn a number that was taken, but whose message was never accepted, into a gap.

        Raises:
            StorageError: The disk takes nothing.
        """
        await self._storage.run(partial(add_gap, seqs=(seq, seq), count=1, reason="not_stored", time_s=self._clock()))
        self._numbers = await self._storage.read(numbers_of)
        self.changed.set()

    def status(self) -> OutboxStatus:
        """Return how much waits, since when, and what was lost."""
        numbers = self._numbers
        oldest_s = None if numbers.oldest_time_s is None else max(0.0, self._clock() - numbers.oldest_time_s)
        return OutboxStatus(
            depth=numbers.depth,
            oldest_s=oldest_s,
            bytes=numbers.bytes,
            last_seq=numbers.last_seq,
            unstored=self._counters.unstored,
            gaps=numbers.gaps,
            telemetry_dropped=self._counters.telemetry_dropped,
            alerts_evicted=self._counters.alerts_evicted,
            degraded=self._storage.degraded,
        )


def _select(connection: Connection, where: str, parameters: tuple[int, ...]) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT {COLUMNS} FROM outbox WHERE {where}", parameters).fetchall()  # noqa: S608


def _release(connection: Connection, rows: Sequence[int]) -> None:
    for row in rows:
        connection.execute("UPDATE waiting SET held = 0 WHERE row = ?", (row,))
