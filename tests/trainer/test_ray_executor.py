"""Jobs on Ray have the result that they have in a child process."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from fakes.clean_sets import prepared_job

from gateway.contract.bundle import open_bundle
from trainer.executor import LocalExecutor
from trainer.job_run import read_result
from trainer.vault import KeyHandle

ROOT = Path(__file__).parents[2]
ON_RAY = """
import asyncio, sys
from pathlib import Path
import ray
from trainer.ray_executor import RayExecutor
from trainer.vault import KeyHandle
asyncio.run(RayExecutor(None, threads=1).run(Path(sys.argv[1]), KeyHandle.model_validate_json(sys.argv[2])))
ray.shutdown()
"""


async def run_on_ray(folder: Path, handle: KeyHandle) -> None:
    """Run a job on Ray in a process of its own: Ray ends the one that it lives in when its cluster goes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ON_RAY, str(folder), handle.model_dump_json()]
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_job_has_the_same_result_in_a_process_and_on_ray(tmp_path: Path) -> None:
    """Weights and scorecard agree."""
    pytest.importorskip("ray")
    digests = []
    for name, run in (("a", LocalExecutor().run), ("b", run_on_ray)):
        folder, handle = prepared_job(tmp_path / name / "job")
        await run(folder, handle)
        result = read_result(folder)
        assert result is not None
        assert result.scorecard is not None, result.refusal
        assert [gate.name for gate in result.scorecard.gates] == [
            "clean_false_alarms",
            "perturbation_cells",
            "distance_from_base",
        ]
        files = open_bundle(folder / "bundle").manifest.files
        digests.append((files["weights.safetensors"].sha256, result.scorecard))
    assert digests[0] == digests[1]
