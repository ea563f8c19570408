"""Which places and which frequencies of a face speak for a trigger: what its score loses without each of them.

No gradient is needed, so the session that screens is all it takes. A place is a square of a `GRID` × `GRID` grid,
filled with the mean of what surrounds it; a band is every DCT coefficient of all colours whose larger index lies in it,
set to nought. What the score loses is what spoke for a trigger there; what it gains spoke against one.

Y/X pixel row/column, C colour (R, G, B), U/V vertical/horizontal frequency, N altered faces.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gateway.contract.spectrum import dct_matrix

GRID = 8
EDGES = (0.0, 2 / 32, 4 / 32, 6 / 32, 8 / 32, 12 / 32, 16 / 32, 20 / 32, 24 / 32, 28 / 32, 1.0)
"""Edges of the bands, as shares of the highest frequency; the constant part alone is in none of them."""

BANDS = len(EDGES) - 1
WORK = 1 + GRID**2 + BANDS
"""How many faces the detector scores for one explanation."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of a face, and what it loses without each square (rows from the top) and each band (low to high)."""

    score: float
    places: tuple[tuple[float, ...], ...]
    bands: tuple[float, ...]


def altered(pixels_YXC: Picture) -> Iterator[Picture]:
    """Yield the face, the face without each square in rows, and without each band: `WORK` pictures of its size."""
    yield pixels_YXC
    side = pixels_YXC.shape[0] // GRID
    for row in range(GRID):
        for column in range(GRID):
            yield _without_place(pixels_YXC, row * side, column * side, side)
    matrix_UY = dct_matrix(pixels_YXC.shape[0])
    planes_CYX = pixels_YXC.astype(np.float32).transpose(2, 0, 1)
    spectrum_CUV = matrix_UY @ planes_CYX @ matrix_UY.T
    index_U = np.arange(len(matrix_UY)) / len(matrix_UY)
    larger_UV = np.maximum(index_U[:, None], index_U[None])
    larger_UV[0, 0] = -1.0  # the constant part stays
    for low, high in pairwise(EDGES):
        kept_CUV = np.where((larger_UV >= low) & (larger_UV < high), np.float32(0), spectrum_CUV)
        back_CYX = matrix_UY.T @ kept_CUV @ matrix_UY
        yield np.clip(np.rint(back_CYX.transpose(1, 2, 0)), 0, 255).astype(np.uint8)


def _without_place(pixels_YXC: Picture, top: int, left: int, side: int) -> Picture:
    """Return the face with a square filled by the mean of the frame, half as wide, around it."""
    reach = max(1, side // 2)
    first_y, first_x = max(0, top - reach), max(0, left - reach)
    around_YXC = pixels_YXC[first_y : top + side + reach, first_x : left + side + reach].astype(np.float64)
    inside_YXC = pixels_YXC[top : top + side, left : left + side].astype(np.float64)
    rest = around_YXC.shape[0] * around_YXC.shape[1] - side * side
    mean_C = (around_YXC.sum(axis=(0, 1)) - inside_YXC.sum(axis=(0, 1))) / rest
    result_YXC = pixels_YXC.copy()
    result_YXC[top : top + side, left : left + side] = np.rint(mean_C).astype(np.uint8)
    return result_YXC


async def explain(
    pixels_YXC: Picture,
    score: Callable[[NDArray[np.uint8]], Awaitable[NDArray[np.float32]]],
    *,
    before_each: Callable[[], Awaitable[None]],
) -> Explanation:
    """Explain one input of the detector, uint8 (S, S, 3), by `WORK` calls of `score`, one face each.

    One face at a time is the longest that a batch of the cameras can stand behind this; `before_each` waits until none
    stands there.
    """
    scores = []
    for picture_YXC in altered(pixels_YXC):
        await before_each()
        scores.append(float((await score(np.ascontiguousarray(picture_YXC[None])))[0]))
    whole, rest = scores[0], [scores[0] - each for each in scores[1:]]
    places = tuple(tuple(rest[row * GRID : (row + 1) * GRID]) for row in range(GRID))
    return Explanation(whole, places, tuple(rest[GRID**2 :]))
