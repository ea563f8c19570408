"""From crops to the detector's input."""

import cv2
import numpy as np
import pytest

from gateway.contract.geometry import reduce_to
from gateway.contract.network import PROFILES
from gateway.screening.screen import prepare
from gateway.values import FaceBox, FaceCrop, Quality

PAPER = PROFILES["paper"]


def crop(side_px: int, *, square_px: int | None = None, grey: int | None = None) -> FaceCrop:
    """Return a crop of noise, or of one grey."""
    draw = np.random.default_rng(side_px)
    pixels_YXC = draw.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    if grey is not None:
        pixels_YXC[:] = grey
    return FaceCrop("lobby", 1, 0.0, FaceBox(0, 0, side_px, side_px, 1.0), pixels_YXC, square_px or side_px)


def test_prepare_reduces_by_the_contracts_filter() -> None:
    """Screening sees what training saw: the same function, not a lookalike."""
    crops = [crop(100), crop(32), crop(256, square_px=700)]
    pixels_NYXC, qualities = prepare(crops, PAPER)
    for picture_YXC, face in zip(pixels_NYXC, crops, strict=True):
        np.testing.assert_array_equal(picture_YXC, reduce_to(face.pixels_YXC, 32))
    assert qualities == (Quality.USABLE,) * 3


@pytest.mark.parametrize(
    ("face", "quality"),
    [
        (crop(31), Quality.TOO_SMALL),
        (crop(1), Quality.TOO_SMALL),
        (crop(64, square_px=20), Quality.TOO_SMALL),
        (crop(64, grey=0), Quality.FLAT),
        (crop(64, grey=255), Quality.FLAT),
        (crop(32), Quality.USABLE),
    ],
)
def test_prepare_says_which_faces_cannot_be_judged(face: FaceCrop, quality: Quality) -> None:
    """Too few pixels of the camera's own, or nothing in them: a score comes, and a warning not to believe it."""
    pixels_NYXC, qualities = prepare([face], PAPER)
    assert pixels_NYXC.shape == (1, 32, 32, 3)
    assert qualities == (quality,)


def test_prepare_of_nobody_is_empty() -> None:
    """An empty batch is no special case for the caller."""
    pixels_NYXC, qualities = prepare([], PAPER)
    assert pixels_NYXC.shape == (0, 32, 32, 3)
    assert qualities == ()


def blurred(sigma_px: float, *, side_px: int = 128) -> FaceCrop:
    """Return a crop of noise out of focus, stretched to a face's contrast."""
    noise_YXC = np.random.default_rng(3).normal(0, 1, (side_px, side_px, 3)).astype(np.float32)
    soft_YXC = cv2.GaussianBlur(noise_YXC, (0, 0), sigma_px)
    pixels_YXC = np.clip(128 + 40 * soft_YXC / soft_YXC.std(), 0, 255).astype(np.uint8)
    return FaceCrop("lobby", 1, 0.0, FaceBox(0, 0, side_px, side_px, 1.0), pixels_YXC, side_px)


@pytest.mark.parametrize(
    ("sigma_px", "quality"), [(1.0, Quality.USABLE), (4.0, Quality.USABLE), (24.0, Quality.BLURRED)]
)
def test_faces_out_of_focus_cannot_be_judged(sigma_px: float, quality: Quality) -> None:
    """What counts is what the detector sees: 4 px of 128 is one of its 32, and 24 are six."""
    assert prepare([blurred(sigma_px)], PAPER)[1] == (quality,)
