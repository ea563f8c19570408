"""`spectragate-trainer finetune`: from a base and clean faces to a bundle that the gateway opens."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes.drawn_faces import drawn_faces, save_index

from gateway.contract.bundle import open_bundle
from gateway.screening.sessions import check_self_test, open_session
from trainer.__main__ import main
from trainer.bundles import find_bundle

OWN = "import numpy as np\n\ndef perturb(picture_YXC, draw):\n    return np.ascontiguousarray(255 - picture_YXC)\n"


def command(tmp_path: Path, clean: Path, *more: str) -> list[str]:
    """Return the command with one built-in and one own family."""
    (tmp_path / "negative.py").write_text(OWN, "utf-8")
    (tmp_path / "perturb.yaml").write_text("families: [white_block, negative]\nown: {negative: negative.py}\n", "utf-8")
    options = ["--epochs", "2", "--threads", "1", "--version", "7", "--environment", "yard"]
    paths = ["--clean", str(clean), "--out", str(tmp_path / "tuned"), "--perturbations", str(tmp_path / "perturb.yaml")]
    return ["finetune", *paths, *options, *more]


@pytest.mark.timeout(120)
def test_finetune_writes_a_bundle_that_the_gateway_opens(tmp_path: Path) -> None:
    """Tuned on some people, calibrated by others, named as the base's child, with the own family in its record."""
    clean = save_index(tmp_path / "faces", drawn_faces(66, per_person=2))
    done = CliRunner().invoke(main, command(tmp_path, clean, "--json"), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    bundle, base = open_bundle(tmp_path / "tuned"), find_bundle("paper")
    check_self_test(open_session(bundle, "CPUExecutionProvider", 1), bundle)
    assert bundle.manifest.parent_sha256 == base.identity.sha256
    assert (bundle.manifest.environment, bundle.identity.version) == ("yard", 7)
    assert bundle.manifest.training.perturbations == ("white_block", "negative")
    assert {data.use for data in bundle.manifest.training.data} == {"train", "calibration"}
    seen = {data.sha256 for data in bundle.manifest.training.data if data.use == "train"}
    assert seen > {data.sha256 for data in base.manifest.training.data if data.use == "train"}
    assert bundle.identity.sha256 in done.stdout
    np.testing.assert_array_equal(bundle.weights["conv1.weight"], base.weights["conv1.weight"])
    assert (bundle.weights["conv6.weight"] != base.weights["conv6.weight"]).any()
    card = (tmp_path / "tuned/MODEL_CARD.md").read_text("utf-8")
    assert "negative" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(
    ("count", "per_person", "message"), [(30, 2, "30 faces of at least 32 px"), (66, 66, "too few people")]
)
def test_finetune_refuses_what_cannot_be_calibrated(tmp_path: Path, count: int, per_person: int, message: str) -> None:
    """Too few faces, or one person alone, are told in one line."""
    clean = save_index(tmp_path / "faces", drawn_faces(count, per_person=per_person))
    done = CliRunner().invoke(main, command(tmp_path, clean))
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "tuned").exists()


def test_finetune_tells_a_broken_perturbation_by_its_name(tmp_path: Path) -> None:
    """An operator's function that returns no picture is named."""
    clean = save_index(tmp_path / "faces", drawn_faces(66))
    arguments = command(tmp_path, clean)
    (tmp_path / "negative.py").write_text("def perturb(picture, draw):\n    return None\n", "utf-8")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "negative: returned NoneType" in done.output
