"""What is killed: storage, outbox and delivery of a gateway, fed with alerts of its own making until it dies.

Runs in a child that the killer forks. Each alert that the outbox has accepted, its commit on the disk, is reported on
a pipe to the oracle, one line in one write, so that a kill tears none.
"""

import asyncio
import hashlib
import itertools
import os
import random
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaos.faults import DiskFault, failing, failing_once
from fakes.boxes import TOPICS, alert

from gateway.contract.messages import Alert, to_bytes
from gateway.delivery.outbox import Outbox, OutboxEntry
from gateway.delivery.service import Delivery
from gateway.settings import BrokerSettings, FloodSettings, OutboxSettings
from gateway.storage import failpoints
from gateway.storage.database import connect
from gateway.storage.rows import OutboxRow
from gateway.storage.state import Storage
from gateway.storage.tables import RetainedTable

CLIENT = "chaos"
ACCEPTED, DELIVERED = b"a", b"d"  # what a gateway shows of its progress
ENOUGH = b"enough\n"  # the report behind the last alert
CAMERAS = ("lobby", "gate", "yard", "dock")
RATE_PER_S = 200.0
OUTBOX = OutboxSettings(reserve_bytes=2**20)
_TELEMETRY_EVERY = 5


@dataclass(frozen=True, slots=True)
class Life:
    """How one gateway lives: where, and at which fail-point it ends by itself, if at one."""

    folder: Path
    port: int
    seed: int
    fail_point: str | None = None
    disk: DiskFault | None = None
    most_waiting: int | None = None


def live(life: Life, *, reports: int, progress: int) -> None:
    """Live until killed; the first SIGTERM ends the alerts, the second the gateway."""
    if life.fail_point is not None:
        failpoints.arm(life.fail_point)
    asyncio.run(_Gateway(life, reports, progress).run())


class _Gateway:
    def __init__(self, life: Life, reports: int, progress: int) -> None:
        self._life = life
        self._reports = reports
        self._progress = progress
        self._rng = random.Random(life.seed)
        self._tracks = {camera: deque[tuple[str, str]]() for camera in CAMERAS}
        self._unreported: set[asyncio.Future[None]] = set()
        self._enough = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Open what there is, deliver, and feed."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._on_sigterm)
        broker = BrokerSettings(
            host="127.0.0.1",
            port=self._life.port,
            client_id=CLIENT,
            topic_prefix=TOPICS.prefix,
            protocol="5",
            keepalive_s=2,
            flood=FloodSettings(burst=100_000, per_minute=100_000),
        )
        opening = connect if self._life.disk is None else failing(connect, self._life.disk, self._rng)
        if (self._life.fail_point or "").startswith("storage.after_checkpoint"):
            opening = failing_once(connect, at=3)
        opened = Storage.open(self._life.folder, settings=OUTBOX, connect=opening)
        async with opened as storage:
            outbox = await self._open(storage)
            delivery = Delivery(broker, outbox, RetainedTable(storage))
            await delivery.load()
            delivery.know(CAMERAS)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(delivery.run(), name="delivery")
                await self._feed(outbox, delivery)
                if self._unreported:
                    await asyncio.wait(self._unreported)
                os.write(self._reports, ENOUGH)
                await self._over.wait()
                running.cancel()

    async def _open(self, storage: Storage) -> "_Outbox":
        outbox = await _Outbox.open(storage, client_id=CLIENT, settings=OUTBOX)
        if (self._life.fail_point or "").startswith("outbox.after_evict"):
            # So full that each new alert evicts one that was delivered.
            full = OUTBOX.model_copy(update={"max_bytes": max(outbox.status().bytes, 2**16)})
            outbox = await _Outbox.open(storage, client_id=CLIENT, settings=full)
        outbox.progress = self._progress
        return outbox

    def _on_sigterm(self) -> None:
        (self._over if self._enough.is_set() else self._enough).set()

    async def _feed(self, outbox: Outbox, delivery: Delivery) -> None:
        """Submit alerts at `RATE_PER_S`, as cameras do, with telemetry between them."""
        began_s = asyncio.get_running_loop().time()
        for number in itertools.count():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began_s + number / RATE_PER_S):
                    await self._enough.wait()
            if self._enough.is_set():
                return
            status = outbox.status()
            if self._life.most_waiting is not None and status.depth + status.unstored >= self._life.most_waiting:
                continue
            if number % _TELEMETRY_EVERY == 0:
                payload = b"{}" + b" " * self._rng.randrange(500)
                outbox.submit(OutboxEntry("telemetry", TOPICS.verdicts, payload))
                continue
            message = self._alert(delivery.next_seq())
            accepted = delivery.submit(message)
            self._unreported.add(accepted)
            accepted.add_done_callback(partial(self._on_accepted, message))

    def _alert(self, seq: int) -> Alert:
        """Return the next alert of some camera: tracks begin, change and end."""
        camera = self._rng.choice(CAMERAS)
        track = self._tracks[camera]
        if not track:
            name = f"{self._rng.getrandbits(64):016x}"
            track.extend((name, says) for says in ("new", "update", "end"))
        name, says = track.popleft()
        now_s = round(time.time(), 6)
        return alert(
            seq,
            client=CLIENT,
            camera=camera,
            time_s=now_s,
            alert_id=name,
            type=says,
            end_time=now_s if says == "end" else None,
            score=self._rng.random(),
        )

    def _on_accepted(self, message: Alert, accepted: asyncio.Future[None]) -> None:
        """Report what is on the disk; what the outbox could not take when it closed was never accepted."""
        self._unreported.discard(accepted)
        if accepted.cancelled() or accepted.exception() is not None:
            return
        digest = hashlib.sha256(to_bytes(message)).hexdigest()[:16]
        data = message.data
        os.write(self._reports, f"{data.seq} {digest} {data.camera} {data.alert_id}\n".encode())
        _show(self._progress, ACCEPTED)


class _Outbox(Outbox):
    """An outbox that shows what it notes as delivered."""

    progress = -1

    async def delivered(self, rows: Sequence[OutboxRow]) -> None:
        """Note it, and show it."""
        await super().delivered(rows)
        _show(self.progress, DELIVERED)


def _show(progress: int, what: bytes) -> None:
    with suppress(BlockingIOError):  # nobody reads any more
        os.write(progress, what)
