"""Which faces cannot be judged."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.contract.quality import LEAST_SHARPNESS, sharpness, unfit


def blurred(sigma_px: float) -> NDArray[np.uint8]:
    """Return noise out of focus, stretched to a face's contrast."""
    noise_YXC = np.random.default_rng(3).normal(0, 1, (128, 128, 3)).astype(np.float32)
    soft_YXC = cv2.GaussianBlur(noise_YXC, (0, 0), sigma_px)
    return np.clip(128 + 40 * soft_YXC / soft_YXC.std(), 0, 255).astype(np.uint8)


def test_sharpness_falls_with_blur_and_not_with_contrast() -> None:
    """The measure follows the lens, not the light."""
    soft = [sharpness(blurred(sigma_px)) for sigma_px in (0.5, 1.0, 2.0, 4.0, 6.0)]
    assert soft == sorted(soft, reverse=True)
    assert soft[2] > LEAST_SHARPNESS > soft[4]
    pixels_YXC = blurred(1.0)
    dim_YXC = (pixels_YXC // 2 + 20).astype(np.uint8)
    assert sharpness(dim_YXC) == pytest.approx(sharpness(pixels_YXC), rel=0.05)
    assert sharpness(np.full((8, 8, 3), 7, np.uint8)) == 0.0


def test_what_shows_nothing_is_flat_before_it_is_blurred() -> None:
    """A covered lens has no edges either; the nearer reason is told."""
    assert unfit(np.full((32, 32, 3), 90, np.uint8)) == "flat"
    assert unfit(blurred(6.0)) == "blurred"
    assert unfit(blurred(1.0)) is None
