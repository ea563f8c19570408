"""The command `pretrain`: what it says and refuses; what it makes is tested beside what makes it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from trainer.chain import CHAINS
from trainer.left_out import GROUPS
from trainer.pretrain_command import CHAIN_NAMES, PROFILE_NAMES, command_line, pretrain
from trainer.recipes import RECIPES


def test_names_are_those_that_there_are() -> None:
    """The help and the library agree, although the help loads none of it."""
    assert set(CHAIN_NAMES) == set(CHAINS)
    assert set(PROFILE_NAMES) == set(RECIPES)


def test_command_line_names_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest tells how to repeat a run, not where somebody keeps their faces."""
    monkeypatch.setattr("sys.argv", ["spectragate-trainer", "pretrain", "--faces", "/home/somebody/faces"])
    assert command_line() == "spectragate-trainer pretrain --faces faces"


def test_wide_refuses_too_few_faces_in_one_line(tmp_path: Path) -> None:
    """An operator is told what is needed, without a traceback."""
    (tmp_path / "faces").mkdir()
    done = CliRunner().invoke(
        pretrain, ["--profile", "wide", "--faces", str(tmp_path / "faces"), "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 1
    assert "holds no picture" in done.output
    assert "Traceback" not in done.output


def test_leaving_out_is_checked_before_anything_is_trained(tmp_path: Path) -> None:
    """A kind that is none, a base that saw it, and a profile that has no library are told in one line."""
    (tmp_path / "faces").mkdir()
    shipped = Path(__file__).parents[2] / "gateway/models/wide"
    wide = ["--faces", str(tmp_path / "faces"), "--out", str(tmp_path / "run"), "--leave-out"]
    for more, message in (
        ([*wide, "glitter", "--profile", "wide"], "--leave-out glitter: there are the kinds"),
        ([*wide, "stickers", "--profile", "wide", "--base", str(shipped)], "--base was trained on white_block"),
        ([*wide, "warp"], "--leave-out is for --profile wide"),
    ):
        done = CliRunner().invoke(pretrain, more)
        assert done.exit_code in (1, 2)
        assert message in done.output
        assert "Traceback" not in done.output


def test_help_names_every_group() -> None:
    """Whoever leaves out need not read the code."""
    words = CliRunner().invoke(pretrain, ["--help"]).output
    assert all(group in words for group in GROUPS)
