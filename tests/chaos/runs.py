"""One run of kills: broker, oracle and killer put together."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chaos.faults import DiskFault
from chaos.killer import Order
from chaos.oracle import Oracle, Verdict
from chaos.proxy import Proxy, Script
from fakes.brokers import Mosquitto

ROOT = Path(__file__).resolve().parents[2]
SETTLE_S = 60.0
FRESH = 50  # alerts that must still flow after the last kill
PROXY_S = 6.0  # how long a gateway lives behind a bad broker
_DEATH_S = 60.0


@dataclass
class Storm:
    """What was done to the gateways and the broker."""

    deaths: Counter[str] = field(default_factory=Counter)
    after_s: list[float] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    broker_kills: int = 0
    broker_stops: int = 0

    def windows(self) -> list[int]:
        """Return how many random kills fell into each of six windows of 20 ms after the first accepted alert."""
        counts = [0] * 6
        for after_s in self.after_s:
            counts[min(int(after_s / 0.02), 5)] += 1
        return counts

    def as_json(self) -> dict[str, object]:
        """Return it for `reliability.json`."""
        ready_ms = sorted(1000.0 * ready_s for ready_s in self.ready_s)
        return {
            "deaths": dict(self.deaths),
            "broker_kills": self.broker_kills,
            "broker_stops": self.broker_stops,
            "kills_by_20_ms": self.windows(),
            "first_alert_accepted_after_ms_p50": ready_ms[len(ready_ms) // 2] if ready_ms else None,
        }


@dataclass(frozen=True, slots=True)
class Faults:
    """What is done: kills of the gateway, after every so many of them one of the broker, and what else goes wrong.

    With `most_waiting` no new alert comes while so many wait. With a script the gateways reach the broker through a
    proxy, which turns honest when the alerts end.
    """

    kills: int
    broker_kills: int = 0
    broker_stops: int = 0
    script: Script | None = None
    disk: DiskFault | None = None
    most_waiting: int | None = None

    def broker_fault_at(self, death: int) -> signal.Signals | None:
        """Return what hits the broker behind this death of a gateway."""
        for how, count in ((signal.SIGKILL, self.broker_kills), (signal.SIGSTOP, self.broker_stops)):
            if count and death % max(self.kills // count, 1) == 0:
                return how
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done and what it led to."""

    done: Storm
    verdict: Verdict
    proxy: Counter[str]

    def as_json(self) -> dict[str, object]:
        """Return it for `reliability.json`."""
        return {**self.verdict.as_json(), **self.done.as_json(), "proxy": dict(self.proxy)}


async def storm(broker: Mosquitto, folder: Path, faults: Faults, *, seed: int) -> Outcome:
    """Let all of it happen while alerts flow; then let all come to rest, and judge."""
    readable, writable = os.pipe()
    done = Storm()
    proxy = Proxy(broker.port, faults.script or Script(), seed)
    try:
        async with proxy.running(), Oracle(broker.port).listening(readable) as oracle:
            port = broker.port if faults.script is None else proxy.port
            killer = await _start(
                Order(
                    str(folder), port, seed, faults.kills, writable, disk=faults.disk, most_waiting=faults.most_waiting
                )
            )
            try:
                await _follow(killer, broker, done, faults, oracle, rng=random.Random(seed))
                await oracle.fresh(FRESH, within_s=SETTLE_S)
                if faults.script is not None:
                    await asyncio.sleep(PROXY_S)
                    proxy.honest = True
                await _say(killer, b"enough\n")
                await oracle.settled(within_s=SETTLE_S)
            finally:
                await _end(killer)
            return Outcome(done, oracle.judge(), proxy.done)
    finally:
        os.close(readable)
        os.close(writable)


async def _start(order: Order) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos.killer", json.dumps(asdict(order))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[order.reports],
        env=environment,
        cwd=ROOT,
    )


async def _follow(
    killer: asyncio.subprocess.Process,
    broker: Mosquitto,
    done: Storm,
    faults: Faults,
    oracle: Oracle,
    *,
    rng: random.Random,
) -> None:
    """Read the deaths, and hit the broker after every so many of them."""
    assert killer.stdout is not None
    while True:
        async with asyncio.timeout(_DEATH_S):
            line = await killer.stdout.readline()
        assert line, "the killer ended early"
        death = json.loads(line)
        if "storm" in death:
            return
        done.deaths[death["how"]] += 1
        if death["how"] == "random":
            done.after_s.append(death["after_s"])
            done.ready_s.append(death["ready_s"])
        match faults.broker_fault_at(death["number"]):
            case signal.SIGKILL:
                async with asyncio.timeout(_DEATH_S):
                    while oracle.ledger.connections < 1 + done.broker_kills:  # noqa: ASYNC110 (a ledger has no events)
                        await asyncio.sleep(0.02)
                broker.end(signal.SIGKILL)
                await asyncio.sleep(rng.uniform(0.0, 0.3))
                await asyncio.to_thread(broker.start)
                done.broker_kills += 1
            case signal.SIGSTOP:
                os.kill(broker.pid, signal.SIGSTOP)
                await asyncio.sleep(rng.uniform(0.0, 2.0))
                os.kill(broker.pid, signal.SIGCONT)
                done.broker_stops += 1


async def _say(killer: asyncio.subprocess.Process, words: bytes) -> None:
    assert killer.stdin is not None
    killer.stdin.write(words)
    await killer.stdin.drain()


async def _end(killer: asyncio.subprocess.Process) -> None:
    """Let it end its last gateway and itself; kill it where it does not."""
    assert killer.stdin is not None
    killer.stdin.close()
    try:
        async with asyncio.timeout(2 * _DEATH_S):
            await killer.wait()
    except TimeoutError:
        killer.kill()
        await killer.wait()
