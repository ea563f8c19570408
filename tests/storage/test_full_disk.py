"""A disk that is really full: a small tmpfs of the test's own."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.outboxes import Clock, accept, alert

from gateway.delivery.outbox import Outbox
from gateway.delivery.outbox_files import exported
from gateway.errors import StorageError
from gateway.settings import OutboxSettings
from gateway.storage.database import Degraded
from gateway.storage.state import Storage

SETTINGS = OutboxSettings(reserve_bytes=4 * 2**20)


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return a folder on a disk of so many MiB, or 32."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', 32)}m", "tmpfs", str(folder)]
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


async def fill_with_alerts(storage: Storage, outbox: Outbox) -> list[asyncio.Future[None]]:
    """Accept alerts until the disk takes no more and some hundred wait; return what became of each."""
    futures: list[asyncio.Future[None]] = []
    async with asyncio.timeout(60):
        while storage.degraded is None or outbox.status().unstored < 200:
            count = 50 if outbox.status().unstored < 400 else 0
            futures += [outbox.submit(alert(outbox.next_seq(), payload=os.urandom(3000))) for _ in range(count)]
            await asyncio.sleep(0.002)
    return futures


async def deliver_all(outbox: Outbox) -> list[int | None]:
    """Deliver what waits, and what finds room only then; return the numbers in the order they came."""
    seqs: list[int | None] = []
    async with asyncio.timeout(50):
        while outbox.status().unstored or outbox.status().depth:
            rows = await outbox.pending(128)
            await outbox.delivered(rows)
            seqs += [row.seq for row in rows]
    return seqs


async def live_in_cycles(folder: Path, cycles: int, *, foreign: bool) -> float:
    """Fill the disk and free it again and again; return the longest time until all was well after there was room."""
    worst_s, told = 0.0, 0
    async with Storage.open(folder / "state") as storage:
        outbox = await Outbox.open(storage, client_id="box")
        for _ in range(cycles):
            filler = fill(folder) if foreign else None
            futures = await fill_with_alerts(storage, outbox)
            assert storage.degraded is Degraded.DISK_FULL
            started_s = time.monotonic()
            if filler is not None:
                filler.unlink()
            seqs = await deliver_all(outbox)
            await until(storage, None)
            worst_s = max(worst_s, time.monotonic() - started_s)
            await asyncio.gather(*futures)
            assert seqs == list(range(told + 1, told + 1 + len(futures)))
            told += len(futures)
        assert await outbox.gaps() == []
    return worst_s


@pytest.mark.parametrize("small_disk", [4, 8], indirect=True)
async def test_a_disk_full_of_our_own_alerts_is_well_again_when_they_are_delivered(small_disk: Path) -> None:
    """However small the disk: what makes room is done on a disk that takes nothing else, and nothing is stuck."""
    await live_in_cycles(small_disk, 4, foreign=False)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("small_disk", "foreign"), [(4, False), (8, False), (4, True), (64, True)], indirect=["small_disk"]
)
async def test_two_hundred_full_disks_lose_nothing(small_disk: Path, foreign: bool) -> None:
    """Filled by alerts or by others 200 times: none is lost, and each time the state passes by itself."""
    worst_s = await live_in_cycles(small_disk, 200, foreign=foreign)
    print(f"200 times full: well again within {worst_s:.1f} s, everything drained included")


def remount_read_only(folder: Path) -> None:
    """Let nothing more be written to the disk, as the kernel does with one that fails."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


async def test_a_read_only_disk_can_be_looked_at_and_is_refused_with_words(small_disk: Path) -> None:
    """The operator can still export what is there, and hears at the start what to look at."""
    folder = small_disk / "state"
    async with Storage.open(folder, settings=SETTINGS) as storage:
        await accept(await Outbox.open(storage, client_id="box", settings=SETTINGS, clock=Clock()), 3)
    remount_read_only(small_disk)
    assert len(list(exported(folder, from_seq=1, to_seq=9))) == 3
    with pytest.raises(StorageError, match=r"Read-only file system.*check the disk"):
        async with Storage.open(folder, settings=SETTINGS):
            pass
