"""Jobs in a child process: a bundle and a scorecard, or the last words of what fell over."""

import os
from pathlib import Path

import pytest
from fakes.clean_sets import prepared_job

from gateway.contract.bundle import open_bundle
from trainer.child import PARENT
from trainer.executor import KEEPS_MEMORY, YIELDS_CORES, JobFailed, LocalExecutor, environment_of_job
from trainer.job_run import read_result
from trainer.vault import KeyHandle


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(150)
async def test_a_job_leaves_a_judged_bundle_when_its_process_ends(tmp_path: Path) -> None:
    """Its parent is the base; nothing was held back, so there is no audit."""
    folder, handle = prepared_job(tmp_path / "job")
    await LocalExecutor().run(folder, handle)
    result = read_result(folder)
    assert result is not None
    assert result.scorecard is not None, result.refusal
    names = [gate.name for gate in result.scorecard.gates]
    assert names == ["held_back_share", "clean_false_alarms", "perturbation_cells", "distance_from_base"]
    assert open_bundle(folder / "bundle").identity.sha256 == result.bundle_sha256


@pytest.mark.timeout(120)
async def test_a_process_that_falls_over_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    """An empty folder is no job."""
    with pytest.raises(JobFailed, match=r"ended with 1: .*order\.json"):
        await LocalExecutor().run(tmp_path, KeyHandle(clean_set="0", sealed_key=None, faces_key=tmp_path))


def test_a_jobs_process_is_set_up_unless_an_operator_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries read these when the process starts, so the job cannot set them itself."""
    ours = KEEPS_MEMORY | YIELDS_CORES
    for name in ours:
        monkeypatch.delenv(name, raising=False)
    assert environment_of_job() == os.environ | ours | {PARENT: str(os.getpid())}
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    assert environment_of_job()["MALLOC_TOP_PAD_"] == "4096"
