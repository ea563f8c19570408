"""Starts gateways by forking and kills them; one thread, everything imported before the first fork.

Run as a program: `killer ORDER` with the order as JSON; it forks and kills until it has killed often enough, says so,
lets a last gateway live as long as it is told on stdin, and ends. Every death is a JSON line on stdout.
"""

import ctypes
import itertools
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos.faults import DiskFault
from chaos.gateway_side import ACCEPTED, DELIVERED, Life, live

from gateway.storage.failpoints import FAIL_POINTS

START_S = 30.0
SHORTEST_S, LONGEST_S = 0.0005, 0.120
_PR_SET_PDEATHSIG = 1
_EARLY_SHARE = 0.3  # of the random kills fall while the first alerts are accepted, the others behind the first delivery
_WARM_UP = 60  # kills before the outbox is so full that something has to go for each new alert
_PATIENCE_S = 5.0  # for a fail-point that needs something to happen first

POINTS = frozenset(FAIL_POINTS) - {"storage.setting_aside"}
"""Where gateways are killed; a salvage has kills of its own, for here no file is damaged."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: so many kills, of which a share at named places instead of random times."""

    folder: str
    port: int
    seed: int
    kills: int
    reports: int
    fail_point_share: float = 0.25
    disk: DiskFault | None = None
    most_waiting: int | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """How one gateway ended: at a fail-point, or killed so many seconds after its first accepted alert."""

    number: int
    how: str
    after_s: float
    ready_s: float


class Killer:
    """The parent of all gateways of one run."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._rng = random.Random(order.seed)
        self._born = 0
        self._log = Path(f"{order.folder}.log")

    def run(self) -> None:
        """Kill as often as ordered, then let one live."""
        points = itertools.cycle(sorted(POINTS))
        for number in range(1, self._order.kills + 1):
            at_point = number > _WARM_UP and self._rng.random() < self._order.fail_point_share
            death = self._one_at(next(points), number) if at_point else self._one(number)
            print(json.dumps(asdict(death)), flush=True)
        child, progress = self._fork(None)
        print(json.dumps({"storm": "over"}), flush=True)
        for _ in range(2):  # a line for the end of the alerts, the end of the file for that of the gateway
            sys.stdin.readline()
            os.kill(child, signal.SIGTERM)
        if not self._reap(child, START_S):
            os.kill(child, signal.SIGKILL)
            self._reap(child, START_S)
        os.close(progress)

    def _fork(self, fail_point: str | None) -> tuple[int, int]:
        """Return the child and the pipe on which it shows progress."""
        self._born += 1
        order = self._order
        life = Life(
            Path(order.folder), order.port, self._rng.getrandbits(32), fail_point, order.disk, order.most_waiting
        )
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                die_with_parent()
                os.close(readable)
                self._log_to_file()
                live(life, reports=self._order.reports, progress=writable)
                code = 0
            except BaseException:  # noqa: BLE001 (a forked child must not return into its parent's code)
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(writable)
        return child, readable

    def _log_to_file(self) -> None:
        """Send what this process writes to a file beside its state: stdout is the killer's."""
        with self._log.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)

    def _one(self, number: int) -> Death:
        """Let one live until it has accepted, or delivered, something, and a random time longer."""
        began_s = time.monotonic()
        child, progress = self._fork(None)
        wanted = ACCEPTED if self._rng.random() < _EARLY_SHARE else DELIVERED
        _wait_for(wanted, progress, START_S)
        ready_s = time.monotonic() - began_s
        after_s = self._rng.uniform(SHORTEST_S, LONGEST_S)
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        self._reap(child, START_S)
        os.close(progress)
        return Death(number, "random", after_s, ready_s)

    def _one_at(self, point: str, number: int) -> Death:
        """Let one run into a fail-point; kill it when it does not come there."""
        began_s = time.monotonic()
        nth = 1 if point.startswith("storage.") else self._rng.randrange(1, 20)
        child, progress = self._fork(f"{point}:{nth}")
        reached = self._reap(child, _PATIENCE_S)
        if not reached:
            os.kill(child, signal.SIGKILL)
            self._reap(child, START_S)
        os.close(progress)
        return Death(number, point if reached else f"late for {point}", time.monotonic() - began_s, 0.0)

    def _reap(self, child: int, within_s: float) -> bool:
        """Wait for a child's end and return whether it came; a child that failed by itself ends the run."""
        descriptor = os.pidfd_open(child)
        try:
            if not select.select([descriptor], [], [], within_s)[0]:
                return False
        finally:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(f"a gateway ended by itself:\n{self._log.read_text()[-4000:]}")
        return True


def _wait_for(wanted: bytes, progress: int, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while select.select([progress], [], [], max(deadline_s - time.monotonic(), 0.0))[0]:
        shown = os.read(progress, 4096)
        if wanted in shown:
            return
        if not shown:
            break
    raise RuntimeError("a gateway made no progress")


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies: a test that is killed leaves nothing behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent()
    Killer(Order(**json.loads(sys.argv[1]))).run()
