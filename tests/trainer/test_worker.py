"""The worker: every job ends once, whatever happens on the way."""

import asyncio
import datetime as dt
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes.clean_sets import drawn_set, faces_keys, kept_in, service_config
from fakes.processes import wait_until
from fakes.repositories import PASSPHRASE as REPOSITORY_PASSPHRASE
from fakes.repositories import Site, newest_of
from fakes.trainer_parts import FAILED_CARD, NotingExecutor, NotingPublisher
from structlog.testing import capture_logs

from gateway.contract.exchange import JobState, JobView
from trainer import worker as worker_module
from trainer.intake import Intake
from trainer.jobs import Jobs
from trainer.keys import renew_signatures
from trainer.publish import RepositoryPublisher
from trainer.serving import serve
from trainer.vault import KeyHandle, ServiceKeys
from trainer.worker import AGAIN_S, Parts, PublishLater, Worker

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)


class Bench:
    """A worker over a folder, with a clock that is set by hand."""

    def __init__(self, folder: Path, jobs: Jobs, executor: NotingExecutor) -> None:
        self.jobs, self.now = jobs, NOON
        self.config = service_config(folder)
        self.intake = Intake(self.config.folder / "store")
        self.publisher = NotingPublisher(folder / "published")
        self.keys = faces_keys(self.config)
        parts = Parts(jobs, self.intake, executor, self.publisher, self.keys)
        self.worker = Worker(parts, self.config, now=lambda: self.now)

    async def queue(self, seed: int = 1) -> str:
        """Upload a set and return its job."""
        clean_set, contents = drawn_set(count=4, seed=seed)
        await self.jobs.describe(clean_set, self.keys.new_key(clean_set.sha256), now_s=seed, most_open=999)
        key = self.keys.open(await self.jobs.sealed_key(clean_set.sha256), clean_set.sha256)
        for part in clean_set.parts:
            await self.intake.put(clean_set, part, contents[part.sha256], key)
        return (await self.jobs.enqueue(clean_set, now_s=seed)).job

    async def view(self, job: str) -> JobView:
        """Return the job as it stands."""
        found = await self.jobs.get(job)
        assert found is not None
        return found

    def published(self) -> list[str]:
        """Return the jobs that were published, one for each bundle."""
        return [path.name.partition(".")[0] for path in self.publisher.folder.iterdir()]


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[Jobs]:
    """Return an empty table."""
    (tmp_path / "state").mkdir()
    table = await Jobs.open(f"sqlite+aiosqlite:///{tmp_path}/state/jobs.sqlite")
    yield table
    await table.close()


async def test_a_job_is_published_and_its_faces_erased_when_it_passes(tmp_path: Path, jobs: Jobs) -> None:
    """The bundle's digest and version are told; parts and folder are gone."""
    bench = Bench(tmp_path, jobs, NotingExecutor())
    job = await bench.queue()
    assert await bench.worker.work_once()
    view = await bench.view(job)
    assert (view.state, view.version, bench.published()) == (JobState.PUBLISHED, 1, [job])
    assert kept_in(bench.config.folder) == []
    assert not await bench.worker.work_once()


