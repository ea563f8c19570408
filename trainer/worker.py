"""What carries jobs through: lease, run, judge, publish, finish; each step may be done again after a death.

The bundle of a job lies finished in its folder before it is published, and publishing the same bundle again changes
nothing; so a worker that dies anywhere leaves either a job to be done or one whose end only has to be written down.
"""

import asyncio
import datetime as dt
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import obstore.exceptions
import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.contract.exchange import JobState
from gateway.contract.supervision import Pulse
from trainer.executor import Executor, JobFailed
from trainer.export import write_whole
from trainer.intake import Intake
from trainer.job_run import Order, Result, read_result
from trainer.jobs import Jobs, Leased, Outcome
from trainer.service_config import ServiceConfig
from trainer.vault import KeyHandle, ServiceKeys, VaultError

IDLE_S = 5.0
"""A job that another worker left is found after so long; one that comes in here is at once."""

AGAIN_S = 10.0
REFRESH_S = 3600.0
ENDING_S = 5.0

_log = structlog.get_logger()


class LeaseLost(Exception):
    """The job is another's now, or an operator cancelled it."""


class PublishLater(Exception):
    """The repository is in other hands; what is to be published stays as it is."""


class PublishError(Exception):
    """The repository does not take the bundle; the job is done anew."""


_AWAY = (SQLAlchemyError, obstore.exceptions.BaseError, OSError, PublishLater)
"""What a database, a store, a disk or a repository that cannot be used raises: it is waited for."""


class Publisher(Protocol):
    """The repository of signed bundles; calls block, and raise `PublishLater` where another process holds it."""

    def next_version(self, environment: str) -> int:
        """Return the version that the next bundle must have."""

    def publish(self, bundle: Path, *, environment: str, now: dt.datetime) -> str:
        """Sign and publish a bundle, once however often it is called, and return its digest.

        Raises:
            PublishError: The bundle is not taken.
        """

    def refresh(self, now: dt.datetime) -> None:
        """Sign anew what is about to expire."""

    def ending(self, now: dt.datetime) -> str | None:
        """Return in words which signatures will soon have to be renewed by hand; None where none has."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker works with."""

    jobs: Jobs
    intake: Intake
    executor: Executor
    publisher: Publisher
    keys: ServiceKeys


