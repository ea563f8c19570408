"""An operator's file of perturbations: read, refused, and run."""

from pathlib import Path

import numpy as np
import pytest

from trainer.perturb import ALL_FAMILIES, PerturbationError, Perturber
from trainer.perturb_file import read_perturb_file

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "gateway/decisions/0015-perturbations-of-an-operators-own.md"


def write(folder: Path, text: str, code: str | None = None) -> Path:
    """Write the YAML file, and the Python file beside it."""
    if code is not None:
        (folder / "moire.py").write_text(code, encoding="utf-8")
    (folder / "perturbations.yaml").write_text(text, encoding="utf-8")
    return folder / "perturbations.yaml"


def test_example_of_the_decision_record_works(tmp_path: Path) -> None:
    """What the documentation shows can be copied: the file is read and its family perturbs."""
    blocks = RECORD.read_text("utf-8").split("```")
    (text,) = [block.removeprefix("yaml\n") for block in blocks if block.startswith("yaml")]
    (code,) = [block.removeprefix("python\n") for block in blocks if block.startswith("python")]
    settings = read_perturb_file(write(tmp_path, text, code))
    assert settings.families == (*ALL_FAMILIES, "moire")
    assert settings.ranges.blend_opacity == (0.1, 0.3)
    grey_YXC = np.full((48, 48, 3), 128, np.uint8)
    perturber = Perturber(lambda: grey_YXC, families=("moire",), own=settings.own)
    changed_YXC, name = perturber.perturb(grey_YXC, np.random.default_rng(1))
    assert name == "moire"
    assert changed_YXC.std() > 2


def test_empty_file_means_the_papers_six(tmp_path: Path) -> None:
    """What is not said keeps its default."""
    assert read_perturb_file(write(tmp_path, "")).families == ALL_FAMILIES


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("familys: [shadow]", None, "must hold the keys"),
        ("[1, 2]", None, "must hold the keys"),
        ("families: [shadows]", None, "a list of these is needed"),
        ("families: shadow", None, "a list of these is needed"),
        ("ranges: {opacity: [0, 1]}", None, "known are block_side"),
        ("ranges: {blend_opacity: [0.3, 0.1]}", None, r"blend_opacity: \[0.3, 0.1\]"),
        ("ranges: {blend_added_share: 2}", None, "a share of 0 to 1"),
        ("own: {moire: missing.py}", None, "no such Python file"),
        ("own: {shadow: moire.py}", "def perturb(p, d): return p", "built-in family"),
        ("own: [moire.py]", None, "must map a name"),
        ("own: {moire: moire.py}", "x = 1", "holds no function"),
        ("own: {moire: moire.py}", "import no_such_module", "ModuleNotFoundError"),
        ("own: {moire: moire.py}", "def perturb(:", "SyntaxError"),
        ("a: [", None, "cannot be read as YAML"),
    ],
)
def test_broken_file_is_told_in_words(tmp_path: Path, text: str, code: str | None, message: str) -> None:
    """Every mistake names the file and what is needed."""
    with pytest.raises(PerturbationError, match=message):
        read_perturb_file(write(tmp_path, text, code))


def test_missing_file_is_told(tmp_path: Path) -> None:
    """A path that leads nowhere is an error, not a default."""
    with pytest.raises(PerturbationError, match="nowhere"):
        read_perturb_file(tmp_path / "nowhere.yaml")
