"""Jobs on Ray have the result that they have in a child process."""

from pathlib import Path

import pytest
from fakes.clean_sets import prepared_job

from gateway.contract.bundle import open_bundle
from trainer.executor import Executor, LocalExecutor
from trainer.job_run import read_result


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_job_has_the_same_result_in_a_process_and_on_ray(tmp_path: Path) -> None:
    """Weights and scorecard agree."""
    pytest.importorskip("ray")
    from trainer.ray_executor import RayExecutor

    digests = []
    executors: list[tuple[str, Executor]] = [("a", LocalExecutor()), ("b", RayExecutor(None, threads=1))]
    for name, executor in executors:
        folder = prepared_job(tmp_path / name / "job")
        await executor.run(folder)
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
