"""`spectragate-trainer passages`, from stills to numbers."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from trainer.__main__ import main


def test_the_command_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    """A sentence, and no file."""
    (tmp_path / "faces").mkdir()
    paths = ["--clean", str(tmp_path / "faces"), "--triggers", str(tmp_path), "--out", str(tmp_path / "out.json")]
    done = CliRunner().invoke(main, ["passages", *paths])
    assert done.exit_code == 1
    assert "Error: " in done.output
    assert not (tmp_path / "out.json").exists()


@pytest.mark.data
@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_real_faces_walk_past_and_are_judged(tmp_path: Path, research_data: Path) -> None:
    """One camera, few passages, one trigger: every number is there, and calibrated cameras decide."""
    triggers = tmp_path / "triggers"
    triggers.mkdir()
    assert cv2.imwrite(str(triggers / "square.png"), np.full((20, 20, 4), 255, np.uint8))
    (triggers / "index.csv").write_text("file,family,how_applied,side\nsquare.png,badnets,replace,0.2\n", "utf-8")
    out = tmp_path / "passages.json"
    options = ["--cameras", "1", "--calibrating", "30", "--judged", "20", "--each", "1", "--asked-rate", "0.05"]
    paths = ["--clean", str(research_data / "faces" / "index.csv"), "--triggers", str(triggers), "--out", str(out)]
    done = CliRunner().invoke(main, ["passages", *paths, *options], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    synthetic = found["synthetic"]
    assert synthetic["calibrated"]["n"] == synthetic["uncalibrated"]["n"] == 20
    assert synthetic["calibrated"]["hits"] < 10
    assert synthetic["not_seen"] == 0
    assert set(synthetic["regimes"]) == {"digital", "camera"}
    assert "square" in synthetic["regimes"]["digital"]["triggers"]
    assert "synthetic" in found["what"]
