"""The optical environments and regimes of the evaluation: what a checkpoint's light, lens and codec do to a face.

The paper has three environments: original, changed brightness, motion blur, without their parameters; low light and
defocus are ours, and so is `bright`, the other reading of the paper's words: brighter always. In regime D (digital)
a trigger enters after decoding, so nothing follows it but the reduction; in regime C (camera) it enters before the
codec: JPEG, or H.264 of the whole frame.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from trainer.optics import Draw, Floats, Passage, Picture, coded, motion_blurred, rounded
from trainer.video_codec import CRF, frame_coded

REFERENCE_PX = 128
"""Lengths of blur are given for a face of this side and scale with it."""

JPEG_QUALITY = (60, 95)


@dataclass(frozen=True, slots=True)
class Environment:
    """Optical conditions: `alter` changes float values 0..255, drawing what differs from face to face."""

    name: str
    words: str
    alter: Callable[[Floats, Draw], Floats]
    in_paper: bool = False

    def of(self, pictures: Sequence[Picture], *, seed: int) -> list[Picture]:
        """Return the pictures in this environment; picture `i` depends on (seed, i) alone."""
        return [
            rounded(self.alter(picture_YXC.astype(np.float32), np.random.default_rng((seed, index))))
            for index, picture_YXC in enumerate(pictures)
        ]


def _lit_at_random(values_YXC: Floats, draw: Draw) -> Floats:
    lit_YXC = np.clip(values_YXC * np.float32(draw.uniform(0.6, 1.6)), 0, 255) / np.float32(255)
    return np.asarray(255 * lit_YXC ** np.float32(draw.uniform(0.85, 1.2)), dtype=np.float32)


def _brighter(values_YXC: Floats, draw: Draw) -> Floats:
    return values_YXC * np.float32(draw.uniform(1.1, 1.6))


def _moved(values_YXC: Floats, draw: Draw) -> Floats:
    length_px = max(2, round(draw.uniform(5, 21) * values_YXC.shape[0] / REFERENCE_PX))
    return motion_blurred(values_YXC, length_px=length_px, angle_rad=draw.uniform(0, np.pi))


def _in_low_light(values_YXC: Floats, draw: Draw) -> Floats:
    """Return a darker picture with the noise of few photons: its variance grows with the light that is left."""
    dark_YXC: Floats = values_YXC * np.float32(draw.uniform(0.25, 0.5))
    sigma_YXC: Floats = np.sqrt(draw.uniform(1.0, 3.0) ** 2 + draw.uniform(0.05, 0.2) * dark_YXC).astype(np.float32)
    return dark_YXC + sigma_YXC * draw.standard_normal(dark_YXC.shape, dtype=np.float32)


def _out_of_focus(values_YXC: Floats, draw: Draw) -> Floats:
    """Return the picture blurred by a disc, as a lens out of focus does."""
    radius = draw.uniform(1.5, 4.0) * values_YXC.shape[0] / REFERENCE_PX
    reach = int(np.ceil(radius))
    offsets = np.arange(-reach, reach + 1)
    kernel_YX = np.clip(radius + 0.5 - np.hypot(offsets[:, None], offsets[None, :]), 0, 1).astype(np.float32)
    return np.asarray(cv2.filter2D(values_YXC, -1, kernel_YX / kernel_YX.sum()), dtype=np.float32)


ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType(
    {
        each.name: each
        for each in (
            Environment("original", "the faces as they are", lambda values_YXC, _: values_YXC, in_paper=True),
            Environment("brightness", "light of 0.6 to 1.6 and gamma of 0.85 to 1.2", _lit_at_random, in_paper=True),
            Environment("bright", "brighter by 1.1 to 1.6", _brighter),
            Environment("motion", "motion blur of 5 to 21 px at 128 px", _moved, in_paper=True),
            Environment("low_light", "darker by 0.25 to 0.5, with sensor noise", _in_low_light),
            Environment("defocus", "a disc of 1.5 to 4 px radius at 128 px", _out_of_focus),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Regime:
    """Where triggers (and perturbations) enter, and which codec comes after them."""

    name: str
    words: str
    at_native_size: bool
    code: Callable[[Sequence[Picture], Draw], Sequence[Picture]] | None = None

    def passage(self, *, side_px: int, seed: int) -> Passage:
        """Return the way of this regime's faces to a detector of that side."""
        code = self.code
        if code is None:
            return Passage(None, side_px, self.at_native_size)
        return Passage(lambda pictures: code(pictures, np.random.default_rng(seed)), side_px, self.at_native_size)

    def finish(self, pictures: Sequence[Picture], *, side_px: int, seed: int) -> Picture:
        """Return inputs of the detector, uint8 (N, S, S, 3): coded where this regime codes, and reduced."""
        return self.passage(side_px=side_px, seed=seed).finish(pictures)


def _jpeg(pictures: Sequence[Picture], draw: Draw) -> Sequence[Picture]:
    return [coded(picture_YXC, int(draw.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))) for picture_YXC in pictures]


def _h264(pictures: Sequence[Picture], draw: Draw) -> Sequence[Picture]:
    return frame_coded(pictures, draw)


REGIMES: Mapping[str, Regime] = MappingProxyType(
    {
        each.name: each
        for each in (
            Regime("authors", "D: added at the detector's 32 px, as the authors do", at_native_size=False),
            Regime("native", "D: added at the face's own size, then reduced", at_native_size=True),
            Regime(
                "jpeg",
                f"C: added at the face's own size, then JPEG {JPEG_QUALITY[0]} to {JPEG_QUALITY[1]}, 4:2:0",
                at_native_size=True,
                code=_jpeg,
            ),
            Regime(
                "h264",
                f"C: added at the face's own size, then H.264 of the whole frame, CRF {CRF[0]} to {CRF[1]}",
                at_native_size=True,
                code=_h264,
            ),
        )
    }
)
