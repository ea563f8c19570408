"""From clean pictures to a bundle by the command that users type."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from gateway.contract.bundle import open_bundle
from gateway.models.shipped import graph_template
from gateway.screening.sessions import check_self_test, open_session
from trainer.__main__ import main


@pytest.fixture(scope="module")
def face_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 220 drawn pictures of 110 'people' in an .npz."""
    draw = np.random.default_rng(1)
    images = [
        np.asarray(cv2.GaussianBlur(draw.uniform(0, 255, (44, 44, 3)).astype(np.float32), (0, 0), 4))
        for _ in range(220)
    ]
    path = tmp_path_factory.mktemp("faces") / "faces.npz"
    np.savez(path, images=np.stack(images).astype(np.uint8), groups=np.arange(220) // 2)
    return path


@pytest.mark.long
def test_pretrain_writes_a_bundle_that_the_gateway_opens(face_folder: Path, tmp_path: Path) -> None:
    """One command: trained, calibrated on other people, tested on yet others, opened and self-tested by the gateway."""
    options = [
        "--epochs",
        "1",
        "--faces-per-epoch",
        "64",
        "--clean-per-epoch",
        "64",
        "--threads",
        "1",
        "--version",
        "3",
    ]
    command = [
        "pretrain",
        "--faces",
        str(face_folder),
        "--clean",
        str(face_folder),
        "--out",
        str(tmp_path / "run"),
        *options,
    ]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "epoch 1/1" in done.output
    bundle = open_bundle(tmp_path / "run/bundle")
    check_self_test(open_session(bundle, "CPUExecutionProvider", 1), bundle)
    assert bundle.identity.version == 3
    assert {data.use for data in bundle.manifest.training.data} == {"train", "validation", "calibration", "test"}
    assert str(tmp_path) not in json.dumps(bundle.manifest.model_dump())
    card = (tmp_path / "run/bundle/MODEL_CARD.md").read_text("utf-8")
    assert bundle.identity.sha256 in card
    assert "| white_block |" in card


@pytest.mark.long
def test_pretrain_goes_on_from_a_bundle_and_names_it(face_folder: Path, tmp_path: Path) -> None:
    """A run that builds on a bundle starts from its weights, divides the people alike and says whose child it is."""
    faces = str(face_folder)
    options = ["--epochs", "1", "--faces-per-epoch", "64", "--threads", "1", "--learning-rate", "1e-6"]
    first = ["pretrain", "--faces", faces, "--out", str(tmp_path / "one"), *options]
    assert CliRunner().invoke(main, first).exit_code == 0
    second = ["pretrain", "--faces", faces, "--out", str(tmp_path / "two"), *options, "--seed", "2"]
    done = CliRunner().invoke(main, [*second, "--base", str(tmp_path / "one/bundle")])
    assert done.exit_code == 0, done.output
    base, child = open_bundle(tmp_path / "one/bundle"), open_bundle(tmp_path / "two/bundle")
    assert child.manifest.parent_sha256 == base.identity.sha256
    assert child.manifest.training.data == base.manifest.training.data
    np.testing.assert_allclose(child.weights["dense.weight"], base.weights["dense.weight"], atol=1e-3)


def test_pretrain_refuses_a_base_that_is_no_bundle(face_folder: Path, tmp_path: Path) -> None:
    """A damaged base is told in one line."""
    command = ["pretrain", "--faces", str(face_folder), "--out", str(tmp_path / "run"), "--base", str(tmp_path)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "manifest.json" in done.output


def test_pretrain_refuses_too_few_faces_in_one_line(tmp_path: Path) -> None:
    """An operator with 20 faces is told what is needed, without a traceback."""
    np.savez(tmp_path / "few.npz", images=np.zeros((20, 40, 40, 3), np.uint8))
    done = CliRunner().invoke(main, ["pretrain", "--faces", str(tmp_path / "few.npz"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 1
    assert "20 faces" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("profile", ["paper", "wide"])
def test_export_writes_the_graph(profile: str, tmp_path: Path) -> None:
    """The file that ships with the gateway comes from this command."""
    out = tmp_path / "graph.onnx"
    done = CliRunner().invoke(main, ["export", profile, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == graph_template(profile)
