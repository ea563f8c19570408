"""What the profile `wide` computes before anything is learnt: the constant parts of its graph, as numbers.

The trainer builds its network from these arrays and the gateway gives the same ones to the graph, so that both see the
same face in the same ways (decision 0031).

C colour plane, Y/X pixel row/column, U/V vertical/horizontal frequency.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gateway.contract.spectrum import dct_matrix

SIDE_PX = 128

LUMA_CHROMA = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Y, Cb, Cr of R, G, B (ITU-R BT.601), without offsets."""

RESIDUALS = (
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0, -1, 1, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0, -1, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0.25, 0, 0), (0, 0.25, -1, 0.25, 0), (0, 0, 0.25, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0.5, -1, 0.5, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0.5, 0, 0), (0, 0, -1, 0, 0), (0, 0, 0.5, 0, 0), (0, 0, 0, 0, 0)),
    (
        (-1 / 12, 2 / 12, -2 / 12, 2 / 12, -1 / 12),
        (2 / 12, -6 / 12, 8 / 12, -6 / 12, 2 / 12),
        (-2 / 12, 8 / 12, -12 / 12, 8 / 12, -2 / 12),
        (2 / 12, -6 / 12, 8 / 12, -6 / 12, 2 / 12),
        (-1 / 12, 2 / 12, -2 / 12, 2 / 12, -1 / 12),
    ),
)
"""High-pass filters: first differences, Laplacian, second differences, and the 5 × 5 filter of steganalysis
(Fridrich and Kodovský 2012, its "square 5 × 5")."""

CHROMA_RESIDUALS = 3
"""Of the colour planes, only the first filters: 4:2:0 leaves little for the others."""

LUMA_MAPS = len(RESIDUALS)
MAPS = LUMA_MAPS + 2 * CHROMA_RESIDUALS
ACROSS_MAPS, DOWN_MAPS = (
    tuple(first + offset for first in (0, LUMA_MAPS, LUMA_MAPS + CHROMA_RESIDUALS)) for offset in range(2)
)
"""Which residual maps are differences along rows and along columns, of Y, Cb and Cr."""

BLOCK_PX, TILE_PX, POOL, LOW, TILE_POOL = 8, 32, 8, 12, 4
"""Sides of a block, of a repeated window, of a pool over the whole spectrum, of its lowest part, of a window's pool."""

EDGE_PX, EDGE_STEP = 12, 4
"""Length over which an edge has to be straight, and that of the pieces it is added up from."""

LEVEL_STEPS = tuple(range(2, 25))
"""Combs of levels that pixels are compared with."""

NTH = 3
"""The n-th largest value over blocks or pixels: a maximum that one outlier cannot make."""

LARGEST_LOCAL = 8
"""How many of the strongest places of a residual map are averaged."""

CLIP = 6.0
"""Standardised features are cut at this many standard deviations."""

HIDDEN, JOINED = 176, 64
"""Widths of the dense branch and of the layer that joins both branches."""

SIGNED_LUMA = tuple(BLOCK_PX * u + v for u in range(4) for v in range(4))
SIGNED_CHROMA = (0, 1, 8, 2, 9, 16)
SIGNED_IN_PLACES = SIGNED_LUMA + tuple(plane * BLOCK_PX**2 + each for plane in (1, 2) for each in SIGNED_CHROMA)
"""Which of the 192 coefficients of a block (Y, Cb, Cr, each along the rows) the local branch also gets with their sign:
those of luma are a picture of half the size, in which the shape of a thing can be seen."""

PLACES = SIDE_PX // BLOCK_PX
PLACE_FEATURES = 3 * BLOCK_PX**2 + len(SIGNED_IN_PLACES) + 3 * MAPS + 2 * len(ACROSS_MAPS)
"""The local branch sees 16 × 16 places of 8 × 8 px, each by so many statistics: the spectrum of its block, its lowest
coefficients with their sign, strength, peak and flatness of every residual, straight pieces of 8 px across and down."""

CHANNELS, KERNELS = (96, 64, 64, 96, 96), (1, 3, 3, 3, 3)
"""The local branch: channels and kernel of each convolution over the places. The third sees 40 px; the last two go
over places of twice the side and see 112 px, most of a face."""

FINE = 3
"""So many convolutions come before the places are halved in number."""

STRONGEST = 8
"""How many of a channel's strongest places are averaged, beside the mean over all places and the strongest one."""

JUDGED = CHANNELS[FINE - 2] + 3 * CHANNELS[FINE - 1] + 2 * CHANNELS[-1]
"""How many values the local branch gives: maxima of the second convolution; means, maxima and means of the strongest of
the third; means and maxima of the last."""

FEATURES = (
    3 * (2 * (SIDE_PX // POOL) ** 2 + LOW**2)
    + 3 * (4 * BLOCK_PX**2 + (TILE_PX // TILE_POOL) ** 2)
    + 9 * MAPS
    + 12
    + 3
    + 3 * len(LEVEL_STEPS)
    + 6
    + 2 * BLOCK_PX
)
"""Number of features: whole spectrum, blocks, repeated windows, residuals, edges, ties of channels, levels, grid."""


@lru_cache(maxsize=1)
def constants() -> Mapping[str, NDArray[np.float32]]:
    """Return the constant arrays of the graph by name, float32, C-contiguous, read-only.

    `ycc` (3, 3); `dct` and `tile_dct` (U, Y) and their transposes; `blocks` (192, 3, 8, 8), the 8 × 8 DCT of Y, Cb and
    Cr as kernels over R, G and B; `residuals` (MAPS, 3, 5, 5) likewise; `laplacian` (3, 1, 5, 5), one a
    colour; `levels` (256, combs), how far each value of a pixel lies from each comb, in parts of its step.
    """
    ycc = np.array(LUMA_CHROMA, np.float32)
    block = dct_matrix(BLOCK_PX)
    waves = np.einsum("uy,vx->uvyx", block, block).reshape(BLOCK_PX**2, BLOCK_PX, BLOCK_PX)
    filters = np.array(RESIDUALS, np.float32)
    on_combs = np.arange(256, dtype=np.float32)[:, None] * (np.array(LEVEL_STEPS, np.float32) / 255)
    used = ((0, LUMA_MAPS), (1, CHROMA_RESIDUALS), (2, CHROMA_RESIDUALS))
    arrays = {
        "ycc": ycc,
        "dct": dct_matrix(SIDE_PX),
        "dct_transposed": dct_matrix(SIDE_PX).T,
        "tile_dct": dct_matrix(TILE_PX),
        "tile_dct_transposed": dct_matrix(TILE_PX).T,
        "blocks": np.einsum("pc,kyx->pkcyx", ycc, waves).reshape(-1, 3, BLOCK_PX, BLOCK_PX),
        "residuals": np.concatenate([np.einsum("c,kyx->kcyx", ycc[plane], filters[:count]) for plane, count in used]),
        "laplacian": filters[2][None, None].repeat(3, 0),
        "levels": np.abs(on_combs - np.round(on_combs)),
    }
    result = {name: np.ascontiguousarray(array, dtype=np.float32).copy() for name, array in arrays.items()}
    for array in result.values():
        array.flags.writeable = False
    return MappingProxyType(result)
