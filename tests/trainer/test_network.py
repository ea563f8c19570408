"""What all detectors share: weights out and in, whatever the profile."""

import numpy as np
import pytest
from fakes.bundles import drawn_detector, drawn_wide

from gateway.contract.network import PROFILES
from trainer.network import Network, export_weights, load_weights, score_pixels
from trainer.wide_model import WideDetector


@pytest.mark.parametrize("detector", [drawn_detector(1), drawn_wide()], ids=["paper", "wide"])
def test_score_is_the_logit_margin(detector: Network) -> None:
    """Also in parts, and in the middle of training."""
    side_px = detector.profile.side_px
    pixels_NYXC = np.random.default_rng(3).integers(0, 256, (5, side_px, side_px, 3), dtype=np.uint8)
    whole = score_pixels(detector, pixels_NYXC)
    detector.train()
    np.testing.assert_allclose(score_pixels(detector, pixels_NYXC, batch=2), whole, atol=1e-4)
    assert detector.training


def test_weights_survive_the_way_out_and_in() -> None:
    """What is exported is what was loaded, the standardisation included."""
    weights, other = export_weights(drawn_wide()), WideDetector(PROFILES["wide"])
    load_weights(other, weights)
    for name, values in export_weights(other).items():
        np.testing.assert_array_equal(values, weights[name])
