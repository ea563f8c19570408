"""Power cuts: in every state a disk may be left in, what was accepted is there, and the file opens."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.crashing_disk import Adapted, Disk, Operation, Recorder, power_cuts
from fakes.outboxes import Clock, alert, telemetry

from gateway.delivery.outbox import Outbox
from gateway.settings import OutboxSettings
from gateway.storage.rows import COLUMNS, read
from gateway.storage.state import Storage

SETTINGS = OutboxSettings(reserve_bytes=0, max_bytes=65_536, retention_hours=0.02)


async def work_through(folder: Path, recorder: Recorder, connect: Callable[[Path], Adapted], rounds: int) -> None:
    """Accept, deliver, prune and evict, and note in the log when a message counted as accepted."""
    clock = Clock()
    async with Storage.open(folder, settings=SETTINGS, connect=connect) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SETTINGS, clock=clock)

        async def accept(seq: int) -> None:
            await outbox.accept(alert(seq, payload=f"{seq}:".encode() + random.Random(seq).randbytes(seq * 37 % 900)))
            recorder.log.append(Operation("accepted", str(seq)))

        for number in range(rounds):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(1 + number % 5):
                    tasks.create_task(accept(outbox.next_seq()), name="accept")
            if number % 3 == 0:
                await outbox.accept(telemetry(number))
            if number % 4 == 0:
                clock.now_s += 70
                await outbox.delivered(await outbox.pending(6))


def record(folder: Path, name: str, *, rounds: int = 120, synchronous: str = "FULL") -> list[Operation]:
    """Return the log of a workload."""
    recorder = Recorder(name)

    def connect(path: Path) -> Adapted:
        adapted = recorder.connect(path)
        if synchronous != "FULL":
            execute = adapted.execute

            def weaker(sql: str, parameters: object = (), /) -> object:
                return execute(sql.replace("synchronous=FULL", f"synchronous={synchronous}"), parameters)

            adapted.execute = weaker  # type: ignore[method-assign,assignment]
        return adapted

    asyncio.run(work_through(folder, recorder, connect, rounds))
    recorder.unregister()
    return recorder.log


def judge(folder: Path, disk: Disk, files: dict[str, bytes]) -> str | None:
    """Return what is wrong with a state after a power cut, or None: nothing lost, nothing unreadable."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if not files.get("state.db"):
        return "the file is missing" if disk.accepted else None
    connection = sqlite3.connect(folder / "state.db", isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=OFF")  # nobody cuts the power of the judge
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            return "the tables are missing" if disk.accepted else None
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            return "damaged"
        return judge_rows(connection, [int(seq) for seq in disk.accepted])
    except sqlite3.DatabaseError as error:
        return f"unreadable: {error}"
    finally:
        connection.close()


def judge_rows(connection: sqlite3.Connection, accepted: list[int]) -> str | None:
    """Return what is wrong with the rows and numbers that were found, or None."""
    rows = [read(values) for values in connection.execute(f"SELECT {COLUMNS} FROM outbox")]  # noqa: S608
    last_seq, floor_seq = connection.execute("SELECT last_seq, floor_seq FROM numbers").fetchone()
    gaps = connection.execute("SELECT from_seq, to_seq FROM gaps").fetchall()
    if None in rows:
        return "a row is not what was written"
    found = {row.seq: row.payload for row in rows if row is not None and row.seq is not None}
    if any(not payload.startswith(f"{seq}:".encode()) for seq, payload in found.items()):
        return "a payload belongs to another message"
    gone = {seq for from_seq, to_seq in gaps for seq in range(from_seq, to_seq + 1)} | set(range(1, floor_seq))
    lost = [seq for seq in accepted if seq not in found and seq not in gone]
    if lost:
        return f"lost {lost[:5]}"
    if last_seq < max(accepted, default=0):
        return "numbers would be given twice"
    return "a hole in the numbers" if set(range(1, last_seq + 1)) - gone - found.keys() else None


def verdicts(tmp_path: Path, log: list[Operation], count: int, seed: int) -> list[str]:
    """Return what is wrong in so many power cuts."""
    wrong = []
    folder = tmp_path / "cut"
    folder.mkdir()
    for disk, files in power_cuts(log, count, random.Random(seed)):
        problem = judge(folder, disk, files)
        for path in folder.iterdir():
            path.unlink()
        if problem is not None:
            wrong.append(problem)
    return wrong


def test_a_few_power_cuts_lose_nothing_accepted(tmp_path: Path) -> None:
    """What was accepted is there, in order and as written, whatever of the unsynced writes the disk kept."""
    log = record(tmp_path / "state", "quick")
    assert sum(operation.kind == "accepted" for operation in log) > 200
    assert verdicts(tmp_path, log, 500, seed=1) == []


def test_the_judge_finds_the_losses_of_a_weaker_synchronisation(tmp_path: Path) -> None:
    """The test can fail: with synchronous=NORMAL the same workload loses what it had accepted."""
    log = record(tmp_path / "state", "weak", rounds=60, synchronous="NORMAL")
    wrong = verdicts(tmp_path, log, 200, seed=2)
    assert len(wrong) > 20
    assert all(problem.startswith(("lost", "the file", "the tables")) for problem in wrong)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_twenty_thousand_power_cuts_lose_nothing_accepted(tmp_path: Path) -> None:
    """20,000 states: none lost, none unreadable, no number given twice."""
    started_s = time.monotonic()
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        log = record(folder / "state", f"long-{seed}", rounds=100 + 20 * seed)
        assert verdicts(folder, log, 2000, seed=100 + seed) == []
    print(f"20,000 power cuts in {time.monotonic() - started_s:.0f} s")
