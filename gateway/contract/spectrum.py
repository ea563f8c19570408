"""The frequency transform: one definition for trainer, gateway and graph.

N faces, Y/X pixel row/column, U/V vertical/horizontal frequency, C colour (R, G, B).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=8)
def dct_matrix(side_px: int) -> NDArray[np.float32]:
    """Return the orthonormal DCT-II matrix D, shape (S, S) as U Y, so that the spectrum of a plane is D @ plane @ D.T.

    The paper's formula (section IV-A), taken without its missing factor 2 per axis, is this divided by 4; its authors'
    code uses the orthonormal form, and so do we (decision 0001). The array is read-only.
    """
    position_Y = np.arange(side_px, dtype=np.float64) + 0.5
    frequency_U = np.arange(side_px, dtype=np.float64)[:, None]
    matrix_UY = np.sqrt(2.0 / side_px) * np.cos(np.pi / side_px * position_Y * frequency_U)
    matrix_UY[0] = np.sqrt(1.0 / side_px)
    result: NDArray[np.float32] = np.asarray(matrix_UY, dtype=np.float32)
    result.flags.writeable = False
    return result


def spectrum(pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the orthonormal 2-D DCT-II of each colour plane (paper, section IV-A), shape (N, S, S, 3) as N U V C.

    Values are in grey levels: the DC of a white 32 × 32 plane is 8,160.

    Raises:
        ValueError: The planes are not square.
    """
    if pixels_NYXC.ndim != 4 or pixels_NYXC.shape[1] != pixels_NYXC.shape[2]:
        raise ValueError(f"pixels must have shape (N, S, S, C), not {pixels_NYXC.shape}")
    matrix_UY = dct_matrix(pixels_NYXC.shape[1])
    planes_NCYX = pixels_NYXC.transpose(0, 3, 1, 2).astype(np.float32)
    coefficients_NCUV: NDArray[np.float32] = np.asarray(matrix_UY @ planes_NCYX @ matrix_UY.T, dtype=np.float32)
    return coefficients_NCUV.transpose(0, 2, 3, 1)
