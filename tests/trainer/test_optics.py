"""What happens to every picture alike: coding, motion, rounding."""

import numpy as np
import pytest

from trainer.optics import Picture, coded, motion_blurred, resized, rounded


def gradient(side_px: int = 120) -> Picture:
    """Return a smooth gradient with some texture."""
    slope = np.add.outer(np.arange(side_px), np.arange(side_px)) * (120 / side_px)
    noise = np.random.default_rng(1).uniform(0, 60, (side_px, side_px, 3))
    return (slope[..., None] + noise).astype(np.uint8)


def test_coded_is_a_jpeg_round_trip() -> None:
    """Lower quality loses more, and colours keep their order."""
    picture_YXC = gradient()
    errors = [np.abs(coded(picture_YXC, quality).astype(int) - picture_YXC).mean() for quality in (95, 60, 20)]
    assert errors == sorted(errors)
    red_YXC = np.zeros((32, 32, 3), np.uint8)
    red_YXC[..., 0] = 200
    assert coded(red_YXC, 90)[..., 0].mean() > 180


def test_motion_blur_smears_along_its_line_and_keeps_brightness() -> None:
    """A horizontal smear leaves horizontal stripes alone and flattens vertical ones."""
    stripes_YX = np.tile([0.0, 255.0], (64, 32)).astype(np.float32)
    flat = motion_blurred(np.repeat(stripes_YX[..., None], 3, -1), length_px=9, angle_rad=0.0)
    kept = motion_blurred(np.repeat(stripes_YX.T[..., None], 3, -1), length_px=9, angle_rad=0.0)
    assert flat.std() < 20
    assert kept.std() > 120
    assert flat.mean() == pytest.approx(127.5, abs=2)


def test_rounding_goes_to_the_nearest_grey_level() -> None:
    """Truncation would mark every picture that was computed on."""
    assert rounded(np.array([-3.0, 0.6, 99.4, 300.0], np.float32)).tolist() == [0, 1, 99, 255]


def test_what_is_laid_on_faces_takes_any_side() -> None:
    """Triggers and blended pictures grow and shrink; at their own side they stay to the bit."""
    assert resized(gradient(), 32).shape == (32, 32, 3)
    assert resized(gradient(), 160).shape == (160, 160, 3)
    np.testing.assert_array_equal(resized(gradient(), 120), gradient())
