"""`spectragate-trainer evaluate` and `report`, as users type them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from fakes.drawn_faces import drawn_faces, save_index

from trainer.__main__ import ENVIRONMENT_NAMES, PLAN_NAMES, REGIME_NAMES, main
from trainer.environments import ENVIRONMENTS, REGIMES
from trainer.finetune import PLANS

QUICK = ("--draws", "1", "--threads", "1")


@pytest.fixture
def triggers(tmp_path: Path) -> Path:
    """Return a folder with a sticker and two edited faces."""
    folder = tmp_path / "triggers"
    folder.mkdir()
    sticker = np.zeros((32, 32, 4), np.uint8)
    sticker[2:10, 2:10] = 255
    assert cv2.imwrite(str(folder / "sticker.png"), sticker)
    for index, face_YXC in enumerate(drawn_faces(4, side_px=48, seed=9).pixels):
        assert cv2.imwrite(str(folder / f"gan{index}.png"), face_YXC)
    (folder / "index.csv").write_text("file,family,how_applied\nsticker.png,badnets,replace\n", "utf-8")
    kinds = "gan0.png,input,0\ngan1.png,edit1,0\ngan2.png,input,1\ngan3.png,edit1,1\n"
    (folder / "gan_index.csv").write_text(f"file,kind,row\n{kinds}", "utf-8")
    return folder


def command(tmp_path: Path, triggers: Path, clean: Path, *more: str) -> list[str]:
    """Return the command on few cells and one quick family."""
    (tmp_path / "perturb.yaml").write_text("families: [white_block]\n", "utf-8")
    narrow = [
        "--environments",
        "original",
        "--regimes",
        "authors",
        "--plans",
        "fc",
        "--plans",
        "last2",
        "--threads",
        "1",
    ]
    paths = ["--clean", str(clean), "--triggers", str(triggers), "--out", str(tmp_path / "report")]
    return [
        "evaluate",
        *paths,
        "--perturbations",
        str(tmp_path / "perturb.yaml"),
        "--draws",
        "1",
        "--threads",
        "1",
        *narrow,
        *more,
    ]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_evaluate_writes_report_numbers_and_table(tmp_path: Path, triggers: Path) -> None:
    """One command gives the page, the JSON and the CSV; a second one reads the scores and gives the same bytes."""
    clean = save_index(tmp_path / "faces", drawn_faces(300, per_person=2))
    done = CliRunner().invoke(main, command(tmp_path, triggers, clean, "--json"), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["cells compared with the paper"] == 4
    page, numbers = (tmp_path / "report/index.html").read_text("utf-8"), tmp_path / "report/results.json"
    results = json.loads(numbers.read_text("utf-8"))
    assert str(tmp_path) not in numbers.read_text("utf-8")
    assert {cell["detector"] for cell in results["cells"]} == {"untuned", "last2", "autoencoder", "fc"}
    assert "data:image/png" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "sticker" in (tmp_path / "report/results.csv").read_text("utf-8")
    before = numbers.read_bytes()
    assert CliRunner().invoke(main, command(tmp_path, triggers, clean, "--json")).exit_code == 0
    assert numbers.read_bytes() == before
    drawn = CliRunner().invoke(main, ["report", str(numbers), "--out", str(tmp_path / "again.html")])
    assert drawn.exit_code == 0, drawn.output
    assert "Figure 2" not in (tmp_path / "again.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--central", "2"], "a share of more than 0"),
        (["--central", "lfw=0.68"], "--central names lfw; the sources are drawn"),
        (["--bundle", "nothing"], "neither a bundle's folder"),
    ],
)
def test_evaluate_tells_mistakes_in_one_line(tmp_path: Path, triggers: Path, more: list[str], message: str) -> None:
    """Before anything is computed, and without a traceback."""
    clean = save_index(tmp_path / "faces", drawn_faces(120))
    done = CliRunner().invoke(main, command(tmp_path, triggers, clean, *more))
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output


def test_evaluate_refuses_a_folder_that_holds_other_things(tmp_path: Path, triggers: Path) -> None:
    """A report never lands among somebody's files."""
    clean = save_index(tmp_path / "faces", drawn_faces(120))
    (tmp_path / "report").mkdir()
    (tmp_path / "report/letter.txt").write_text("dear", "utf-8")
    done = CliRunner().invoke(main, command(tmp_path, triggers, clean))
    assert done.exit_code == 1
    assert "holds other things" in done.output


def test_report_refuses_what_are_no_results(tmp_path: Path) -> None:
    """A wrong file is told in one line."""
    (tmp_path / "x.json").write_text("{}", "utf-8")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "x.json"), "--out", str(tmp_path / "x.html")])
    assert done.exit_code == 1
    assert "not the results" in done.output


def test_names_of_the_command_are_those_of_the_parts() -> None:
    """The command lists its choices without loading what makes them; they must not drift apart."""
    assert tuple(PLANS) == PLAN_NAMES
    assert tuple(REGIMES) == REGIME_NAMES
    assert tuple(ENVIRONMENTS) == ENVIRONMENT_NAMES
