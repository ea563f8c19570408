"""The storage thread on a disk that refuses: nothing accepted is lost, reading goes on, the state is said."""

import asyncio
import itertools
import shutil
from pathlib import Path

import pytest
from fakes.failing_disk import FAULTS, FailingDisk
from fakes.outboxes import SMALL, Clock, accept, alert, open_outbox
from fakes.processes import wait_until
from structlog.testing import capture_logs

from gateway.delivery.outbox import Outbox
from gateway.errors import StorageError
from gateway.storage.database import Degraded
from gateway.storage.state import Storage

_names = itertools.count()


async def live_through(folder: Path, kind: str, *, first: int, count: int) -> tuple[FailingDisk, list[Degraded | None]]:
    """Accept and deliver while the disk refuses for a while; return the disk and the states that were announced."""
    disk = FailingDisk(f"failing-{next(_names)}")
    told: list[Degraded | None] = []
    async with Storage.open(folder, settings=SMALL, connect=disk.connect) as storage:
        storage.on_health = told.append
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL, clock=Clock())
        await accept(outbox, 3)
        disk.fail(kind, first=first, count=count)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            for _ in range(6):
                tasks.create_task(outbox.accept(alert(outbox.next_seq())), name="accept")
        await outbox.delivered((await outbox.pending(100))[:2])
        await accept(outbox, 2)
        assert storage.degraded is None
    disk.unregister()
    return disk, told


async def check_whole(folder: Path, *, first: int = 1) -> None:
    """All eleven are there after a restart, on a disk that works; the two delivered ones may have made room."""
    async with open_outbox(folder) as outbox:
        seqs = [row.seq for row in await outbox.between(1, 100, 100)]
        assert seqs in (list(range(1, 12)), list(range(first, 12)))
        assert outbox.status().last_seq == 11
        assert [row.seq for row in await outbox.pending(100)] == list(range(3, 12))
        assert await outbox.gaps() == []


@pytest.mark.parametrize("kind", FAULTS)
async def test_the_state_is_announced_and_clears_itself_when_the_disk_refuses(tmp_path: Path, kind: str) -> None:
    """Whoever watches hears once what is wrong and once that it is over, and what waited is on the disk."""
    disk, told = await live_through(tmp_path, kind, first=2, count=4)
    assert disk.refused >= 2
    assert told == [Degraded(kind), None]
    await check_whole(tmp_path, first=3 if kind == "disk_full" else 1)


async def operations_of(folder: Path) -> int:
    """Return how many operations the workload takes on a disk that works."""
    disk, told = await live_through(folder, "io_error", first=10**9, count=1)
    assert told == []
    return disk.operations


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(
    "step",
    [pytest.param(11, id="some"), pytest.param(1, id="every", marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
async def test_nothing_accepted_is_lost_when_any_operation_fails(tmp_path: Path, kind: str, step: int) -> None:
    """A refusal at any operation, once or for a while: the same messages are there, under the same numbers."""
    operations = await operations_of(tmp_path / "whole")
    for first in range(1, operations, step):
        for count in (1, 3):
            folder = tmp_path / f"{first}-{count}"
            await live_through(folder, kind, first=first, count=count)
            await check_whole(folder, first=3 if kind == "disk_full" else 1)


async def test_folder_that_was_removed_is_called_that_and_taken_up_when_it_is_back(tmp_path: Path) -> None:
    """Somebody cleaned up, or a mount went: nobody is sent to make room, and what waits is written at last."""
    folder, told = tmp_path / "state", []
    folder.mkdir()
    async with Storage.open(folder, settings=SMALL) as storage:
        storage.on_health = told.append
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL, clock=Clock())
        await accept(outbox, 1)
        with capture_logs() as logs:
            shutil.rmtree(folder)
            waiting = outbox.submit(alert(outbox.next_seq()))
            await wait_until(lambda: told == [Degraded.FOLDER_MISSING])
            assert outbox.status().degraded is Degraded.FOLDER_MISSING
            folder.mkdir()
            async with asyncio.timeout(40):
                await waiting
        assert "the folder is not there any more" in next(log["reason"] for log in logs if "reason" in log)
    assert told[0] is Degraded.FOLDER_MISSING


async def test_reading_goes_on_while_the_disk_takes_nothing(tmp_path: Path) -> None:
    """Delivery continues from what is stored, and the number of messages in memory is bounded and said."""
    disk = FailingDisk("reading-on")
    async with Storage.open(tmp_path, settings=SMALL, connect=disk.connect) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL, clock=Clock())
        await accept(outbox, 3)
        disk.fail("read_only", first=1, count=10**9)
        waiting = [outbox.submit(alert(outbox.next_seq())) for _ in range(1000)]
        assert [row.seq for row in await outbox.pending(10)] == [1, 2, 3]
        refused = outbox.next_seq()
        with pytest.raises(StorageError, match="finds no room: 1000 wait"):
            outbox.submit(alert(refused))
        status = outbox.status()
        assert (status.unstored, status.degraded) == (1000, Degraded.READ_ONLY)
        disk.fail("read_only", first=10**9, count=1)
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting)
        await accept(outbox, 1)
        (gap,) = await outbox.gaps()
        assert (gap.from_seq, gap.to_seq, gap.count, gap.reason) == (1004, 1004, 1, "not_stored")
        assert outbox.status().last_seq == 1005
    disk.unregister()


async def test_closing_waits_for_no_disk(tmp_path: Path) -> None:
    """A daemon that is stopped ends, whatever the disk does; what was not accepted is told to whoever waits."""
    disk = FailingDisk("closing")
    async with Storage.open(tmp_path, settings=SMALL, connect=disk.connect) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL, clock=Clock())
        await accept(outbox, 2)
        disk.fail("io_error", first=1, count=10**9)
        waiting = [outbox.submit(alert(outbox.next_seq())) for _ in range(300)]
    for future in waiting:
        with pytest.raises(StorageError, match="closed before this could be stored"):
            await future
    disk.unregister()
    async with open_outbox(tmp_path) as outbox:
        assert [row.seq for row in await outbox.pending(10)] == [1, 2]