class Worker:
    """Does one job after the other, for ever."""

    def __init__(self, parts: Parts, config: ServiceConfig, *, now: Callable[[], dt.datetime]) -> None:
        self._parts, self._config, self._now = parts, config, now
        self._owner = uuid.uuid4().hex
        self._poked = asyncio.Event()
        self._pulses: dict[str, Pulse] = {}
        self._warned: dt.date | None = None

    @property
    def pulses(self) -> dict[str, Pulse]:
        """The steps that are soon done with where all is well; a job's training and its transfers are none of them."""
        return dict(self._pulses)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        done = self._pulses.get(name, Pulse(0, is_busy=False)).done
        self._pulses[name] = Pulse(done, is_busy=True)
        try:
            yield
        finally:
            self._pulses[name] = Pulse(done + 1, is_busy=False)

    def poke(self) -> None:
        """Look for a job now."""
        self._poked.set()

    async def run(self) -> None:
        """Work until cancelled; a database or store that is away is waited for."""
        while True:
            self._poked.clear()
            try:
                if await self.work_once():
                    continue
            except _AWAY as error:
                _log.warning("trainer_waits", error=type(error).__name__)
            try:
                await asyncio.wait_for(self._poked.wait(), IDLE_S)
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        """Keep the repository's signatures fresh, and no face longer than it is needed, for ever."""
        while True:
            await self.renew_signatures()
            await self._try_to_sweep()
            await asyncio.sleep(REFRESH_S)

    async def end(self) -> None:
        """Erase once more, when nothing else runs: a job may have ended at the moment at which the service was told to.

        What cannot be erased within `ENDING_S` is erased by the next start.
        """
        try:
            async with asyncio.timeout(ENDING_S):
                await self._try_to_sweep()
        except TimeoutError:
            _log.warning("faces_not_erased", error=f"took longer than {ENDING_S:.0f} s")

    async def _try_to_sweep(self) -> None:
        try:
            await self.sweep()
        except _AWAY as error:
            _log.warning("faces_not_erased", error=type(error).__name__)

    async def renew_signatures(self) -> None:
        """Sign anew what is about to expire, and say, once a day, what only the offline keys can renew."""
        now = self._now()
        try:
            with self._step("refresh"):
                await asyncio.to_thread(self._parts.publisher.refresh, now)
                ending = await asyncio.to_thread(self._parts.publisher.ending, now)
        except (PublishError, PublishLater) as error:
            _log.warning("repository_not_refreshed", reason=str(error))
            return
        if ending is not None and now.date() != self._warned:
            self._warned = now.date()
            _log.warning("signatures_end", reason=ending)

    async def sweep(self) -> None:
        """Erase the faces of jobs that were cancelled or lost, and of sets that nobody completed within a day."""
        now_s = self._now().timestamp()
        for sha256 in await self._parts.intake.held():
            if not await self._parts.jobs.is_needed(sha256, now_s=now_s):
                await self._erase(sha256)
                _log.info("faces_erased", clean_set=sha256[:12])
        for folder in await asyncio.to_thread(lambda: list((self._config.folder / "work").glob("*"))):
            view = await self._parts.jobs.get(folder.name)
            if view is None or view.state.is_final:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def work_once(self) -> bool:
        """Carry one job as far as it goes; false where there is none.

        Raises:
            SQLAlchemyError, BaseError, OSError, PublishLater: The database, the store, the disk or the repository is
                away; the job is leased again soon, and has not used up an attempt.
        """
        jobs, lease_s = self._parts.jobs, self._config.jobs.lease_s
        with self._step("lease"):
            leased = await jobs.lease(self._owner, now_s=self._now().timestamp(), for_s=lease_s)
        if leased is None:
            return False
        _log.info("job_started", job=leased.job, environment=leased.clean_set.environment, attempt=leased.attempts)
        outcome, away = None, None
        try:
            async with asyncio.TaskGroup() as group:
                holding = group.create_task(self._hold(leased), name=f"hold:{leased.job}")
                outcome = await self._carry(leased)
                holding.cancel()
        except* LeaseLost:
            _log.warning("job_lost", job=leased.job)
        except* _AWAY as failures:
            away = failures
        if away is not None:
            # Where the database itself is away, the lease runs out instead.
            with suppress(SQLAlchemyError, OSError):
                until_s = self._now().timestamp() + AGAIN_S
                await jobs.defer(leased.job, self._owner, until_s=until_s)
            raise away.exceptions[0]
        if outcome is not None:
            _log.info("job_ended", job=leased.job, state=outcome.state.value, reason=outcome.reason)
            await self._clean_up(leased)
        return True

    async def _hold(self, leased: Leased) -> None:
        lease_s = self._config.jobs.lease_s
        while True:
            await asyncio.sleep(lease_s / 3)
            await self._renew(leased)

    async def _renew(self, leased: Leased) -> None:
        now_s, lease_s = self._now().timestamp(), self._config.jobs.lease_s
        if not await self._parts.jobs.renew(leased.job, self._owner, now_s=now_s, for_s=lease_s):
            raise LeaseLost

    async def _carry(self, leased: Leased) -> Outcome | None:
        """Return how the job ended, or nothing where it is to be tried again."""
        folder = self._folder(leased)
        try:
            result = await self._result(leased, folder)
            outcome = await self._judged(leased, folder, result)
        except VaultError as error:
            outcome = Outcome(JobState.REFUSED, str(error))
        except (JobFailed, PublishError, TimeoutError) as error:
            reason = str(error) or f"took longer than {self._config.jobs.timeout_s:.0f} s"
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if leased.attempts < self._config.jobs.attempts:
                _log.warning("job_failed", job=leased.job, attempt=leased.attempts, reason=reason)
                until_s = self._now().timestamp() + AGAIN_S * leased.attempts
                await self._parts.jobs.release(leased.job, self._owner, until_s=until_s)
                return None
            outcome = Outcome(JobState.REFUSED, f"failed {leased.attempts} times, last: {reason}")
        with self._step("finish"):
            is_finished = await self._parts.jobs.finish(leased.job, self._owner, outcome)
        if not is_finished:
            raise LeaseLost
        return outcome

    async def _result(self, leased: Leased, folder: Path) -> Result:
        result = await asyncio.to_thread(read_result, folder)
        if result is not None:
            return result
        handle = KeyHandle(
            clean_set=leased.clean_set.sha256, sealed_key=leased.sealed_key, faces_key=self._parts.keys.file
        )
        self._parts.keys.open(handle.sealed_key, handle.clean_set)  # or the job need not begin
        with self._step("prepare"):
            await asyncio.to_thread(self._prepare, leased, folder)
        try:
            await self._parts.intake.copy_to(leased.clean_set, folder / "parts")
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            raise JobFailed("a part of the clean set is not in the store any more") from None
        async with asyncio.timeout(self._config.jobs.timeout_s):
            await self._parts.executor.run(folder, handle)
        result = await asyncio.to_thread(read_result, folder)
        if result is None:
            raise JobFailed("ended without a result")
        return result

    def _prepare(self, leased: Leased, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "parts").mkdir(parents=True)
        config = self._config
        order = Order(
            clean_set=leased.clean_set,
            base=config.base_of(leased.clean_set.environment),
            reference=str(config.reference) if config.reference else None,
            version=self._parts.publisher.next_version(leased.clean_set.environment),
            created=self._now().date().isoformat(),
            faces=config.jobs.faces,
            epochs=config.jobs.epochs,
            threads=config.jobs.threads,
            regime=config.jobs.regime,
        )
        write_whole(folder / "order.json", order.model_dump_json().encode())

    async def _judged(self, leased: Leased, folder: Path, result: Result) -> Outcome:
        card = result.scorecard
        if card is None:
            return Outcome(JobState.REFUSED, result.refusal)
        if not card.passed:
            reason = "; ".join(gate.words for gate in card.gates if not gate.passed)
            return Outcome(JobState.REFUSED, reason, scorecard=card)
        await self._renew(leased)
        order = Order.model_validate_json(await asyncio.to_thread((folder / "order.json").read_bytes))
        environment, now = leased.clean_set.environment, self._now()
        with self._step("publish"):
            sha256 = await asyncio.to_thread(
                self._parts.publisher.publish, folder / "bundle", environment=environment, now=now
            )
        return Outcome(JobState.PUBLISHED, None, order.version, sha256, card)

    async def _clean_up(self, leased: Leased) -> None:
        """Erase the faces: they are kept no longer than the job."""
        await asyncio.to_thread(shutil.rmtree, self._folder(leased), ignore_errors=True)
        await self._erase(leased.clean_set.sha256)

    async def _erase(self, sha256: str) -> None:
        """Forget the key first: then no copy of the parts is worth anything, wherever one is left."""
        sealed_key = await self._parts.jobs.sealed_key(sha256)
        if sealed_key is not None:
            await self._parts.jobs.rekey(sha256, None, instead_of=sealed_key)
        await self._parts.intake.drop(sha256)

    def _folder(self, leased: Leased) -> Path:
        return self._config.folder / "work" / leased.job
