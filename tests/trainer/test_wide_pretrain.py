"""The command that makes a `wide` bundle, end to end on drawn faces."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from gateway.contract.bundle import open_bundle
from gateway.screening.sessions import CPU, check_self_test, open_session
from trainer import wide_train
from trainer.__main__ import main
from trainer.upsampling import GeneratorSettings


@pytest.mark.long
@pytest.mark.timeout(900)
def test_command_writes_a_bundle_that_the_gateway_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder of faces to weights that do in onnxruntime what they did in torch; the next run goes on from it."""
    monkeypatch.setattr(wide_train, "STAND_INS", (GeneratorSettings(steps=4, channels=(4, 8)),))
    for person in range(100):
        draw = np.random.default_rng(person)
        folder = tmp_path / "faces" / f"person {person:03d}"
        folder.mkdir(parents=True)
        for number in range(3):
            coarse = cv2.resize(draw.uniform(20, 230, (20, 20, 3)), (140, 140), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / f"{number}.png"), np.clip(coarse, 0, 255).astype(np.uint8))
    command = ["pretrain", "--profile", "wide", "--faces", str(tmp_path / "faces"), "--pairs", "128", "--epochs", "1"]
    done = CliRunner().invoke(main, [*command, "--leave-out", "generator", "--out", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    bundle = open_bundle(tmp_path / "one" / "bundle")
    assert bundle.profile.name == "wide"
    assert "generator" not in bundle.manifest.training.perturbations
    check_self_test(open_session(bundle, CPU, 1), bundle)
    card = (tmp_path / "one" / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "patch, D" in card
    base = ["--base", str(tmp_path / "one" / "bundle"), "--leave-out", "generator", "--out", str(tmp_path / "two")]
    done = CliRunner().invoke(main, [*command, *base])
    assert done.exit_code == 0, done.output
    child = open_bundle(tmp_path / "two" / "bundle")
    assert child.manifest.parent_sha256 == bundle.identity.sha256
    np.testing.assert_array_equal(child.weights["features_mean"], bundle.weights["features_mean"])
