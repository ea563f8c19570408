"""Hard negatives: clean faces with something on them or about them that a detector must not take for a trigger.

Whoever is judged wears what was drawn for them alone, with draws that no training had. The kinds are those of
`trainer.nuisances`, which the training of `wide` lays on clean and perturbed faces alike; that of `paper` knows none.

Y/X pixel row/column, C colour (R, G, B).
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np

from gateway.contract.geometry import reduce_to
from trainer import nuisances
from trainer.environments import Regime
from trainer.optics import Draw, Floats, Picture, coded, rounded

Where = Literal["worn", "camera", "stream"]
"""On the person, by the camera (both before the codec), or in the coded stream."""


FILE_QUALITY = 90
"""JPEG quality of the files of LFW (about; `cjpeg`'s scale)."""


def enlarged(values_YXC: Floats, draw: Draw) -> Floats:
    """Cut out the middle and enlarge it, as digital zoom does with a small face."""
    side_px = values_YXC.shape[0]
    part = max(16, round(side_px * draw.uniform(0.5, 0.9)))
    start = (side_px - part) // 2
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[int(draw.integers(3))]
    middle_YXC = values_YXC[start : start + part, start : start + part]
    return np.asarray(cv2.resize(middle_YXC, (side_px, side_px), interpolation=how), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class HardNegative:
    """One kind: what it is in words, how it is drawn and where it happens."""

    words: str
    draw: Callable[[Floats, Draw], Floats]
    where: Where


HARD_NEGATIVES: Mapping[str, HardNegative] = MappingProxyType(
    {
        "spectacles": HardNegative("spectacles, dark glasses", nuisances.spectacles, "worn"),
        "mask": HardNegative("a mask or scarf over mouth and nose", nuisances.cloth_mask, "worn"),
        "beard": HardNegative("a beard", nuisances.beard, "worn"),
        "hat": HardNegative("a hat, cap or headscarf", nuisances.hat, "worn"),
        "shirt": HardNegative("a printed shirt", nuisances.shirt, "camera"),
        "caption": HardNegative("a caption or time stamp off the face", nuisances.caption, "camera"),
        "low_light": HardNegative("poor light with the noise of a sensor", nuisances.low_light, "camera"),
        "sharpened": HardNegative("sharpened by the camera", nuisances.sharpened, "camera"),
        "enlarged": HardNegative("a small face enlarged", enlarged, "camera"),
        "lost_packets": HardNegative("blocks of lost packets", nuisances.lost_packets, "stream"),
        "few_colours": HardNegative("dithered to few colours", nuisances.few_colours, "stream"),
    }
)


def hard_inputs(
    stills: Sequence[Picture], name: str, regime: Regime, *, side_px: int, seed: int, share: float = 1.0
) -> Picture:
    """Return inputs of the detector, uint8 (N, S, S, 3), of faces that carry one of `HARD_NEGATIVES`.

    They are coded and reduced as `regime` does with the same `seed`: whatever differs from the plain faces is the
    hard negative. Where `regime` codes nothing, what is worn or made by the camera is coded as the collections' files
    are: left uncoded it would be what no camera gives, a digital edit. What is worn is drawn to the scale of the whole
    pictures, of whose side the stills are the middle `share`; face `i` depends on (name, i) alone.
    """
    kind = HARD_NEGATIVES[name]
    pictures: Sequence[Picture] = stills
    if kind.where != "stream":
        pictures = [_drawn(still_YXC, name, index, share) for index, still_YXC in enumerate(stills)]
    if regime.code is not None:
        pictures = regime.code(pictures, np.random.default_rng(seed))
    elif kind.where != "stream":
        pictures = [coded(picture_YXC, FILE_QUALITY) for picture_YXC in pictures]
    if kind.where == "stream":
        pictures = [_drawn(picture_YXC, name, index, share) for index, picture_YXC in enumerate(pictures)]
    return np.stack([reduce_to(picture_YXC, side_px) for picture_YXC in pictures])


def _drawn(picture_YXC: Picture, name: str, index: int, share: float) -> Picture:
    kind = HARD_NEGATIVES[name]
    draw = np.random.default_rng((zlib.crc32(name.encode()), index))
    side_px = picture_YXC.shape[0]
    around = round(side_px * (1 / share - 1) / 2) if kind.where == "worn" else 0
    whole_YXC = np.pad(picture_YXC, ((around, around), (around, around), (0, 0)), mode="reflect")
    result_YXC = rounded(kind.draw(whole_YXC.astype(np.float32), draw))
    return np.ascontiguousarray(result_YXC[around : around + side_px, around : around + side_px])
