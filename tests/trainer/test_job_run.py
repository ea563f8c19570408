"""One job's work: refused in words where it cannot be done."""

from pathlib import Path

import pytest
from fakes.clean_sets import prepared_job

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
