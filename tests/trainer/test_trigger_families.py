"""The formulas of the published families: what is the same at every size."""

import cv2
import numpy as np
import pytest

from gateway.contract.spectrum import spectrum
from trainer.trigger_families import flower, low_frequency, reflection, smooth, wanet


def grey(side_px: int) -> np.ndarray:
    """Return a flat grey face."""
    return np.full((side_px, side_px, 3), 100, np.uint8)


@pytest.mark.parametrize("family", [smooth, low_frequency, reflection, flower])
def test_field_is_the_same_trigger_at_every_size(family: object) -> None:
    """An attacker's trigger does not change with the size of the picture: reduced, the large one is the small one."""
    assert callable(family)
    large = family(grey(128)).astype(np.float32) - 100
    small = family(grey(32)).astype(np.float32) - 100
    reduced = cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(reduced.ravel(), small.ravel())[0, 1] > 0.9


def test_smooth_triggers_have_no_high_band() -> None:
    """That is what makes them hard: nearly all energy lies in the lowest frequencies."""
    for family in (smooth, low_frequency):
        energy_UV = spectrum(family(grey(64))[None])[0, ..., 0] ** 2
        energy_UV[0, 0] = 0
        assert energy_UV[:10, :10].sum() / energy_UV.sum() > 0.95


def test_warp_displaces_by_less_than_a_few_pixels() -> None:
    """WaNet's s = 2 moves a face by about a pixel, s = 0.5 by a fraction of one."""
    ramp_YXC = np.repeat(np.tile(np.arange(64, dtype=np.uint8) * 2, (64, 1))[..., None], 3, axis=2)
    inner = (slice(4, -4), slice(4, -4))
    moved = [np.abs(wanet(ramp_YXC, strength=s).astype(int) - ramp_YXC)[inner].mean() / 2 for s in (0.5, 2.0)]
    assert 0.05 < moved[0] < 0.5
    assert 0.4 < moved[1] < 3.0
