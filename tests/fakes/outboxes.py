"""Outboxes for tests: messages to accept, and a state folder opened for the length of a block."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.delivery.outbox import Outbox, OutboxEntry, Rank
from gateway.settings import OutboxSettings
from gateway.storage.state import Storage

SMALL = OutboxSettings(reserve_bytes=0)
"""Without a reserve: most tests have no need to write 16 MB."""


class Clock:
    """Seconds that a test moves."""

    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def alert(seq: int, *, rank: Rank = Rank.ALERT, payload: bytes | None = None, camera: str = "lobby") -> OutboxEntry:
    """Return an alert with this number, whose payload tells the number."""
    body = f'{{"seq": {seq}}}'.encode() if payload is None else payload
    return OutboxEntry("alert", "spectragate/alerts", body, seq=seq, rank=rank, camera=camera, alert_id=f"a-{seq}")


def telemetry(number: int = 0) -> OutboxEntry:
    """Return a message without a number of its own."""
    return OutboxEntry("telemetry", "spectragate/verdicts", f'{{"number": {number}}}'.encode(), camera="lobby")


@asynccontextmanager
async def open_outbox(
    folder: Path, *, settings: OutboxSettings = SMALL, clock: Callable[[], float] | None = None
) -> AsyncIterator[Outbox]:
    """Open the outbox of a folder and close its storage with the block."""
    async with Storage.open(folder, settings=settings) as storage:
        yield await Outbox.open(storage, client_id="box", settings=settings, clock=clock or Clock())


async def accept(outbox: Outbox, count: int) -> list[int]:
    """Accept so many alerts one after the other and return their numbers."""
    seqs = []
    for _ in range(count):
        seq = outbox.next_seq()
        await outbox.accept(alert(seq))
        seqs.append(seq)
    return seqs
