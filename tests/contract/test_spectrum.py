"""The frequency transform against its definition and against SciPy."""

import numpy as np
import pytest
from scipy.fft import dctn

from gateway.contract.spectrum import dct_matrix, spectrum


@pytest.mark.parametrize("side_px", [8, 32, 128])
def test_spectrum_equals_scipys_orthonormal_dct(side_px: int) -> None:
    """Trainer, gateway and graph share one transform: the type-II orthonormal DCT that SciPy computes."""
    pixels_NYXC = np.random.default_rng(1).integers(0, 256, (3, side_px, side_px, 3), dtype=np.uint8)
    expected = dctn(pixels_NYXC.astype(np.float64), type=2, axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(spectrum(pixels_NYXC), expected, atol=2e-2 * side_px / 32)


def test_spectrum_is_four_times_the_papers_formula_read_literally() -> None:
    """Section IV-A without its missing factor 2 per axis is a quarter of the orthonormal transform."""
    n = 32
    picture_YX = np.random.default_rng(2).integers(0, 256, (n, n)).astype(np.float64)
    frequency, position = np.arange(n)[:, None], np.arange(n)[None, :]
    basis = np.cos(np.pi / n * (position + 0.5) * frequency) * np.where(
        frequency == 0, np.sqrt(1 / (4 * n)), np.sqrt(1 / (2 * n))
    )
    literal = basis @ picture_YX @ basis.T
    pixels_NYXC = np.repeat(picture_YX.astype(np.uint8)[None, :, :, None], 3, axis=3)
    np.testing.assert_allclose(4 * literal, spectrum(pixels_NYXC)[0, :, :, 0], atol=2e-2)


def test_white_picture_has_all_its_energy_in_the_dc() -> None:
    """The DC of a white 32 × 32 plane is 8,160 grey levels, everything else nothing."""
    result = spectrum(np.full((1, 32, 32, 3), 255, np.uint8))
    assert result[0, 0, 0] == pytest.approx([8160.0] * 3, rel=1e-6)
    result[0, 0, 0] = 0
    assert np.abs(result).max() < 0.01


def test_dct_matrix_is_orthonormal_and_read_only() -> None:
    """The transform keeps energy, and nobody can change the shared matrix."""
    matrix_UY = dct_matrix(32)
    np.testing.assert_allclose(matrix_UY @ matrix_UY.T, np.eye(32), atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        matrix_UY[0, 0] = 1


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 32, 31, 3)])
def test_spectrum_refuses_pictures_that_are_not_square(shape: tuple[int, ...]) -> None:
    """A wrong shape is told, not broadcast."""
    with pytest.raises(ValueError, match="must have shape"):
        spectrum(np.zeros(shape, np.uint8))
