"""A disk that is really full: a small tmpfs of the test's own."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.outboxes import Clock, accept, alert

from gateway.delivery.outbox import Outbox
from gateway.settings import OutboxSettings
from gateway.storage.database import Degraded
from gateway.storage.state import Storage

SETTINGS = OutboxSettings(reserve_bytes=4 * 2**20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 32 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a disk; failing disks are tested without one in test_writer.py")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the space there is and return the file that holds it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


async def until(storage: Storage, state: Degraded | None) -> None:
    """Wait for a state of the disk, at most ten times what is promised."""
    reached = asyncio.Event()
    storage.on_health = lambda now: reached.set() if now is state else None
    if storage.degraded is not state:
        async with asyncio.timeout(50):
            await reached.wait()


async def test_a_full_disk_loses_nothing_and_is_over_when_there_is_space(small_disk: Path) -> None:
    """The reserve carries on for a while, then messages wait; all of it is said, and passes when space comes back."""
    each = 900
    async with Storage.open(small_disk / "state", settings=SETTINGS) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SETTINGS, clock=Clock())
        for number in range(6):
            filler = fill(small_disk)
            waiting = [outbox.submit(alert(outbox.next_seq(), payload=os.urandom(3000))) for _ in range(each)]
            await until(storage, Degraded.DISK_FULL)
            assert len(await outbox.between(1, 10**9, 5)) <= 5  # reading goes on
            filler.unlink()
            async with asyncio.timeout(50):
                await asyncio.gather(*waiting)
            rows = await outbox.pending(10_000)
            assert [row.seq for row in rows] == list(range(1 + each * number, 1 + each * (number + 1)))
            await until(storage, None)
            await outbox.delivered(rows)
        assert outbox.status().last_seq == 6 * each
        assert await outbox.gaps() == []


async def test_it_starts_on_a_full_disk_and_says_so(small_disk: Path) -> None:
    """What lies in the outbox can be delivered from a disk that takes nothing more."""
    folder = small_disk / "state"
    async with Storage.open(folder, settings=SETTINGS) as storage:
        await accept(await Outbox.open(storage, client_id="box", settings=SETTINGS, clock=Clock()), 3)
    filler = fill(small_disk)
    async with Storage.open(folder, settings=SETTINGS) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SETTINGS, clock=Clock())
        assert storage.degraded is Degraded.DISK_FULL
        rows = await outbox.pending(10)
        assert [row.seq for row in rows] == [1, 2, 3]
        await outbox.delivered(rows)
        await accept(outbox, 1)
        filler.unlink()
        await until(storage, None)
