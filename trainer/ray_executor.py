"""Jobs on Ray: the same work in the same folder, which all machines of the cluster must share."""

import asyncio
from pathlib import Path

import ray
from ray.exceptions import RayError

from trainer.executor import JobFailed
from trainer.job_run import run_job
from trainer.vault import KeyHandle


class RayExecutor:
    """Runs each job as a Ray task; without an address, on a Ray of its own on this machine."""

    def __init__(self, address: str | None, *, threads: int) -> None:
        self._address, self._threads = address, threads

    async def run(self, folder: Path, handle: KeyHandle) -> None:
        """Run the job; the task is cancelled where this is."""
        await asyncio.to_thread(self._connect)
        task = ray.remote(num_cpus=self._threads, max_retries=0)(run_job).remote(folder, handle)
        try:
            await asyncio.wrap_future(task.future())
        except RayError as error:
            raise JobFailed(f"its Ray task failed: {type(error).__name__}") from None
        except asyncio.CancelledError:
            ray.cancel(task, force=True)
            raise

    def _connect(self) -> None:
        if not ray.is_initialized():
            ray.init(address=self._address, log_to_driver=False, include_dashboard=False, num_cpus=self._cpus())

    def _cpus(self) -> int | None:
        return self._threads if self._address is None else None
