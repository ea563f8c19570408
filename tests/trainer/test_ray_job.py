"""Jobs on Ray have the result that they have in a child process, and a cluster that dies takes nothing with it."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from fakes.clean_sets import prepared_job

from gateway.contract.bundle import open_bundle
from trainer.executor import JobFailed, LocalExecutor, RayExecutor
from trainer.job_run import read_result


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_job_has_the_same_result_in_a_process_and_on_ray(tmp_path: Path) -> None:
    """Weights and scorecard agree."""
    pytest.importorskip("ray")
    digests = []
    for name, executor in (("a", LocalExecutor()), ("b", RayExecutor(None, threads=1))):
        folder, handle = prepared_job(tmp_path / name / "job")
        await executor.run(folder, handle)
        result = read_result(folder)
        assert result is not None
        assert result.scorecard is not None, result.refusal
        assert [gate.name for gate in result.scorecard.gates] == [
            "held_back_share",
            "clean_false_alarms",
            "perturbation_cells",
            "distance_from_base",
        ]
        files = open_bundle(folder / "bundle").manifest.files
        digests.append((files["weights.safetensors"].sha256, result.scorecard))
    assert digests[0] == digests[1]


def below(parent: int) -> dict[int, str]:
    """Return the names of the processes below one, by number."""
    found: dict[int, str] = {}
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        number = int(stat.parent.name)
        names[number], parents[number] = head.partition("(")[2], int(tail.split()[1])
    open_ = [parent]
    while open_:
        here = open_.pop()
        for number, above in parents.items():
            if above == here:
                found[number] = names[number]
                open_.append(number)
    return found


def with_raylet() -> dict[int, str]:
    """Return the processes below this one, once a cluster is among them."""
    while "raylet" not in (processes := below(os.getpid())).values():
        time.sleep(0.1)
    return processes


def kill_raylet() -> None:
    """Kill the cluster of the job that runs."""
    os.kill(next(number for number, name in with_raylet().items() if name == "raylet"), signal.SIGKILL)


def wait_until_gone(numbers: set[int]) -> None:
    """Wait until these processes have ended."""
    while any(Path(f"/proc/{number}").exists() for number in numbers):
        time.sleep(0.1)


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_cluster_that_dies_is_a_failed_job_and_nothing_more(tmp_path: Path) -> None:
    """Its raylet is killed while the job runs: the job is to be tried again, and this process lives."""
    pytest.importorskip("ray")
    folder, handle = prepared_job(tmp_path / "job")
    run = RayExecutor(None, threads=1).run(folder, handle)
    ended, _ = await asyncio.gather(run, asyncio.to_thread(kill_raylet), return_exceptions=True)
    assert isinstance(ended, JobFailed)
    assert "its process ended with" in str(ended)
    assert read_result(folder) is None


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_job_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    """Driver and cluster go with it."""
    pytest.importorskip("ray")
    folder, handle = prepared_job(tmp_path / "job")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(RayExecutor(None, threads=1).run(folder, handle))
        processes = await asyncio.to_thread(with_raylet)
        running.cancel()
    await asyncio.to_thread(wait_until_gone, set(processes))
