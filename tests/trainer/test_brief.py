"""The brief of an evaluation that ships beside its bundle."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.contract.evaluation import EVALUATION_NAME, Evaluation
from gateway.models.shipped import SHIPPED_SHA256
from trainer.__main__ import main
from trainer.brief import brief
from trainer.record import read_results

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "trainer/results/paper.json"
SHIPPED = ROOT / "gateway/models/paper" / EVALUATION_NAME


@pytest.mark.parametrize("name", sorted(SHIPPED_SHA256))
def test_what_ships_is_drawn_from_the_committed_results(name: str) -> None:
    """Not one figure by hand; `spectragate-trainer report trainer/results/NAME.json --brief` writes it again."""
    results = ROOT / f"trainer/results/{name}.json"
    shipped = Evaluation.model_validate_json((ROOT / "gateway/models" / name / EVALUATION_NAME).read_bytes())
    assert shipped == brief(read_results(results))
    assert shipped.model_sha256 == SHIPPED_SHA256[name]
    assert shipped.results_sha256 == hashlib.sha256(results.read_bytes()).hexdigest()


def test_every_cell_of_the_bundle_is_there_and_no_other() -> None:
    """As it ships and tuned, in each light and regime; detectors of the ablation are no bundle."""
    results = read_results(RESULTS)
    made = brief(results)
    wanted = [cell for cell in results["cells"] if cell["detector"] in {"untuned", results["plan"]}]
    assert len(made.cells) == len(wanted) > 0
    for cell, full in zip(made.cells, wanted, strict=True):
        measures = full["measures"]
        assert (cell.source, cell.environment, cell.regime) == (full["source"], full["environment"], full["regime"])
        assert cell.detector == ("shipped" if full["detector"] == "untuned" else "tuned")
        assert cell.fpr == tuple(round(measures["fpr"][point]["value"], 3) for point in ("10%", "5%", "1%"))
        for name, found in measures["triggers"].items():
            bdr = [found["bdr"][point]["value"] for point in ("10%", "5%", "1%")]
            assert cell.found[name].bdr == tuple(round(value, 3) for value in bdr)
        assert ("gan" in cell.found) == bool(measures["gan"])
    assert list(made.triggers)[:2] == ["badnets_white_square_4x4", "trojan_wm"]
    assert made.triggers["badnets_white_square_4x4"].is_seen
    assert not made.triggers["trojan_wm"].is_seen


def test_report_writes_it_too(tmp_path: Path) -> None:
    """The command by which a release is made."""
    out, made = tmp_path / "report.html", tmp_path / EVALUATION_NAME
    done = CliRunner().invoke(main, ["report", str(RESULTS), "--out", str(out), "--brief", str(made)])
    assert done.exit_code == 0, done.output
    assert json.loads(made.read_text("utf-8")) == json.loads(SHIPPED.read_text("utf-8"))
