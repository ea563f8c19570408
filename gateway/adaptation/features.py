"""What is measured of a face to tell whether a camera's pictures have changed: energies of frequencies, and four words.

The detector judges spectra, so drift is sought in spectra. Nothing here can be turned back into a face.

N faces, Y/X pixel row/column, U/V vertical/horizontal frequency, B band, F feature.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gateway.contract.spectrum import dct_matrix

# Edges of the bands as shares of the side; a band holds the frequencies whose larger index lies in it.
_EDGES = (1 / 32, 2 / 32, 3 / 32, 5 / 32, 8 / 32, 12 / 32, 16 / 32, 20 / 32, 24 / 32, 28 / 32, 1.0)
BANDS = len(_EDGES) - 1
_MIDDLE, _HIGH = slice(2, 4), slice(6, BANDS)
_LUMA_C = np.array([0.299, 0.587, 0.114], np.float32)
_LEAST_ENERGY = 1e-2  # below the noise of rounding to whole grey levels

SCALARS = ("brightness", "blur", "high_band", "score")
"""Brightness in grey levels; blur as what the middle frequencies have more than the high ones, and the energy of the
high ones, both in natural logarithms; the detector's logit margin."""

FEATURES = BANDS + 1


@lru_cache(maxsize=8)
def _band_of(side_px: int) -> NDArray[np.intp]:
    """Return the band of every coefficient, shape (S, S), -1 for the constant one."""
    index_U = np.arange(side_px)
    larger_UV = np.maximum(index_U[:, None], index_U[None, :]) / side_px
    return np.asarray(np.searchsorted(_EDGES, larger_UV, side="right") - 1, dtype=np.intp)


def frequency_features(pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (N, FEATURES): the mean grey level and the logarithm of the mean energy of each band."""
    side_px = pixels_NYXC.shape[1]
    luma_NYX = pixels_NYXC.astype(np.float32) @ _LUMA_C
    matrix_UY = dct_matrix(side_px)
    energy_NUV = np.square(matrix_UY @ luma_NYX @ matrix_UY.T)
    bands_UV = _band_of(side_px)
    energies_NB = np.stack([energy_NUV[:, bands_UV == band].mean(axis=1) for band in range(BANDS)], axis=1)
    logs_NB = np.log(energies_NB + _LEAST_ENERGY)
    return np.concatenate([luma_NYX.mean(axis=(1, 2))[:, None], logs_NB], axis=1).astype(np.float64)


def scalars(features_F: NDArray[np.float64], score: float) -> NDArray[np.float64]:
    """Return what `SCALARS` names of one sample."""
    logs_B = features_F[1:]
    high = float(logs_B[_HIGH].mean())
    return np.array([features_F[0], float(logs_B[_MIDDLE].mean()) - high, high, score])
