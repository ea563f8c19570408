"""Which faces cannot be judged, from the detector's input alone: the same for screening and for whoever judges it.

Y/X pixel row/column, C colour (R, G, B).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Unfit = Literal["flat", "blurred"]

FLAT_SPREAD_GREY = 3.0
"""Below this standard deviation a picture shows nothing: a covered lens, a black frame."""

LEAST_SHARPNESS = 0.3
"""Below this nothing finer than about three pixels of the detector's picture is left: the face is out of focus, smeared
by movement or enlarged somewhere, and what a detector of editing looks for is gone. Faces blurred by a Gaussian of 3 px
have 0.25 to 0.30; those in motion blur of a sixth of their size, or out of focus by 4 px of 128, 0.33 and more.
"""


def unfit(pixels_YXC: NDArray[np.uint8]) -> Unfit | None:
    """Return why an input of the detector, uint8 (S, S, 3), cannot be judged; None where it can."""
    if pixels_YXC.std() < FLAT_SPREAD_GREY:
        return "flat"
    return "blurred" if sharpness(pixels_YXC) < LEAST_SHARPNESS else None


def sharpness(pixels_YXC: NDArray[np.uint8]) -> float:
    """Return how fast a picture changes from pixel to pixel: second differences of its brightness by first ones.

    White noise has the root of 3, an edge as sharp as pixels allow about 1.4, a ramp 0; contrast and brightness do not
    matter.
    """
    grey_YX = pixels_YXC.sum(axis=2, dtype=np.float32)
    across, down = np.diff(grey_YX, axis=1), np.diff(grey_YX, axis=0)
    first = np.square(across).mean() + np.square(down).mean()
    second = np.square(np.diff(across, axis=1)).mean() + np.square(np.diff(down, axis=0)).mean()
    return float(np.sqrt(second / first)) if first > 0.0 else 0.0
