"""The gateway as the trainer runs it: a program that answers in JSON lines."""

from pathlib import Path

import numpy as np
import pytest
from fakes.bundles import write_drawn_bundle
from fakes.recordings import background, make_passage, make_picture, with_face

from trainer.gateway_replay import Replay, ReplayError, faces_in, replay


def test_what_the_gateway_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    """No bundle there: the gateway's own sentence comes back."""
    with pytest.raises(ReplayError, match=r"exit code 78.*nothing"):
        replay([tmp_path / "a.mkv"], Replay(tmp_path / "nothing", 0.01), folder=tmp_path)


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
def test_verdicts_and_boxes_come_back(tmp_path: Path) -> None:
    """One person in a real recording and in a picture."""
    write_drawn_bundle(tmp_path / "bundle")
    make_passage(tmp_path / "walk.mkv", 10)
    how = Replay(tmp_path / "bundle", 0.05, (), (tmp_path / "walk.mkv",))
    (verdict,) = replay([tmp_path / "walk.mkv"], how, folder=tmp_path)
    assert verdict.data.camera == "walk"
    assert verdict.data.frames_seen == 10
    picture = with_face(background(), centre=(0.5, 0.5))
    (face,) = faces_in([make_picture(tmp_path / "one.png", np.asarray(picture))], bundle=tmp_path / "bundle")
    assert Path(face["file"]).name == "one.png"
    assert face["box"][0] < 307 < face["box"][2]
