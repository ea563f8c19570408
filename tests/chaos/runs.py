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

from chaos.killer import Order
from chaos.oracle import Oracle, Verdict
from chaos.proxy import Proxy
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
            "kills_by_20_ms": self.windows(),
            "first_alert_accepted_after_ms_p50": ready_ms[len(ready_ms) // 2] if ready_ms else None,
        }


async def storm(
    broker: Mosquitto, folder: Path, *, kills: int, broker_kills: int, seed: int, proxy: Proxy | None = None
) -> tuple[Storm, Verdict]:
    """Kill gateways and the broker while alerts flow; then let all come to rest, and judge.

    With a proxy the gateways reach the broker through it; it turns honest when the alerts end.
    """
    readable, writable = os.pipe()
    done = Storm()
    try:
        async with Oracle(broker.port).listening(readable) as oracle:
            order = Order(str(folder), proxy.port if proxy else broker.port, seed, kills, writable)
            killer = await _start(order)
            try:
                await _follow(killer, broker, done, every=kills // broker_kills if broker_kills else 0, seed=seed)
                await oracle.fresh(FRESH, within_s=SETTLE_S)
                if proxy:
                    await asyncio.sleep(PROXY_S)
                    proxy.honest = True
                await _say(killer, b"enough\n")
                await oracle.settled(within_s=SETTLE_S)
            finally:
                await _end(killer)
            return done, oracle.judge()
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


async def _follow(killer: asyncio.subprocess.Process, broker: Mosquitto, done: Storm, *, every: int, seed: int) -> None:
    """Read the deaths, and kill the broker after every so many of them."""
    rng = random.Random(seed)
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
        if every and death["number"] % every == 0:
            broker.end(signal.SIGKILL)
            await asyncio.sleep(rng.uniform(0.0, 0.3))
            await asyncio.to_thread(broker.start)
            done.broker_kills += 1


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
