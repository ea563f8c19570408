"""The table of jobs: leased by one, taken over from the silent, ended once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.clean_sets import drawn_set
from fakes.postgresql import postgresql_url
from fakes.trainer_parts import CARD

from gateway.contract.exchange import CleanSet, JobState
from trainer.jobs import UNFINISHED_S, Jobs, Outcome


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.end_to_end, pytest.mark.long])])
async def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Jobs]:
    """Return an empty table."""
    if request.param == "sqlite":
        table = await Jobs.open(f"sqlite+aiosqlite:///{tmp_path}/jobs.sqlite")
        yield table
        await table.close()
        return
    with postgresql_url(tmp_path) as url:
        table = await Jobs.open(url)
        yield table
        await table.close()


KEY = "name:sealed"


def clean_set(seed: int, *, environment: str = "hall") -> CleanSet:
    """Return a description; its faces do not matter."""
    return drawn_set(count=4, seed=seed)[0].model_copy(update={"environment": environment})


async def queued(jobs: Jobs, seed: int, *, environment: str = "hall") -> str:
    """Describe a set and return its job."""
    described = clean_set(seed, environment=environment)
    assert await jobs.describe(described, KEY, now_s=seed, most_open=99)
    return (await jobs.enqueue(described, now_s=seed)).job


async def test_a_job_is_made_once_when_its_set_is_completed_again(jobs: Jobs) -> None:
    """The same set is the same job, whatever has become of it."""
    job = await queued(jobs, 1)
    assert await queued(jobs, 1) == job
    assert [view.job for view in await jobs.newest()] == [job]


async def test_a_job_is_one_workers_until_its_lease_ends(jobs: Jobs) -> None:
    """Nobody else gets it meanwhile; then it is taken over, and its first worker can change nothing."""
    job = await queued(jobs, 1)
    first = await jobs.lease("a", now_s=100, for_s=30)
    assert first is not None
    assert first.job == job
    assert await jobs.lease("b", now_s=129, for_s=30) is None
    second = await jobs.lease("b", now_s=131, for_s=30)
    assert second is not None
    assert second.attempts == 2
    assert not await jobs.renew(job, "a", now_s=132, for_s=30)
    assert not await jobs.finish(job, "a", Outcome(JobState.REFUSED, "late"))
    assert await jobs.finish(job, "b", Outcome(JobState.PUBLISHED, None, 4, "0" * 64, CARD))
    view = await jobs.get(job)
    assert view is not None
    assert (view.state, view.version, view.scorecard) == (JobState.PUBLISHED, 4, CARD)
    assert await jobs.lease("a", now_s=999, for_s=30) is None


async def test_one_job_of_an_environment_runs_at_a_time(jobs: Jobs) -> None:
    """Versions of an environment follow one another; what was begun is ended before the next."""
    first, _, yard = await queued(jobs, 1), await queued(jobs, 2), await queued(jobs, 3, environment="yard")
    taken = [await jobs.lease(owner, now_s=100, for_s=30) for owner in "abc"]
    assert [each and each.job for each in taken] == [first, yard, None]
    again = await jobs.lease("c", now_s=140, for_s=30)
    assert again is not None
    assert again.attempts == 2


async def test_a_released_job_waits_when_it_is_to_be_tried_later(jobs: Jobs) -> None:
    """It is queued again, from the time that was said."""
    job = await queued(jobs, 1)
    await jobs.lease("a", now_s=100, for_s=30)
    assert await jobs.release(job, "a", until_s=110)
    assert await jobs.lease("b", now_s=109, for_s=30) is None
    assert await jobs.lease("b", now_s=110, for_s=30) is not None


async def test_a_deferred_job_keeps_its_turn_and_its_attempts(jobs: Jobs) -> None:
    """It comes again when it was said, before the others of its environment, as if it had not been tried."""
    job, _ = await queued(jobs, 1), await queued(jobs, 2)
    await jobs.lease("a", now_s=100, for_s=30)
    assert await jobs.defer(job, "a", until_s=110)
    assert await jobs.lease("b", now_s=109, for_s=30) is None
    leased = await jobs.lease("b", now_s=110, for_s=30)
    assert leased is not None
    assert (leased.job, leased.attempts) == (job, 1)
    assert not await jobs.defer(job, "a", until_s=120)


async def test_a_cancelled_job_ends_unless_it_has_been_published(jobs: Jobs) -> None:
    """Its worker can no longer renew it; but what was published at that moment is told."""
    job = await queued(jobs, 1)
    await jobs.lease("a", now_s=100, for_s=30)
    assert await jobs.cancel(job)
    assert not await jobs.renew(job, "a", now_s=101, for_s=30)
    assert not await jobs.finish(job, "a", Outcome(JobState.REFUSED, "no"))
    assert await jobs.finish(job, "a", Outcome(JobState.PUBLISHED, None, 1, "0" * 64))
    assert not await jobs.cancel(job)


async def test_a_gateway_is_told_to_wait_when_it_has_many_open_sets(jobs: Jobs) -> None:
    """A set counts until its job has ended; one that is known is no new one."""
    await queued(jobs, 1)
    assert not await jobs.describe(clean_set(2), KEY, now_s=2, most_open=1)
    assert await jobs.describe(clean_set(1), KEY, now_s=2, most_open=1)
    await jobs.cancel((await jobs.newest())[0].job)
    assert await jobs.describe(clean_set(2), KEY, now_s=3, most_open=1)


async def test_sets_that_were_never_completed_do_not_lock_a_gateway_out(jobs: Jobs) -> None:
    """After a day one counts no more; described again it is waited for again."""
    assert await jobs.describe(clean_set(1), KEY, now_s=0, most_open=1)
    assert not await jobs.describe(clean_set(2), KEY, now_s=UNFINISHED_S - 1, most_open=1)
    assert not await jobs.is_needed(clean_set(1).sha256, now_s=UNFINISHED_S + 1)
    assert await jobs.describe(clean_set(2), KEY, now_s=UNFINISHED_S + 1, most_open=1)
    assert await jobs.describe(clean_set(1), KEY, now_s=UNFINISHED_S + 2, most_open=1)
    assert await jobs.is_needed(clean_set(1).sha256, now_s=UNFINISHED_S + 3)
    assert not await jobs.is_needed("f" * 64, now_s=0)
