"""Clean sets and jobs in a database: what a worker leases, renews and finishes, so that a death loses nothing.

Every change is one statement that names the state it starts from, so two workers, or a worker and an operator, never
both succeed. A job is named by its clean set: the same set is the same job.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.contract.exchange import CleanSet, JobState, JobView, Scorecard

UNFINISHED_S = 24 * 3600.0
"""How long a clean set that is not complete is waited for; then its gateway begins anew."""

_tables = sa.MetaData()
_sets = sa.Table(
    "clean_sets",
    _tables,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("gateway", sa.String(64)),
    sa.Column("description", sa.Text),
    sa.Column("created_s", sa.Float),
    sa.Column("sealed_key", sa.Text),
)
_jobs = sa.Table(
    "jobs",
    _tables,
    sa.Column("job", sa.String(32), primary_key=True),
    sa.Column("clean_set", sa.String(64)),
    sa.Column("environment", sa.String(64)),
    sa.Column("state", sa.String(16)),
    sa.Column("attempts", sa.Integer),
    sa.Column("owner", sa.String(64)),
    sa.Column("leased_until_s", sa.Float),
    sa.Column("created_s", sa.Float),
    sa.Column("reason", sa.Text),
    sa.Column("version", sa.Integer),
    sa.Column("bundle_sha256", sa.String(64)),
    sa.Column("scorecard", sa.Text),
)


@dataclass(frozen=True, slots=True)
class Leased:
    """A job that a worker holds until its lease runs out."""

    job: str
    clean_set: CleanSet
    attempts: int
    sealed_key: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended."""

    state: JobState
    reason: str | None = None
    version: int | None = None
    bundle_sha256: str | None = None
    scorecard: Scorecard | None = None


def job_of(clean_set_sha256: str) -> str:
    """Return the name of a clean set's job."""
    return clean_set_sha256[:32]


