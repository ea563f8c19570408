"""Migrations run over the connection that the service has open."""

from pathlib import Path

import sqlalchemy as sa

from trainer.jobs import Jobs


async def test_migrations_run_once_when_the_service_starts_again(tmp_path: Path) -> None:
    """The second start finds the newest form and changes nothing."""
    for _ in range(2):
        await (await Jobs.open(f"sqlite+aiosqlite:///{tmp_path}/jobs.sqlite")).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/jobs.sqlite")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == ["0002"]
    engine.dispose()
