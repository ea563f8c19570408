"""Forks a trainer's worker for every line on its input, and says its process id: to be killed."""

import asyncio
import datetime as dt
import os
import sys
from pathlib import Path

import structlog
from fakes.clean_sets import faces_keys
from fakes.trainer_parts import NotingExecutor, NotingPublisher

from trainer.intake import Intake
from trainer.jobs import Jobs
from trainer.service_config import read_config
from trainer.worker import Parts, Worker


async def _work(folder: Path) -> None:
    config = read_config(folder / "trainer.yaml")
    # A short lease: the next worker takes over what a killed one held.
    config = config.model_copy(update={"jobs": config.jobs.model_copy(update={"lease_s": 0.05, "attempts": 100})})
    jobs = await Jobs.open(config.database_url)
    store, publisher = Intake(config.folder / "store"), NotingPublisher(folder / "published")
    parts = Parts(jobs, store, NotingExecutor(), publisher, faces_keys(config))
    await Worker(parts, config, now=lambda: dt.datetime.now(dt.UTC)).run()


def _main(folder: Path) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the output is for process ids
    children = []
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(_work(folder))
        children.append(pid)
        print(pid, flush=True)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
