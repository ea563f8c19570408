"""The driver of one job on Ray, in a process of its own: where a cluster dies, Ray ends the process that used it.

All machines of the cluster share the job's folder and hold the keys that faces are sealed with; what Ray carries is the
folder's name and a key handle, never a face.
"""

import sys
from pathlib import Path

import ray
from ray.exceptions import RayError

from trainer.job_run import read_handle, run_job
from trainer.vault import KeyHandle


def run_on_ray(folder: Path, handle: KeyHandle, *, threads: int, address: str | None) -> None:
    """Run a job as a Ray task and wait for its end; without an address, on a Ray of its own on this machine.

    Raises:
        RayError: The task or its cluster failed.
    """
    cpus = threads if address is None else None
    ray.init(address=address, log_to_driver=False, include_dashboard=False, num_cpus=cpus)
    try:
        ray.get(ray.remote(num_cpus=threads, max_retries=0)(run_job).remote(folder, handle))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    try:
        run_on_ray(
            Path(sys.argv[1]),
            read_handle(),
            threads=int(sys.argv[2]),
            address=sys.argv[3] if len(sys.argv) > 3 else None,
        )
    except (RayError, ConnectionError) as error:
        raise SystemExit(f"its Ray task failed: {type(error).__name__}") from None
