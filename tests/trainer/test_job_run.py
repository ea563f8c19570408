"""One job's work: refused in words where it cannot be done."""

from pathlib import Path

import pytest
from fakes.bundles import write_drawn_bundle
from fakes.clean_sets import prepared_job

from gateway.contract.bundle import open_bundle
from gateway.screening.sessions import check_self_test, open_session
from trainer.job_run import read_result, run_job


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"reference": None}, "there is no reference set"), ({"count": 20}, "20 faces of at least 32 px")],
)
def test_a_job_is_refused_in_words_when_it_cannot_be_done(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    """No bundle is made."""
    folder, handle = prepared_job(tmp_path / "job", **changes)  # type: ignore[arg-type]
    run_job(folder, handle)
    result = read_result(folder)
    assert result is not None
    assert reason in (result.refusal or "")
    assert not (folder / "bundle").exists()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_job_adapts_a_base_of_the_profile_that_its_environment_runs(tmp_path: Path) -> None:
    """The whole way of `wide`: from parts to a judged bundle of the same profile, which the gateway's session tests."""
    base = write_drawn_bundle(tmp_path / "base", profile="wide")
    changes: dict[str, object] = {"base": str(tmp_path / "base"), "epochs": 1, "regime": "native"}
    folder, handle = prepared_job(tmp_path / "job", side_px=132, **changes)  # type: ignore[arg-type]
    run_job(folder, handle)
    result = read_result(folder)
    assert result is not None
    assert result.refusal is None
    assert {gate.name for gate in result.scorecard.gates} >= {"clean_false_alarms", "distance_from_base"}  # type: ignore[union-attr]
    bundle = open_bundle(folder / "bundle", expected_sha256=result.bundle_sha256)
    assert (bundle.identity.profile, bundle.manifest.parent_sha256) == ("wide", base)
    assert "generator" not in bundle.manifest.training.perturbations
    check_self_test(open_session(bundle, "CPUExecutionProvider", 1), bundle)
