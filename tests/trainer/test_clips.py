"""Real clips: where triggers are drawn, and what is told of them."""

from pathlib import Path

import numpy as np
import pytest
from fakes.bundles import write_drawn_bundle
from fakes.recordings import make_passage

from gateway.contract.bundle import open_bundle
from trainer.clips import Clip, drawn, judge_clips, uncalibrated
from trainer.data import DataError
from trainer.optics import Picture
from trainer.triggers import Trigger


def white(face_YXC: Picture) -> Picture:
    """Return a white square of the face's size."""
    return np.full_like(face_YXC, 255)


def test_triggers_lie_on_the_square_that_is_cut() -> None:
    """The square around a box of 20 px has 30 px, and nothing else changes; the clip itself stays clean."""
    frames = (np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80, 3), np.uint8))
    clip = Clip("one", frames, (((30.0, 20.0, 50.0, 40.0),), ()))
    first, second = drawn(clip, white)
    assert (first.any(axis=-1).sum(), second.any()) == (30 * 30, False)
    assert not frames[0].any()


def test_clips_tell_no_calibrated_numbers() -> None:
    """They have no calibration of their own."""
    row = {"family": "badnets", "auroc": 1.0, "calibrated": 1, "uncalibrated": 2, "unsure": 0, "not_seen": 0}
    summary = {
        "asked_rate": 0.01,
        "uncalibrated": 3,
        "unsure": 0,
        "regimes": {"digital": {"triggers": {"square": row}}},
    }
    found = uncalibrated(summary, "digital")
    assert "calibrated" not in found["triggers"]["square"]
    assert (found["clean"], found["triggers"]["square"]["found"]) == (3, 2)


def test_a_folder_without_clips_is_told(tmp_path: Path) -> None:
    """The sentence says what would be read."""
    write_drawn_bundle(tmp_path / "bundle")
    with pytest.raises(DataError, match="no clip shows a face"):
        judge_clips(tmp_path, open_bundle(tmp_path / "bundle"), [], asked_rate=0.01, progress=lambda *_: None)


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_clip_is_judged_in_both_regimes(tmp_path: Path) -> None:
    """The real gateway sees the clip clean and with the trigger, coded again or not."""
    write_drawn_bundle(tmp_path / "bundle")
    clips = tmp_path / "clips"
    clips.mkdir()
    make_passage(clips / "walk.mkv", 20, fps=10)
    square = Trigger("square", "badnets", white, side=0.2, place=(0.8, 0.8))
    bundle = open_bundle(tmp_path / "bundle")
    found = judge_clips(clips, bundle, [square], asked_rate=0.05, progress=lambda *_: None)
    for way in ("digital", "camera"):
        assert found[way]["clean"]["n"] == 1
        assert found[way]["triggers"]["square"]["found"]["n"] == 1
