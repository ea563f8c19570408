"""One job's work: robust, judged, refused in words, and the same wherever it runs."""

from pathlib import Path

import pytest
from fakes.clean_sets import drawn_set, service_config

from gateway.contract.bundle import open_bundle
from trainer.executor import Executor, JobFailed, LocalExecutor
from trainer.job_run import Order, read_result, run_job


def prepared(folder: Path, *, count: int = 80, **changes: object) -> Path:
    """Return a job's folder."""
    config = service_config(folder.parent)
    clean_set, contents = drawn_set(count=count)
    order = Order(
        clean_set=clean_set,
        base="paper",
        reference=str(config.reference),
        version=3,
        created="2026-11-25",
        faces=500,
        epochs=2,
        threads=1,
        regime="authors",
    ).model_copy(update=changes)
    (folder / "parts").mkdir(parents=True)
    for sha256, content in contents.items():
        (folder / "parts" / sha256).write_bytes(content)
    (folder / "order.json").write_text(order.model_dump_json(), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"reference": None}, "there is no reference set"), ({"count": 20}, "20 faces of at least 32 px")],
)
def test_a_job_is_refused_in_words_when_it_cannot_be_done(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    """No bundle is made."""
    folder = prepared(tmp_path / "job", **changes)  # type: ignore[arg-type]
    run_job(folder)
    result = read_result(folder)
    assert result is not None
    assert reason in (result.refusal or "")
    assert not (folder / "bundle").exists()


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_job_has_the_same_result_in_a_process_and_on_ray(tmp_path: Path) -> None:
    """Weights and scorecard agree; all four gates are there but the audit, for nothing was held back."""
    from trainer.ray_executor import RayExecutor

    digests = []
    executors: list[tuple[str, Executor]] = [("a", LocalExecutor()), ("b", RayExecutor(None, threads=1))]
    for name, executor in executors:
        folder = prepared(tmp_path / name / "job")
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


@pytest.mark.timeout(120)
async def test_a_process_that_falls_over_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    """An empty folder is no job."""
    with pytest.raises(JobFailed, match=r"ended with 1: .*order\.json"):
        await LocalExecutor().run(tmp_path)
