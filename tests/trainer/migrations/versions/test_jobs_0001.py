"""The first form of the database of jobs."""

from pathlib import Path

import sqlalchemy as sa

from trainer.jobs import Jobs, _tables


async def test_the_migrated_tables_have_the_columns_that_are_used(tmp_path: Path) -> None:
    """What the code names is what the migration makes."""
    await (await Jobs.open(f"sqlite+aiosqlite:///{tmp_path}/jobs.sqlite")).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/jobs.sqlite")
    found = sa.inspect(engine)
    for table in _tables.sorted_tables:
        assert {column["name"] for column in found.get_columns(table.name)} == set(table.columns.keys())
    engine.dispose()
