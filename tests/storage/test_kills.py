"""The outbox process killed at any moment: what it said to be accepted is there, and no number is given twice."""

import contextlib
import os
import random
import select
import signal
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chaos import outbox_driver

from gateway.storage.failpoints import FAIL_POINTS
from gateway.storage.rows import COLUMNS, read


@dataclass
class Oracle:
    """What is known of one folder from outside: which number was said with which content."""

    folder: Path
    said: dict[int, int] = field(default_factory=dict)
    contents: int = 0
    kills: int = 0

    def live(self, lifetime_s: float, fail_point: str | None = None) -> bool:
        """Start the process, kill it after a while; return whether it was killed at the fail-point before."""
        mine, its = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.close(mine)
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2)
                outbox_driver.run(self.folder, its, self.contents, fail_point)
            os._exit(1)
        os.close(its)
        was_killed = _wait(child, lifetime_s)
        self.kills += 1
        with os.fdopen(mine, "rb") as words:
            for line in words.read().splitlines():
                _, seq, content = line.split()
                assert int(seq) not in self.said, f"number {seq} was given twice"
                self.said[int(seq)] = int(content)
                self.contents = max(self.contents, int(content) + 1)
        return was_killed

    def live_until(self, more: int) -> None:
        """Live, longer and longer, until so many more numbers were said."""
        wanted, lifetime_s = len(self.said) + more, 0.2
        while len(self.said) < wanted:
            self.live(lifetime_s)
            lifetime_s *= 1.5

    def judge(self) -> None:
        """Everything that was said is stored as it was said, or told as a gap, or was pruned after its delivery."""
        connection = sqlite3.connect(self.folder / "state.db")
        rows = [read(values) for values in connection.execute(f"SELECT {COLUMNS} FROM outbox")]  # noqa: S608
        gaps = connection.execute("SELECT from_seq, to_seq, count FROM gaps").fetchall()
        last_seq, floor_seq, depth = connection.execute("SELECT last_seq, floor_seq, depth FROM numbers").fetchone()
        waiting = connection.execute("SELECT count(*) FROM waiting").fetchone()[0]
        connection.close()
        assert None not in rows
        found = {row.seq: row.payload for row in rows if row is not None and row.seq is not None}
        gone = {seq for from_seq, to_seq, _ in gaps for seq in range(from_seq, to_seq + 1)}
        assert all(to_seq - from_seq + 1 >= count for from_seq, to_seq, count in gaps)
        lost = [seq for seq in self.said if seq not in found and seq not in gone and seq >= floor_seq]
        assert lost == []
        assert all(found[seq].startswith(f"{self.said[seq]}:".encode()) for seq in self.said.keys() & found.keys())
        assert last_seq >= max(self.said, default=0)
        assert set(range(floor_seq, last_seq + 1)) <= found.keys() | gone
        assert depth == waiting


def _wait(child: int, lifetime_s: float) -> bool:
    """Wait for the child's end, which comes from us after its lifetime; return whether a signal was there before."""
    descriptor = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([descriptor], [], [], lifetime_s)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        return bool(ended) and os.WIFSIGNALED(status)
    finally:
        os.close(descriptor)


def storm(folder: Path, kills: int, seed: int) -> Oracle:
    """Kill at uniformly drawn moments and judge now and then."""
    oracle, longest_s = Oracle(folder), 0.060
    chance = random.Random(seed)
    while not oracle.said:  # on a slow machine a process takes longer to its first word, and lives longer
        longest_s *= 2
        oracle.live(longest_s)
    for number in range(kills):
        oracle.live(chance.uniform(0.0005, longest_s))
        if number % 20 == 19:
            oracle.judge()
    if len(oracle.said) <= kills:  # the machine became so slow that most died before their first word
        oracle.live_until(kills + 1 - len(oracle.said))
    oracle.judge()
    return oracle


ELSEWHERE = {"storage.after_checkpoint", "storage.setting_aside"}  # a failing disk, a damaged file


@pytest.mark.parametrize("name", sorted({*FAIL_POINTS} - ELSEWHERE))
def test_nothing_is_lost_when_killed_at_a_fail_point(name: str, tmp_path: Path) -> None:
    """Every named place is reached, and a process that dies there has lost nothing that it said."""
    oracle = Oracle(tmp_path / "state")
    for nth in (1, 7):
        oracle.live_until(1)
        once = name in {"storage.before_open", "storage.after_open"}
        assert oracle.live(20.0, f"{name}:{1 if once else nth}")
        oracle.judge()


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_a_salvage_killed_at_any_step_is_gone_on_with(nth: int, tmp_path: Path) -> None:
    """Nothing but the damaged row is lost, its loss is told, and the damaged file lies beside the new one."""
    oracle = Oracle(tmp_path / "state")
    oracle.live_until(10)
    with sqlite3.connect(oracle.folder / "state.db") as connection:
        connection.execute("UPDATE outbox SET topic = 'x' WHERE row = (SELECT max(row) FROM outbox WHERE seq NOTNULL)")
    connection.close()
    assert oracle.live(20.0, f"storage.setting_aside:{nth}")
    oracle.live_until(1)
    oracle.judge()
    assert list(oracle.folder.glob("state.db.corrupt-*Z"))
    assert not [*oracle.folder.glob("*.salvag*")]


def test_nothing_is_lost_when_killed_at_any_moment(tmp_path: Path) -> None:
    """A few kills at drawn moments: nothing lost, no number twice."""
    oracle = storm(tmp_path / "state", 60, seed=1)
    assert len(oracle.said) > 60


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_nothing_is_lost_in_two_thousand_kills(tmp_path: Path) -> None:
    """2,000 kills at moments drawn from 0.5 to 120 ms: nothing lost, no number given twice."""
    started_s = time.monotonic()
    said = sum(len(storm(tmp_path / f"{seed}", 200, seed=seed).said) for seed in range(2, 12))
    assert said > 2000
    print(f"2,000 kills, {said} accepted, 0 lost, {time.monotonic() - started_s:.0f} s")
