"""The constants of the profile `wide`."""

import numpy as np
import pytest

from gateway.contract.network import PROFILES
from gateway.contract.wide import ACROSS_MAPS, DOWN_MAPS, MAPS, constants


def test_constants_cannot_be_changed() -> None:
    """Sessions read them in place: a write would change every detector of the process."""
    for name, array in constants().items():
        assert array.dtype == np.float32, name
        assert array.flags.c_contiguous, name
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_residuals_are_high_pass() -> None:
    """No filter sees a flat face, and those that are named differences are such; the third is a Laplacian."""
    kernels = constants()["residuals"]
    assert kernels.shape == (MAPS, 3, 5, 5)
    np.testing.assert_allclose(kernels.sum(axis=(2, 3)), 0, atol=1e-6)
    grey = kernels.sum(axis=1)
    assert grey[ACROSS_MAPS[0], 2].tolist() == pytest.approx([0, 0, -1, 1, 0], abs=1e-6)
    assert grey[DOWN_MAPS[0], :, 2].tolist() == pytest.approx([0, 0, -1, 1, 0], abs=1e-6)
    assert grey[2, 2, 2] == pytest.approx(-1)
    # Grey has no chroma, so filters of Cb and Cr see nothing of it.
    np.testing.assert_allclose(grey[[ACROSS_MAPS[1], DOWN_MAPS[2]]], 0, atol=1e-6)


def test_blocks_are_an_orthonormal_transform() -> None:
    """The kernels of luma, undone by its weights, are the 8 × 8 DCT."""
    luma = constants()["blocks"][:64].sum(axis=1).reshape(64, 64)
    np.testing.assert_allclose(luma @ luma.T, np.eye(64), atol=1e-5)


def test_profile_fits_the_constants() -> None:
    """The side is the spectrum's."""
    assert constants()["dct"].shape == (PROFILES["wide"].side_px,) * 2