class Jobs:
    """The table of jobs; times are seconds since 1970, given by the caller."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> "Jobs":
        """Connect, and bring the tables to this version's form."""
        engine = create_async_engine(url)
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine.sync_engine, "connect", _durable)
        async with engine.begin() as connection:
            await connection.run_sync(_migrate)
        return cls(engine)

    async def close(self) -> None:
        """Let go of the database."""
        await self._engine.dispose()

    async def describe(self, clean_set: CleanSet, sealed_key: str, *, now_s: float, most_open: int) -> bool:
        """Note a clean set, or that it is still wanted; false where its gateway has `most_open` others that are open.

        A set that is known keeps the key that it has. Open is one whose job has not ended, or that was described within
        `UNFINISHED_S` and may still be completed.
        """
        sha256 = clean_set.sha256
        if await self.clean_set(sha256) is not None:
            async with self._engine.begin() as connection:
                await connection.execute(sa.update(_sets).where(_sets.c.sha256 == sha256).values(created_s=now_s))
            return True
        unended = sa.select(_jobs.c.clean_set).where(_jobs.c.state.not_in(_FINAL))
        ended = sa.select(_jobs.c.clean_set).where(_jobs.c.state.in_(_FINAL))
        may_come = sa.and_(_sets.c.created_s > now_s - UNFINISHED_S, _sets.c.sha256.not_in(ended))
        is_open = sa.or_(_sets.c.sha256.in_(unended), may_come)
        open_sets = sa.select(sa.func.count()).where(_sets.c.gateway == clean_set.gateway, is_open)
        async with self._engine.begin() as connection:
            if (await connection.execute(open_sets)).scalar_one() >= most_open:
                return False
            row = {"sha256": sha256, "gateway": clean_set.gateway, "created_s": now_s}
            described = {"description": clean_set.to_bytes().decode(), "sealed_key": sealed_key}
            await connection.execute(self._once(_sets, row | described))
        return True

    async def sealed_key(self, sha256: str) -> str | None:
        """Return the key of a clean set's faces as it was sealed; None where it was forgotten, or there is no set."""
        async with self._engine.connect() as connection:
            found = await connection.execute(sa.select(_sets.c.sealed_key).where(_sets.c.sha256 == sha256))
            return found.scalar_one_or_none()

    async def rekey(self, sha256: str, sealed_key: str | None, *, instead_of: str | None) -> None:
        """Give a clean set another key; None forgets the one that it has, on the disk too."""
        same = _sets.c.sealed_key == instead_of if instead_of is not None else _sets.c.sealed_key.is_(None)
        changed = sa.update(_sets).where(_sets.c.sha256 == sha256, same).values(sealed_key=sealed_key)
        async with self._engine.begin() as connection:
            await connection.execute(changed)
        if self._engine.dialect.name == "sqlite":
            async with self._engine.connect() as connection:  # or the journal would hold the key on
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def clean_set(self, sha256: str) -> CleanSet | None:
        """Return a clean set that was described."""
        async with self._engine.connect() as connection:
            found = await connection.execute(sa.select(_sets.c.description).where(_sets.c.sha256 == sha256))
            text = found.scalar_one_or_none()
        return None if text is None else CleanSet.model_validate_json(text)

    async def is_needed(self, sha256: str, *, now_s: float) -> bool:
        """Return whether the faces of a clean set may still be wanted: its job has not ended, or may still come."""
        found = sa.select(_sets.c.created_s, _sets.c.sealed_key, _jobs.c.state).select_from(
            _sets.outerjoin(_jobs, _jobs.c.clean_set == _sets.c.sha256)
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(found.where(_sets.c.sha256 == sha256))).one_or_none()
        if row is None or row.sealed_key is None:
            return False
        return row.created_s > now_s - UNFINISHED_S if row.state is None else row.state not in _FINAL

    async def enqueue(self, clean_set: CleanSet, *, now_s: float) -> JobView:
        """Return the clean set's job, which is made by the first call."""
        row = {
            "job": job_of(clean_set.sha256),
            "clean_set": clean_set.sha256,
            "environment": clean_set.environment,
            "state": JobState.QUEUED,
            "attempts": 0,
            "leased_until_s": 0.0,
            "created_s": now_s,
        }
        async with self._engine.begin() as connection:
            await connection.execute(self._once(_jobs, row))
        view = await self.get(job_of(clean_set.sha256))
        assert view is not None  # noqa: S101 - rows are never removed
        return view

    async def lease(self, owner: str, *, now_s: float, for_s: float) -> Leased | None:
        """Take the oldest job that waits or whose worker fell silent, one at a time for an environment."""
        busy_jobs = _jobs.alias()
        busy = sa.select(busy_jobs.c.environment).where(
            busy_jobs.c.state == JobState.RUNNING, busy_jobs.c.leased_until_s > now_s
        )
        free = sa.and_(_jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)), _jobs.c.leased_until_s <= now_s)
        waiting = _jobs.alias()
        oldest = (
            sa.select(waiting.c.job)
            .where(
                waiting.c.state.in_((JobState.QUEUED, JobState.RUNNING)),
                waiting.c.leased_until_s <= now_s,
                waiting.c.environment.not_in(busy),
            )
            .order_by(waiting.c.state.desc(), waiting.c.created_s, waiting.c.job)  # what was begun is ended first
            .limit(1)
            .scalar_subquery()
        )
        taken = (
            sa.update(_jobs)
            .where(_jobs.c.job == oldest, free)
            .values(state=JobState.RUNNING, owner=owner, leased_until_s=now_s + for_s, attempts=_jobs.c.attempts + 1)
            .returning(_jobs.c.job, _jobs.c.clean_set, _jobs.c.attempts)
        )
        async with self._engine.begin() as connection:
            row = (await connection.execute(taken)).one_or_none()
        if row is None:
            return None
        clean_set = await self.clean_set(row.clean_set)
        assert clean_set is not None  # noqa: S101 - rows are never removed
        return Leased(row.job, clean_set, row.attempts, await self.sealed_key(row.clean_set))

    async def renew(self, job: str, owner: str, *, now_s: float, for_s: float) -> bool:
        """Hold a job for longer; false where it is no longer the owner's, who must then drop it."""
        return await self._change(job, owner, {"leased_until_s": now_s + for_s})

    async def release(self, job: str, owner: str, *, until_s: float) -> bool:
        """Give a job back, to be tried again from `until_s` on."""
        return await self._change(job, owner, {"state": JobState.QUEUED, "owner": None, "leased_until_s": until_s})

    async def defer(self, job: str, owner: str, *, until_s: float) -> bool:
        """Let a job that could not go on, for no fault of its own, be leased again from `until_s` on.

        It stays the one that its environment's others wait for, and this attempt is not counted.
        """
        return await self._change(job, owner, {"leased_until_s": until_s, "attempts": _jobs.c.attempts - 1})

    async def finish(self, job: str, owner: str, outcome: Outcome) -> bool:
        """End a job; false where it is no longer the owner's.

        What is published is published: it is told even of a job that an operator cancelled at that moment.
        """
        values = {
            "state": outcome.state,
            "reason": outcome.reason,
            "version": outcome.version,
            "bundle_sha256": outcome.bundle_sha256,
            "scorecard": outcome.scorecard.model_dump_json() if outcome.scorecard else None,
        }
        late = (JobState.CANCELLED,) if outcome.state is JobState.PUBLISHED else ()
        return await self._change(job, owner, values, also=late)

    async def cancel(self, job: str) -> bool:
        """End a job that has not ended; its worker drops it when it renews."""
        unfinished = sa.and_(_jobs.c.job == job, _jobs.c.state.not_in(_FINAL))
        values = {"state": JobState.CANCELLED, "reason": "cancelled by an operator"}
        async with self._engine.begin() as connection:
            done = await connection.execute(sa.update(_jobs).where(unfinished).values(values))
        return bool(done.rowcount)

    async def get(self, job: str) -> JobView | None:
        """Return a job as it stands."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(_jobs).where(_jobs.c.job == job))).one_or_none()
        return None if row is None else _view(row)

    async def newest(self, *, most: int = 100) -> tuple[JobView, ...]:
        """Return the newest jobs, newest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(_jobs).order_by(_jobs.c.created_s.desc()).limit(most))
            return tuple(_view(row) for row in rows)

    async def _change(self, job: str, owner: str, values: dict[str, Any], *, also: tuple[JobState, ...] = ()) -> bool:
        mine = sa.and_(_jobs.c.job == job, _jobs.c.owner == owner, _jobs.c.state.in_((JobState.RUNNING, *also)))
        async with self._engine.begin() as connection:
            done = await connection.execute(sa.update(_jobs).where(mine).values(values))
        return bool(done.rowcount)

    def _once(self, table: sa.Table, row: dict[str, Any]) -> sa.Insert:
        if self._engine.dialect.name == "postgresql":
            return postgresql_insert(table).values(row).on_conflict_do_nothing()
        return sqlite_insert(table).values(row).on_conflict_do_nothing()


_FINAL = tuple(state.value for state in JobState if state.is_final)


def _view(row: Any) -> JobView:
    return JobView(
        job=row.job,
        environment=row.environment,
        state=JobState(row.state),
        attempts=row.attempts,
        reason=row.reason,
        version=row.version,
        bundle_sha256=row.bundle_sha256,
        scorecard=Scorecard.model_validate_json(row.scorecard) if row.scorecard else None,
    )


def _durable(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrate(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
