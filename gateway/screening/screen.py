"""From crops as the cameras cut them to the detector's input.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.contract.geometry import reduce_to
from gateway.contract.network import Profile
from gateway.contract.quality import unfit
from gateway.values import FaceCrop, Quality

UNFIT: Mapping[str, Quality] = {"flat": Quality.FLAT, "blurred": Quality.BLURRED}


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
        else:
            qualities.append(UNFIT.get(unfit(pixels_NYXC[index]) or "", Quality.USABLE))
    return pixels_NYXC, tuple(qualities)


def _enlarged(pixels_YXC: NDArray[np.uint8], profile: Profile) -> NDArray[np.uint8]:
    """Return the crop at the detector's size by repeating pixels; its score is not believed anyway."""
    nearest_T = np.arange(profile.side_px) * pixels_YXC.shape[0] // profile.side_px
    enlarged_YXC: NDArray[np.uint8] = pixels_YXC[nearest_T][:, nearest_T]
    return enlarged_YXC
