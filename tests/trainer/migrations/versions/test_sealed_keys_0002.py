"""The second form of the database of jobs."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from fakes.clean_sets import drawn_set

import trainer
from trainer.jobs import Jobs


async def test_sets_of_before_have_no_key_and_their_faces_are_not_needed(tmp_path: Path) -> None:
    """Their parts were not sealed: they are swept away at the first start, and a set that is described anew is told."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/jobs.sqlite")
    clean_set, _ = drawn_set(count=4)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(trainer.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        row = {"sha256": clean_set.sha256, "gateway": "box", "description": clean_set.to_bytes().decode()}
        connection.execute(sa.text("INSERT INTO clean_sets VALUES (:sha256, :gateway, :description, 5.0)"), row)
    engine.dispose()
    jobs = await Jobs.open(f"sqlite+aiosqlite:///{tmp_path}/jobs.sqlite")
    assert await jobs.clean_set(clean_set.sha256) == clean_set
    assert await jobs.sealed_key(clean_set.sha256) is None
    assert not await jobs.is_needed(clean_set.sha256, now_s=6.0)
    await jobs.rekey(clean_set.sha256, "name:sealed", instead_of=None)
    assert await jobs.is_needed(clean_set.sha256, now_s=6.0)
    await jobs.close()
