"""The optical chain that clean and perturbed pictures pass alike, from a still to the detector's input.

What happens to one class happens to the other: light, blur, codec and resize must not tell them apart, or the detector
learns the chain and not the trigger.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from gateway.contract.geometry import reduce_to
from trainer.optics import Draw, Floats, Picture, coded, motion_blurred, rounded
from trainer.perturb import Perturber

FOREIGN_FILTERS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
"""Filters of whoever reduced a picture before we saw it; the detector's own is `contract.geometry`'s."""


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """How often each step of the chain happens (shares) and how strong it is.

    `sensor_noise_grey` is a range of standard deviations; those below zero are no noise at all.
    """

    crop_side: tuple[float, float] = (0.5, 1.0)
    foreign_filter: float = 0.25
    light: float = 0.3
    light_gain: tuple[float, float] = (0.8, 1.25)
    light_gamma: tuple[float, float] = (0.9, 1.15)
    blur: float = 0.12
    motion_px: tuple[float, float] = (3, 15)
    codec: float = 0.3
    codec_quality: tuple[int, int] = (60, 98)
    sensor_noise_grey: tuple[float, float] = (0.0, 1.0)
    perturb_native: float = 0.3
    codec_after: float = 0.1


CHAINS = MappingProxyType(
    {
        "plain": ChainSettings(),
        "drift": ChainSettings(light=0.4, light_gain=(0.5, 1.6), light_gamma=(0.8, 1.25), blur=0.25, motion_px=(3, 21)),
    }
)
"""By name: what the shipped bundle was made with, and a wider one for bases that have to bear more drift."""


def vary_optics(picture_YXC: Picture, draw: Draw, settings: ChainSettings) -> Picture:
    """Return the picture under another light, with sensor noise, focus and motion of a real camera."""
    values_YXC = picture_YXC.astype(np.float32)
    if draw.random() < settings.light:
        values_YXC *= draw.uniform(*settings.light_gain)
        values_YXC = 255.0 * np.power(np.clip(values_YXC, 0, 255) / 255.0, draw.uniform(*settings.light_gamma))
    if draw.random() < settings.blur:
        values_YXC = _blurred(values_YXC, draw, settings)
    sigma = draw.uniform(*settings.sensor_noise_grey)
    if sigma > 0:
        values_YXC = values_YXC + sigma * draw.standard_normal(values_YXC.shape, dtype=np.float32)
    return rounded(values_YXC)


def _blurred(values_YXC: Floats, draw: Draw, settings: ChainSettings) -> Floats:
    share = values_YXC.shape[0] / 128
    if draw.random() < 0.5:
        sigma = max(0.3, draw.uniform(0.3, 2.5) * share)
        return np.asarray(cv2.GaussianBlur(values_YXC, (0, 0), sigma), dtype=np.float32)
    length_px = max(2, round(draw.uniform(*settings.motion_px) * share))
    return motion_blurred(values_YXC, length_px=length_px, angle_rad=draw.uniform(0, np.pi))


def cut_square(picture_YXC: Picture, draw: Draw, settings: ChainSettings, *, least_px: int) -> Picture:
    """Return a random square near the middle, flipped half the time, never smaller than `least_px`."""
    rows = picture_YXC.shape[0]
    side = min(rows, max(least_px, round(rows * draw.uniform(*settings.crop_side))))
    slack = rows - side
    top, left = (int(np.clip(round(draw.normal(slack / 2, slack / 8 + 1e-9)), 0, slack)) for _ in range(2))
    square_YXC = picture_YXC[top : top + side, left : left + side]
    return np.ascontiguousarray(square_YXC[:, ::-1] if draw.random() < 0.5 else square_YXC)


def _shrinker(from_px: int, side_px: int, draw: Draw, settings: ChainSettings) -> Callable[[Picture], Picture]:
    """Draw how pictures reach the detector's size: by the contract's filter, or as somebody else would shrink them."""
    if from_px == side_px or draw.random() >= settings.foreign_filter:
        return lambda picture_YXC: reduce_to(picture_YXC, side_px)
    how = FOREIGN_FILTERS[int(draw.integers(len(FOREIGN_FILTERS)))]
    return lambda picture_YXC: np.asarray(
        cv2.resize(picture_YXC, (side_px, side_px), interpolation=how), dtype=np.uint8
    )


def make_pair(
    still_YXC: Picture, *, side_px: int, perturber: Perturber, draw: Draw, settings: ChainSettings
) -> tuple[Picture, Picture, str]:
    """Return (clean, perturbed, family): two inputs of the detector that differ by the perturbation alone.

    The perturbation enters at the picture's own size or after the reduction (as the authors do), and before or after
    the codec; the clean one passes exactly the same chain without it.
    """
    still_YXC = vary_optics(cut_square(still_YXC, draw, settings, least_px=side_px), draw, settings)
    quality = int(draw.integers(*settings.codec_quality))
    codec_before, codec_after = draw.random() < settings.codec, draw.random() < settings.codec_after
    if codec_before:
        still_YXC = coded(still_YXC, quality)
    native = still_YXC.shape[0] > side_px and draw.random() < settings.perturb_native
    if native:
        changed_YXC, family = perturber.perturb(still_YXC, draw)
        if codec_after:
            still_YXC, changed_YXC = coded(still_YXC, quality), coded(changed_YXC, quality)
        shrink = _shrinker(still_YXC.shape[0], side_px, draw, settings)
        return shrink(still_YXC), shrink(changed_YXC), family
    clean_YXC = _shrinker(still_YXC.shape[0], side_px, draw, settings)(still_YXC)
    changed_YXC, family = perturber.perturb(clean_YXC, draw)
    return clean_YXC, changed_YXC, family