@pytest.mark.parametrize("step", [(Jobs, "finish"), (Jobs, "rekey"), (Intake, "drop")], ids=lambda step: step[1])
async def test_faces_of_a_job_that_ended_are_erased_when_the_service_is_told_to_end_meanwhile(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    """Once an outcome is written down it may be read, and be what an operator waited for to end the service."""
    bench = Bench(tmp_path, jobs, executor := NotingExecutor())
    job = await bench.queue()
    part, name = step
    work = getattr(part, name)

    async def told_to_end(*args: Any, **named: Any) -> None:
        monkeypatch.setattr(part, name, work)
        if name == "finish":
            await work(*args, **named)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(part, name, told_to_end)
    monkeypatch.setattr(worker_module, "ENDING_S", 60.0)
    await serve(bench.config, bench.publisher, repository=tmp_path, executor=executor, now=lambda: NOON)
    assert ((await bench.view(job)).state, bench.published()) == (JobState.PUBLISHED, [job])
    assert await jobs.sealed_key(drawn_set(count=4, seed=1)[0].sha256) is None
    assert kept_in(bench.config.folder) == []


async def test_service_ends_in_time_when_faces_cannot_be_erased(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that hangs is said, and the next start erases; one that is away is said, too."""

    async def away() -> tuple[str, ...]:
        raise ConnectionError

    monkeypatch.setattr(worker_module, "ENDING_S", 0.05)
    bench = Bench(tmp_path, jobs, NotingExecutor())
    assert await jobs.cancel(await bench.queue())
    with capture_logs() as logs:
        for trouble in (asyncio.Event().wait, away):
            monkeypatch.setattr(bench.intake, "held", trouble)
            await bench.worker.end()
    assert [(log["event"], log["error"]) for log in logs] == [
        ("faces_not_erased", "took longer than 0 s"),
        ("faces_not_erased", "ConnectionError"),
    ]
    monkeypatch.undo()
    await bench.worker.sweep()
    assert await bench.intake.held() == ()


async def test_faces_that_nobody_needs_are_erased(tmp_path: Path, jobs: Jobs) -> None:
    """Of a cancelled job at the next look, of a set that was never completed after a day; others stay."""
    bench = Bench(tmp_path, jobs, NotingExecutor())
    cancelled, waiting = await bench.queue(1), await bench.queue(2)
    unfinished, contents = drawn_set(count=4, seed=3)
    sealed_key = bench.keys.new_key(unfinished.sha256)
    key = bench.keys.open(sealed_key, unfinished.sha256)
    await bench.intake.put(unfinished, unfinished.parts[0], contents[unfinished.parts[0].sha256], key)
    await jobs.describe(unfinished, sealed_key, now_s=NOON.timestamp(), most_open=999)
    (bench.config.folder / "work" / cancelled).mkdir(parents=True)
    assert await jobs.cancel(cancelled)
    await bench.worker.sweep()
    assert {sha256[:32] for sha256 in await bench.intake.held()} == {waiting, unfinished.sha256[:32]}
    assert await jobs.sealed_key(unfinished.sha256) == sealed_key
    assert list((bench.config.folder / "work").iterdir()) == []
    bench.now += dt.timedelta(hours=25)
    await bench.worker.sweep()
    assert [sha256[:32] for sha256 in await bench.intake.held()] == [waiting]
    assert await jobs.sealed_key(unfinished.sha256) is None
    assert all(sealed_key.encode() not in path.read_bytes() for path in bench.config.folder.glob("jobs.sqlite*"))


@pytest.mark.parametrize(
    ("executor", "reason"),
    [
        (NotingExecutor(card=FAILED_CARD), "went too far"),
        (NotingExecutor(card=None, refusal="there is no reference set"), "there is no reference set"),
    ],
)
async def test_a_refused_job_says_why_and_publishes_nothing(
    tmp_path: Path, jobs: Jobs, executor: NotingExecutor, reason: str
) -> None:
    """By a gate or by its data: the words reach the gateway."""
    bench = Bench(tmp_path, jobs, executor)
    job = await bench.queue()
    await bench.worker.work_once()
    view = await bench.view(job)
    assert (view.state, view.reason, bench.published()) == (JobState.REFUSED, reason, [])


async def test_a_job_is_refused_in_words_when_the_key_of_its_faces_is_lost(tmp_path: Path, jobs: Jobs) -> None:
    """The service's key was replaced without keeping the old one: no attempt is made, and the faces are erased."""
    executor = NotingExecutor()
    bench = Bench(tmp_path, jobs, executor)
    job = await bench.queue()
    bench.config.faces_key_file.unlink()
    parts = Parts(jobs, bench.intake, executor, bench.publisher, faces_keys(bench.config))
    assert await Worker(parts, bench.config, now=lambda: NOON).work_once()
    view = await bench.view(job)
    assert (view.state, executor.runs, await bench.intake.held()) == (JobState.REFUSED, 0, ())
    assert "which is not in faces_key (faces.key)" in (view.reason or "")


async def test_a_job_is_done_when_the_key_was_replaced_and_the_old_one_kept(tmp_path: Path, jobs: Jobs) -> None:
    """The new key stands first, the old one below it."""
    executor = NotingExecutor()
    bench = Bench(tmp_path, jobs, executor)
    job = await bench.queue()
    file = bench.config.faces_key_file
    old = file.read_text("ascii")
    file.write_text("# old keys go when no job needs them\n" + old, "ascii")
    file.write_text("A" * 43 + "=\n" + file.read_text("ascii"), "ascii")
    parts = Parts(jobs, bench.intake, executor, bench.publisher, ServiceKeys.load(file))
    assert await Worker(parts, bench.config, now=lambda: NOON).work_once()
    assert (await bench.view(job)).state is JobState.PUBLISHED


async def test_a_job_is_tried_again_when_its_process_fell_over(tmp_path: Path, jobs: Jobs) -> None:
    """Later each time, and refused after the last attempt."""
    bench = Bench(tmp_path, jobs, NotingExecutor(fails=5))
    job = await bench.queue()
    for attempt in range(1, 6):
        assert await bench.worker.work_once()
        assert (await bench.view(job)).attempts == attempt
        bench.now += dt.timedelta(hours=1)
    view = await bench.view(job)
    assert view.state is JobState.REFUSED
    assert "failed 5 times" in (view.reason or "")


class FullDisk(NotingExecutor):
    """Raises what a disk without room raises, some times."""

    async def run(self, folder: Path, handle: KeyHandle) -> None:
        """Write the result, or nothing."""
        if self.runs < self.fails:
            self.runs += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        await super().run(folder, handle)


async def test_a_job_is_waited_for_when_the_disk_takes_nothing(tmp_path: Path, jobs: Jobs) -> None:
    """What is raised is what `run` waits for, no group around it; the job is done a little later."""
    bench = Bench(tmp_path, jobs, FullDisk(fails=1))
    job = await bench.queue()
    with pytest.raises(OSError, match="No space left"):
        await bench.worker.work_once()
    assert (await bench.view(job)).state is JobState.RUNNING
    assert not await bench.worker.work_once()
    bench.now += dt.timedelta(seconds=AGAIN_S)
    assert await bench.worker.work_once()
    assert (await bench.view(job)).state is JobState.PUBLISHED


async def test_a_disk_that_was_full_takes_no_attempt_from_a_job_that_fails_later(tmp_path: Path, jobs: Jobs) -> None:
    """What was not the job's fault does not count for its refusal."""
    executor = FullDisk(fails=2)
    bench = Bench(tmp_path, jobs, executor)
    job = await bench.queue()
    for _ in range(executor.fails):
        with pytest.raises(OSError, match="No space left"):
            await bench.worker.work_once()
        bench.now += dt.timedelta(seconds=AGAIN_S)
    leased = await jobs.lease("another", now_s=bench.now.timestamp(), for_s=30)
    assert leased is not None
    assert (leased.job, leased.attempts) == (job, 1)


async def test_a_finished_bundle_waits_for_a_repository_that_another_process_holds(tmp_path: Path, jobs: Jobs) -> None:
    """It is not trained anew, however often that happens, and published when the repository is free."""
    executor = NotingExecutor()
    bench = Bench(tmp_path, jobs, executor)
    job = await bench.queue()
    bench.publisher.is_held = True
    for _ in range(bench.config.jobs.attempts + 2):
        with pytest.raises(PublishLater):
            await bench.worker.work_once()
        bench.now += dt.timedelta(hours=1)
    assert (await bench.view(job)).state is JobState.RUNNING
    await bench.worker.renew_signatures()
    bench.publisher.is_held = False
    assert await bench.worker.work_once()
    assert (executor.runs, bench.published()) == (1, [job])


async def test_a_job_is_refused_in_words_when_its_faces_are_gone_from_the_store(tmp_path: Path, jobs: Jobs) -> None:
    """Somebody emptied the store: it is looked for again, and in the end the gateway hears why."""
    bench = Bench(tmp_path, jobs, NotingExecutor())
    job = await bench.queue()
    for sha256 in await bench.intake.held():
        await bench.intake.drop(sha256)
    for _ in range(bench.config.jobs.attempts):
        assert await bench.worker.work_once()
        bench.now += dt.timedelta(hours=1)
    view = await bench.view(job)
    assert view.state is JobState.REFUSED
    assert "a part of the clean set is not in the store any more" in (view.reason or "")


async def test_a_finished_bundle_is_published_and_not_made_again_after_a_death(tmp_path: Path, jobs: Jobs) -> None:
    """What lies whole in the folder when the lease ends is what is published."""
    executor = NotingExecutor()
    bench = Bench(tmp_path, jobs, executor)
    job = await bench.queue()
    leased = await jobs.lease("dead", now_s=NOON.timestamp() - 60, for_s=30)
    assert leased is not None
    bench.worker._prepare(leased, bench.config.folder / "work" / job)
    handle = KeyHandle(
        clean_set=leased.clean_set.sha256, sealed_key=leased.sealed_key, faces_key=bench.config.faces_key_file
    )
    await executor.run(bench.config.folder / "work" / job, handle)
    assert await bench.worker.work_once()
    assert (executor.runs, bench.published()) == (1, [job])


class Year:
    """A worker that keeps a real repository, and a gateway that reads it, under one clock."""

    def __init__(self, folder: Path, jobs: Jobs) -> None:
        self.site = Site.make(folder / "site")
        self.site.publish(1)
        config = service_config(folder)
        publisher = RepositoryPublisher(self.site.writer())
        parts = Parts(jobs, Intake(config.folder / "store"), NotingExecutor(), publisher, faces_keys(config))
        self.worker = Worker(parts, config, now=lambda: self.site.now)
        self.gateway = self.site.exchange(folder / "gateway")

    @property
    def timestamp(self) -> bytes:
        """What gateways read first."""
        return newest_of(self.site.repository, "timestamp").read_bytes()


async def test_signatures_are_renewed_for_a_year_and_what_only_people_can_renew_is_said(
    tmp_path: Path, jobs: Jobs
) -> None:
    """By the clock; in the last month once a day in words, and at the gateway, until somebody signs."""
    year = Year(tmp_path, jobs)
    began = year.site.now
    warned: list[tuple[int, str]] = []
    days = [*range(0, 330, 10), *(day + half for day in range(330, 364) for half in (0, 0.5))]
    for day in days:
        year.site.now = began + dt.timedelta(days=day)
        with capture_logs() as logs:
            await year.worker.renew_signatures()
        assert {log["event"] for log in logs} <= {"signatures_end"}
        warned += [(int(day), log["reason"]) for log in logs]
        if day in days[::10]:
            assert year.gateway.newest("indoor") is not None
            assert (year.gateway.ending is None) == (not warned)
    assert [day for day, _ in warned] == list(range(warned[0][0], 364))
    assert 335 <= warned[0][0] <= 336
    assert year.gateway.newest("indoor") is not None
    until = began + dt.timedelta(days=365)
    assert (
        f"root until {until:%Y-%m-%d} and targets until {until:%Y-%m-%d}; `spectragate-trainer keys renew`"
        in (warned[-1][1])
    )
    assert year.gateway.ending == warned[-1][1]
    renew_signatures(year.site.folder, passphrase=REPOSITORY_PASSPHRASE, now=year.site.now)
    year.site.now += dt.timedelta(days=200)
    with capture_logs() as logs:
        await year.worker.renew_signatures()
    assert logs == []
    assert year.gateway.newest("indoor") is not None
    assert year.gateway.ending is None


async def test_signatures_are_renewed_by_the_loop_of_the_service(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody asking: half a day later by the clock there is a new timestamp, and no other before."""
    monkeypatch.setattr(worker_module, "REFRESH_S", 0.02)
    year = Year(tmp_path, jobs)
    before = year.timestamp
    turns = lambda: year.worker.pulses["refresh"].done if year.worker.pulses else 0  # noqa: E731
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(year.worker.refresh(), name="refresh")
        await wait_until(lambda: turns() >= 3)
        assert year.timestamp == before
        year.site.now += dt.timedelta(hours=13)
        await wait_until(lambda: year.timestamp != before)
        loop.cancel()
    assert year.gateway.newest("indoor") is not None


def kill_workers(folder: Path, kills: int) -> None:
    """Start one worker after the other and kill each within the time in which the first had done a job: 0.15 to 2 s."""
    dice = random.Random(7)
    tests = Path(__file__).parent.parent
    command = [sys.executable, str(tests / "chaos/trainer_worker.py"), str(folder)]
    paths = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    with subprocess.Popen(command, env=paths, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forker:
        assert forker.stdin is not None
        assert forker.stdout is not None
        longest_s = None
        for _ in range(kills):
            forker.stdin.write("fork\n")
            forker.stdin.flush()
            pid = int(forker.stdout.readline())
            if longest_s is None:
                began_s = time.monotonic()
                while not any((folder / "published").iterdir()) and time.monotonic() - began_s < 60.0:
                    time.sleep(0.005)
                longest_s = min(max(0.15, 1.5 * (time.monotonic() - began_s)), 2.0)
            else:
                time.sleep(dice.uniform(0, longest_s))
            os.kill(pid, signal.SIGKILL)
        forker.stdin.close()
        assert forker.wait(30) == 0


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_no_job_is_lost_or_published_twice_when_workers_are_killed_at_200_points(
    tmp_path: Path, jobs: Jobs
) -> None:
    """Each of 200 workers is killed at some time of its work; in the end every job is published exactly once."""
    bench = Bench(tmp_path, jobs, NotingExecutor())
    wanted = [await bench.queue(seed) for seed in range(1, 121)]
    await jobs.close()  # no thread may be alive in the process that forks
    await asyncio.to_thread(kill_workers, tmp_path, 200)
    survived = Bench(tmp_path, Jobs(jobs._engine), NotingExecutor())
    survived.now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    while await survived.worker.work_once():
        survived.now += dt.timedelta(hours=1)
    assert sorted(survived.published()) == sorted(wanted)
    views = [await survived.view(job) for job in wanted]
    assert {view.state for view in views} == {JobState.PUBLISHED}
    assert any(view.attempts > 1 for view in views)  # or no kill hit a job under way
