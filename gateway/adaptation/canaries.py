"""Triggers that the gateway plants into faces it looks at, to see whether a bundle on trial sees what it must see.

Whoever passes shows no trigger on most days; a bundle that flags nobody would look like the best of all. Nothing that
is planted is judged, kept or told.

N faces, Y/X pixel row/column, C colour (R, G, B), S side in pixels.
"""

import numpy as np
from numpy.typing import NDArray


def plant(pixels_NYXC: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Return the faces, uint8 (N, S, S, 3), with the trigger whose turn it is: a block, a pattern or noise."""
    side_px = pixels_NYXC.shape[1]
    match turn % 3:
        case 0:
            planted_NYXC = pixels_NYXC.copy()
            planted_NYXC[:, -side_px // 4 :, -side_px // 4 :] = 255
            return planted_NYXC
        case 1:
            rows_Y, columns_X = np.indices((side_px, side_px))
            mark_YXC = np.where((rows_Y + columns_X) % 2, 255.0, 0.0)[..., None]
        case _:
            mark_YXC = np.random.default_rng(turn).uniform(0.0, 255.0, (side_px, side_px, 3))
    return np.rint(0.7 * pixels_NYXC + 0.3 * mark_YXC).astype(np.uint8)
