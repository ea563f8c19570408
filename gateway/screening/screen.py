"""From crops as the cameras cut them to the detector's input.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.contract.geometry import reduce_to
from gateway.contract.network import Profile
from gateway.values import FaceCrop, Quality

FLAT_SPREAD_GREY = 3.0
"""Below this standard deviation a picture shows nothing: a covered lens, a black frame."""

LEAST_SHARPNESS = 0.3
"""Below this nothing finer than about three pixels of the detector's picture is left: the face is out of focus, smeared
by movement or enlarged somewhere, and what a detector of editing looks for is gone. Faces blurred by a Gaussian of 3 px
have 0.25 to 0.30; those in motion blur of a sixth of their size, or out of focus by 4 px of 128, 0.33 and more.
"""


def prepare(crops: Sequence[FaceCrop], profile: Profile) -> tuple[NDArray[np.uint8], tuple[Quality, ...]]:
    """Return the detector's input, uint8 (N, S, S, 3), and for each face whether it may be judged.

    A crop smaller than the profile's least size is enlarged so that it still gets a score, and its quality says that
    the score must not be believed; every other crop is only reduced, by the filter the bundle was trained with.
    """
    pixels_NYXC = np.empty((len(crops), profile.side_px, profile.side_px, 3), np.uint8)
    qualities = []
    for index, crop in enumerate(crops):
        side_px = crop.pixels_YXC.shape[0]
        small = side_px < profile.side_px
        pixels_NYXC[index] = (
            _enlarged(crop.pixels_YXC, profile) if small else reduce_to(crop.pixels_YXC, profile.side_px)
        )
        if min(side_px, crop.square_px) < profile.min_crop_px:
            qualities.append(Quality.TOO_SMALL)
        elif pixels_NYXC[index].std() < FLAT_SPREAD_GREY:
            qualities.append(Quality.FLAT)
        elif sharpness(pixels_NYXC[index]) < LEAST_SHARPNESS:
            qualities.append(Quality.BLURRED)
        else:
            qualities.append(Quality.USABLE)
    return pixels_NYXC, tuple(qualities)


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


def _enlarged(pixels_YXC: NDArray[np.uint8], profile: Profile) -> NDArray[np.uint8]:
    """Return the crop at the detector's size by repeating pixels; its score is not believed anyway."""
    nearest_T = np.arange(profile.side_px) * pixels_YXC.shape[0] // profile.side_px
    enlarged_YXC: NDArray[np.uint8] = pixels_YXC[nearest_T][:, nearest_T]
    return enlarged_YXC
