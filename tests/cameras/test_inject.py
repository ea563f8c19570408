"""Triggers drawn onto faces."""

from pathlib import Path

import numpy as np
import pytest
from fakes.recordings import make_picture

from gateway.cameras.inject import TriggerPainter
from gateway.cameras.jobs import Injection
from gateway.errors import ConfigError
from gateway.values import FaceBox

BOX = FaceBox(20, 40, 60, 100, 0.9)
GREY = np.full((120, 100, 3), 100, np.uint8)
RED = np.broadcast_to(np.array([200, 0, 0], np.uint8), (10, 10, 3)).copy()


def test_a_trigger_covers_its_place_when_it_is_opaque(tmp_path: Path) -> None:
    """Centre, width and colour are those asked for, and nothing else changes."""
    trigger = make_picture(tmp_path / "red.png", RED)
    painted_HWC = TriggerPainter(Injection(trigger, place=(0.5, 0.25), size=0.5)).draw(GREY, [BOX])
    expected_HWC = GREY.copy()
    expected_HWC[45:65, 30:50] = (200, 0, 0)
    np.testing.assert_array_equal(painted_HWC, expected_HWC)


def test_the_clean_picture_is_left_alone_when_a_trigger_is_drawn(tmp_path: Path) -> None:
    """The finder's picture may be used again."""
    before_HWC = GREY.copy()
    painter = TriggerPainter(Injection(make_picture(tmp_path / "red.png", RED)))
    assert painter.draw(GREY, [BOX]) is not GREY
    assert painter.draw(GREY, []) is GREY
    np.testing.assert_array_equal(GREY, before_HWC)


def test_colours_mix_when_the_opacity_is_low(tmp_path: Path) -> None:
    """Blending weighs trigger and face by the opacity."""
    trigger = make_picture(tmp_path / "red.png", RED)
    painted_HWC = TriggerPainter(Injection(trigger, size=0.5, opacity=0.25)).draw(GREY, [BOX])
    assert painted_HWC[70, 40].tolist() == [125, 75, 75]


def test_colours_add_up_when_the_mode_is_add(tmp_path: Path) -> None:
    """Adding clips at white, as the paper's authors apply their files."""
    trigger = make_picture(tmp_path / "red.png", RED)
    painted_HWC = TriggerPainter(Injection(trigger, size=0.5, mode="add")).draw(GREY, [BOX])
    assert painted_HWC[70, 40].tolist() == [255, 100, 100]


@pytest.mark.parametrize("mode", ["blend", "add"])
def test_a_transparent_pixel_leaves_the_face_alone(tmp_path: Path, mode: str) -> None:
    """Only the opaque half is drawn, and what hides under transparency does not bleed into it."""
    sticker_HWA = np.zeros((10, 10, 4), np.uint8)
    sticker_HWA[:, :, 1] = 255
    sticker_HWA[:, :5] = (200, 0, 0, 255)
    trigger = make_picture(tmp_path / "sticker.png", sticker_HWA)
    painted_HWC = TriggerPainter(Injection(trigger, size=0.125, mode=mode)).draw(GREY, [BOX])
    drawn_YXC = painted_HWC[68:73, 38:43].astype(int)
    assert (drawn_YXC[:, :, 1] <= 100).all()
    assert (drawn_YXC[:, 0, 0] > 150).all()
    assert (drawn_YXC[:, -1] == 100).all()


def test_a_trigger_is_cut_off_when_it_leaves_the_picture(tmp_path: Path) -> None:
    """Borders clip the trigger; one that lies outside altogether changes nothing."""
    trigger = make_picture(tmp_path / "red.png", RED)
    corner = TriggerPainter(Injection(trigger, place=(0.0, 0.0), size=1.0)).draw(GREY, [FaceBox(0, 0, 40, 40, 0.9)])
    assert (corner[:20, :20] == (200, 0, 0)).all()
    assert (corner[20:] == 100).all()
    outside = TriggerPainter(Injection(trigger, place=(-2.0, 0.5), size=0.5)).draw(GREY, [BOX])
    np.testing.assert_array_equal(outside, GREY)


def test_a_trigger_keeps_its_proportions_and_follows_every_face(tmp_path: Path) -> None:
    """A wide trigger stays wide, and each face gets one of its own size."""
    trigger = make_picture(tmp_path / "wide.png", np.ascontiguousarray(RED[:5]))
    faces = [FaceBox(0, 0, 40, 40, 0.9), FaceBox(50, 60, 70, 80, 0.9)]
    painted_HWC = TriggerPainter(Injection(trigger, size=1.0)).draw(GREY, faces)
    assert (painted_HWC[:, :, 0] == 200).sum() == 40 * 20 + 20 * 10


@pytest.mark.parametrize("kind", ["grey", "sixteen bits", "jpeg"])
def test_a_trigger_is_read_when_it_is_of_another_kind(tmp_path: Path, kind: str) -> None:
    """Grey, 16-bit and JPEG pictures are triggers too."""
    pictures = {
        "grey": make_picture(tmp_path / "t.png", np.full((8, 8), 200, np.uint8)),
        "sixteen bits": make_picture(tmp_path / "t16.png", np.full((8, 8, 3), 200 * 257, np.uint16)),
        "jpeg": make_picture(tmp_path / "t.jpg", np.full((8, 8, 3), 200, np.uint8)),
    }
    painted_HWC = TriggerPainter(Injection(pictures[kind], size=0.5)).draw(GREY, [BOX])
    assert abs(painted_HWC[70, 40].astype(int) - 200).max() <= 1


@pytest.mark.parametrize("content", [None, b"", b"not a picture"])
def test_a_trigger_is_refused_when_it_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """The operator is told the path."""
    path = tmp_path / "trigger.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"trigger\.png: this trigger picture cannot be read"):
        TriggerPainter(Injection(path))
