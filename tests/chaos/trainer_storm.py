"""Gateways that upload sets and follow jobs, by the gateway's own client, while their trainer is killed."""

import asyncio
import datetime as dt
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
from chaos.trainer_service import Life
from fakes.adaptation import faces
from fakes.processes import wait_until

from gateway.adaptation.collect import Choice, CleanFace
from gateway.adaptation.exchange import Channel, Exchange, Offer
from gateway.adaptation.upload import job, pack, upload
from gateway.contract.bundle import open_bundle
from gateway.contract.exchange import CleanSet, JobView
from gateway.daemon.sending import client_of
from gateway.errors import ExchangeError, ExchangeReason
from gateway.settings import AdaptationSettings

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
AGAIN_S = 0.05
FACES, SIDE_PX = 24, 48
MARK = bytes(range(101, 125))
"""A row that every face of every set has, so that one look for it is a look for all of them."""

_BEGIN_AGAIN = ("parts are still to be put", "describe it again", "describe the clean set first")
"""What a trainer that erased an unfinished set after a day says of it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A set that a gateway brought, and how its job ended."""

    clean_set: CleanSet
    view: JobView


def drawn_set(gateway: str, environment: str, seed: int) -> tuple[CleanSet, dict[str, bytes]]:
    """Return a set of three parts, packed as a gateway packs it."""
    pictures = faces(FACES, seed=seed, side_px=SIDE_PX)
    pictures[:, SIDE_PX // 2, : len(MARK) // 3] = np.frombuffer(MARK, np.uint8).reshape(-1, 3)
    kept = [CleanFace("gate", 1_800_000_000.0 + 60 * number, 0.5, pictures[number]) for number in range(FACES)]
    choice = Choice(tuple(range(12)), tuple(range(12, 18)), operator=tuple(range(18, FACES)))
    clean_set, contents = pack(kept, choice, gateway=gateway, environment=environment)
    return clean_set, dict(contents)


class Gateway:
    """Brings one set after the other and follows each job to its end; never gives up."""

    def __init__(self, name: str, environment: str, settings: AdaptationSettings, *, seed: int) -> None:
        self._name, self._environment, self._settings, self._seed = name, environment, settings, seed
        self.ended: list[Ended] = []
        self.troubles: Counter[str] = Counter()

    async def run(self, enough: asyncio.Event) -> None:
        """Go on until there is enough; what was begun is ended."""
        while not enough.is_set():
            self._seed += 1
            clean_set, contents = await asyncio.to_thread(drawn_set, self._name, self._environment, self._seed)
            await self.bring(clean_set, contents)

    async def bring(self, clean_set: CleanSet, contents: dict[str, bytes]) -> None:
        """Bring one set and follow its job."""
        view = await self._brought(clean_set, contents)
        while not view.state.is_final:
            await asyncio.sleep(AGAIN_S)
            try:
                async with client_of(self._settings) as client:
                    view = await job(client, view.job)
            except ExchangeError as error:
                if error.reason is not ExchangeReason.UNREACHABLE:
                    raise  # a job that was told of is not known any more
                self.troubles["away while following"] += 1
        self.ended.append(Ended(clean_set, view))

    async def _brought(self, clean_set: CleanSet, contents: dict[str, bytes]) -> JobView:
        while True:
            try:
                async with client_of(self._settings) as client:
                    return await upload(client, clean_set, contents)
            except ExchangeError as error:
                text = str(error)
                begin_again = next((words for words in _BEGIN_AGAIN if words in text), None)
                if error.reason is not ExchangeReason.UNREACHABLE and begin_again is None:
                    raise
                self.troubles[begin_again or "away while uploading"] += 1
            await asyncio.sleep(AGAIN_S)


class Reader:
    """A gateway's end of the signed channel, which remembers what it believed: going back is an error, too."""

    def __init__(self, repository: Path, folder: Path, now: Callable[[], dt.datetime]) -> None:
        root = (repository / "metadata/1.root.json").read_bytes()
        folder.mkdir()
        self._exchange = Exchange(Channel(str(repository), root), folder, now=now)
        self.seen: dict[str, dict[int, str]] = {}
        self.looks = 0

    def look(self, environment: str) -> None:
        """Believe what the repository names now, fetch it if it is new, and open it.

        Raises:
            ExchangeError: It cannot be believed, or is not whole.
            BundleError: It is no bundle that may run.
        """
        offer = self._exchange.newest(environment)
        known = self.seen.setdefault(environment, {})
        if offer is not None and known.setdefault(offer.version, offer.sha256) != offer.sha256:
            raise AssertionError(f"version {offer.version} of {environment} has two digests")
        if offer is not None:
            self._open(offer)
        self.looks += 1

    def _open(self, offer: Offer) -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            for file, content in self._exchange.fetch(offer).items():
                (folder / file).write_bytes(content)
            assert open_bundle(folder, expected_sha256=offer.sha256).manifest.version == offer.version


@dataclass
class Deaths:
    """How services died: what they were at, by their own last word."""

    at: Counter[str] = field(default_factory=Counter)

    def note(self, log: Path) -> None:
        """Count one by what it logged."""
        said = log.read_text("utf-8")
        assert "Traceback" not in said, said[-4000:]
        events = [json.loads(line)["event"] for line in said.splitlines() if line.endswith("}")]
        self.at[events[-1] if events else "starting"] += 1


class Services:
    """Starts services of one folder, one after the other, and kills them."""

    def __init__(self, folder: Path, forker: asyncio.subprocess.Process, dice: random.Random) -> None:
        self._folder, self._forker, self._dice = folder, forker, dice
        self._lives = 0
        self.ahead_s = 0.0
        self.deaths = Deaths()

    @classmethod
    @asynccontextmanager
    async def forked(cls, folder: Path, dice: random.Random) -> AsyncIterator[Self]:
        """Start the process that they are forked from."""
        (folder / "logs").mkdir()
        forker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chaos.trainer_service"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            cwd=ROOT,
        )
        try:
            services = cls(folder, forker, dice)
            assert await services._answer() == "ready"
            yield services
        finally:
            if forker.returncode is None:
                forker.kill()  # its child dies with it
            await forker.wait()

    def now(self) -> dt.datetime:
        """Return the time by the clock of the service that lives, or lived last."""
        return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.ahead_s)

    async def start(self, *, later_s: float = 0.0) -> "Service":
        """Start one whose clock is so much later than that of the one before."""
        self._lives += 1
        self.ahead_s += later_s
        log = self._folder / "logs" / f"{self._lives:04}"
        life = Life(str(self._folder), str(log), self._dice.getrandbits(32), self.ahead_s)
        assert self._forker.stdin is not None
        self._forker.stdin.write(json.dumps(asdict(life)).encode() + b"\n")
        return Service(int(await self._answer()), log, self._answer)

    async def _answer(self) -> str:
        assert self._forker.stdout is not None
        async with asyncio.timeout(START_S):
            return (await self._forker.stdout.readline()).decode().strip()


@dataclass(frozen=True, slots=True)
class Service:
    """One that lives."""

    pid: int
    log: Path
    _ended: Callable[[], Awaitable[str]]

    async def end(self, how: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        os.kill(self.pid, how)
        return int(await self._ended())


async def until_said(log: Path, event: str, *, within_s: float) -> None:
    """Wait until the service that logs here says this.

    Raises:
        TimeoutError: It did not.
    """
    await wait_until(lambda: log.exists() and event in log.read_text("utf-8"), within_s=within_s)
