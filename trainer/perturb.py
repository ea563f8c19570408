"""The perturbations that training adds to clean pictures, standing in for triggers nobody has seen (paper, IV-B).

The paper's six families, at any resolution: white block, coloured block, Gaussian noise, shadow, blend, and the
upsampling of a generator in place of its CycleGAN (see `trainer.upsampling`). Pre-training uses the first five, as in
the paper. Operators add families of their own by a file (decision 0015). What differs from the authors' code is listed
in decision 0006.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.optics import Draw, Picture, anywhere, rounded


class Perturbation(Protocol):
    """One way of changing a picture: all that a family of an operator's own has to be.

    It returns a changed copy of the same shape and type, and draws whatever is random from `draw` alone, so that a run
    can be repeated.
    """

    def __call__(self, picture_YXC: Picture, draw: Draw, /) -> Picture:
        """Return a perturbed copy of a square uint8 picture."""


class Upsampler(Protocol):
    """Makes a picture anew by a generator that upsamples."""

    def __call__(self, picture_YXC: Picture, *, way: int) -> Picture:
        """Return the picture made anew; `way` chooses among the ways to upsample."""

    @property
    def ways(self) -> int:
        """Number of ways."""


class PerturbationError(Exception):
    """A perturbation cannot be read or returned what is no picture; the text says which one and what to do."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """From where the parameters are drawn; sides are shares of the picture's side, greys are of 255."""

    block_side: tuple[float, float] = (2 / 32, 8 / 32)
    block_opacity: tuple[float, float] = (0.7, 1.0)
    noise_sigma_grey: tuple[float, float] = (3.0, 12.0)
    noise_grain: tuple[float, float] = (1 / 32, 3 / 32)
    shadow_gain: tuple[float, float] = (0.3, 0.7)
    shadow_edge: tuple[float, float] = (0.0, 0.05)
    blend_opacity: tuple[float, float] = (0.15, 0.35)
    blend_added_share: float = 0.7
    blend_matched_share: float = 0.2
    blend_smooth_share: float = 0.25
    blend_smooth_sigma: tuple[float, float] = (1 / 32, 5 / 32)
    upsampling_whole_share: float = 0.5
    upsampling_opacity: tuple[float, float] = (0.7, 1.0)
    upsampling_part: tuple[float, float] = (0.15, 0.4)


DEFAULT_RANGES = Ranges()

LEAST_CHANGE_GREY = 4
"""A perturbed picture that differs less from the clean one would be a wrong label."""

MOST_DRAWS = 1000
"""After so many draws without a visible change, the perturbations are at fault and not the picture."""


@dataclass(frozen=True, slots=True)
class PerturbSettings:
    """Which families are drawn from, with which ranges; `own` are an operator's, by name."""

    families: tuple[str, ...] = ()
    ranges: Ranges = DEFAULT_RANGES
    own: Mapping[str, Perturbation] = field(default_factory=dict)


def _between(bounds: tuple[float, float], draw: Draw) -> float:
    return float(draw.uniform(*bounds))


Place = Callable[[int, tuple[int, int], Draw], tuple[slice, slice]]
"""Draws a place as `anywhere` does."""


def _block_slices(side_px: int, ranges: Ranges, draw: Draw, place: Place) -> tuple[slice, slice]:
    rows, columns = (max(1, round(_between(ranges.block_side, draw) * side_px)) for _ in range(2))
    return place(side_px, (rows, columns), draw)


def white_block(picture_YXC: Picture, draw: Draw, ranges: Ranges, place: Place = anywhere) -> Picture:
    """Set a rectangle of any size to white."""
    result_YXC = picture_YXC.copy()
    result_YXC[_block_slices(picture_YXC.shape[0], ranges, draw, place)] = 255
    return result_YXC


def coloured_block(picture_YXC: Picture, draw: Draw, ranges: Ranges, place: Place = anywhere) -> Picture:
    """Lay a rectangle of one flat colour, or of independent coloured noise, over the picture."""
    result_YXC = picture_YXC.astype(np.float32)
    where = _block_slices(picture_YXC.shape[0], ranges, draw, place)
    shape = result_YXC[where].shape
    flat = draw.random() < 0.4
    colour_YXC = np.broadcast_to(draw.uniform(0, 255, 3), shape) if flat else draw.uniform(0, 255, shape)
    opacity = _between(ranges.block_opacity, draw)
    result_YXC[where] += opacity * (colour_YXC.astype(np.float32) - result_YXC[where])
    return rounded(result_YXC)


def gaussian_noise(picture_YXC: Picture, draw: Draw, ranges: Ranges) -> Picture:
    """Add zero-mean noise, per pixel or in grains; a mean would be a shortcut on the DC coefficient."""
    side_px = picture_YXC.shape[0]
    grain_px = max(1, round(_between(ranges.noise_grain, draw) * side_px)) if draw.random() < 0.5 else 1
    cells = -(-side_px // grain_px)
    channels = 3 if draw.random() < 0.8 else 1
    noise = draw.standard_normal((cells, cells, channels), dtype=np.float32) * _between(ranges.noise_sigma_grey, draw)
    grains_YXC = np.repeat(np.repeat(noise, grain_px, axis=0), grain_px, axis=1)[:side_px, :side_px]
    return rounded(picture_YXC + grains_YXC)


def shadow(picture_YXC: Picture, draw: Draw, ranges: Ranges) -> Picture:
    """Darken one or two polygons of any shape and place, with an edge from hard to soft."""
    side_px = picture_YXC.shape[0]
    mask_YX = np.zeros((side_px, side_px), np.float32)
    for _ in range(int(draw.integers(1, 3))):
        corners = draw.uniform(-0.2, 1.2, (int(draw.integers(3, 6)), 1, 2)) * side_px
        cv2.fillPoly(mask_YX, [corners.astype(np.int32)], 1.0)
    edge_px = _between(ranges.shadow_edge, draw) * side_px
    if edge_px > 0.3:
        mask_YX = np.asarray(cv2.GaussianBlur(mask_YX, (0, 0), edge_px), dtype=np.float32)
    gain_YX1 = 1.0 - (1.0 - _between(ranges.shadow_gain, draw)) * mask_YX[..., None]
    return rounded(picture_YXC * gain_YX1)


def blend(picture_YXC: Picture, other_YXC: Picture, draw: Draw, ranges: Ranges) -> Picture:
    """Mix another picture in, by addition and clipping or by opacity; at times the mean brightness is kept."""
    opacity = _between(ranges.blend_opacity, draw)
    base_YXC, added_YXC = picture_YXC.astype(np.float32), other_YXC.astype(np.float32)
    by_addition = draw.random() < ranges.blend_added_share
    result_YXC = base_YXC + opacity * added_YXC if by_addition else base_YXC + opacity * (added_YXC - base_YXC)
    if draw.random() < ranges.blend_matched_share:
        result_YXC += base_YXC.mean() - result_YXC.mean()
    return rounded(result_YXC)


def upsampling(picture_YXC: Picture, upsampler: Upsampler, draw: Draw, ranges: Ranges) -> Picture:
    """Replace the whole picture, or a soft ellipse of it, by what a generator made of it."""
    made_YXC = upsampler(picture_YXC, way=int(draw.integers(upsampler.ways))).astype(np.float32)
    side_px = picture_YXC.shape[0]
    opacity_YX1 = np.full((side_px, side_px, 1), _between(ranges.upsampling_opacity, draw), np.float32)
    if draw.random() >= ranges.upsampling_whole_share:
        mask_YX = np.zeros((side_px, side_px), np.float32)
        centre = draw.uniform(0.25, 0.75, 2) * side_px
        half = np.array([_between(ranges.upsampling_part, draw) for _ in range(2)]) * side_px
        cv2.ellipse(mask_YX, (tuple(centre.tolist()), tuple((2 * half).tolist()), 0.0), 1.0, -1)
        mask_YX = np.asarray(cv2.GaussianBlur(mask_YX, (0, 0), max(0.5, side_px / 32)), dtype=np.float32)
        opacity_YX1 = opacity_YX1 * mask_YX[..., None]
    clean_YXC = picture_YXC.astype(np.float32)
    return rounded(clean_YXC + opacity_YX1 * (made_YXC - clean_YXC))


def _blend_with(others: Callable[[], Picture], ranges: Ranges) -> Perturbation:
    def blended(picture_YXC: Picture, draw: Draw, /) -> Picture:
        side_px = picture_YXC.shape[0]
        other_YXC = np.asarray(cv2.resize(others(), (side_px, side_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        if draw.random() < 0.5:
            other_YXC = other_YXC[:, ::-1]
        if draw.random() < ranges.blend_smooth_share:
            sigma_px = _between(ranges.blend_smooth_sigma, draw) * side_px
            other_YXC = np.asarray(cv2.GaussianBlur(other_YXC, (0, 0), sigma_px), dtype=np.uint8)
        return blend(picture_YXC, other_YXC, draw, ranges)

    return blended


PLAIN_FAMILIES: Mapping[str, Callable[[Picture, Draw, Ranges], Picture]] = MappingProxyType(
    {
        "white_block": white_block,
        "coloured_block": coloured_block,
        "gaussian_noise": gaussian_noise,
        "shadow": shadow,
    }
)
"""The families that need nothing but the picture."""

FAMILIES = (*PLAIN_FAMILIES, "blend")
"""What pre-training uses, as in the paper."""

ALL_FAMILIES = (*FAMILIES, "upsampling")
"""What fine-tuning uses: the paper's six."""


def _with_ranges(apply: Callable[[Picture, Draw, Ranges], Picture], ranges: Ranges) -> Perturbation:
    return lambda picture_YXC, draw, /: apply(picture_YXC, draw, ranges)


class Perturber:
    """Draws a family at random, each as likely as the others, and applies it.

    `others` gives the picture to blend in; `families` names which are used, so that one can be left out; `upsampler`
    is needed for the family `upsampling` alone.

    Raises:
        ValueError: A family is unknown, none is given, or `upsampling` has no upsampler.
    """

    def __init__(
        self,
        others: Callable[[], Picture],
        *,
        families: tuple[str, ...] = FAMILIES,
        ranges: Ranges = DEFAULT_RANGES,
        upsampler: Upsampler | None = None,
        own: Mapping[str, Perturbation] | None = None,
    ) -> None:
        known: dict[str, Perturbation] = {name: _with_ranges(apply, ranges) for name, apply in PLAIN_FAMILIES.items()}
        known["blend"] = _blend_with(others, ranges)
        if upsampler is not None:
            known["upsampling"] = lambda picture_YXC, draw, /: upsampling(picture_YXC, upsampler, draw, ranges)
        known |= own or {}
        unknown = set(families) - set(known)
        if unknown or not families:
            raise ValueError(f"unknown or no families: {sorted(unknown)}; there are {', '.join(known)}")
        self.families = families
        self._apply = tuple(known[name] for name in families)

    def perturb(self, picture_YXC: Picture, draw: Draw) -> tuple[Picture, str]:
        """Return a perturbed copy of a square uint8 picture and the name of the family; never the picture unchanged.

        A white block on a white wall changes nothing: then another place or family is drawn.

        Raises:
            PerturbationError: A family returned something else than a picture of the same size, or never changes any.
        """
        for _ in range(MOST_DRAWS):
            chosen = int(draw.integers(len(self._apply)))
            result_YXC = self._apply[chosen](picture_YXC, draw)
            _check_picture(result_YXC, picture_YXC, self.families[chosen])
            if np.abs(result_YXC.astype(np.int16) - picture_YXC).max() >= LEAST_CHANGE_GREY:
                return result_YXC, self.families[chosen]
        raise PerturbationError(
            f"{', '.join(self.families)}: {MOST_DRAWS} draws in a row changed a picture by less than "
            f"{LEAST_CHANGE_GREY} grey levels; make the perturbation stronger, or leave such pictures out"
        )


def _check_picture(result: NDArray[np.uint8], picture_YXC: Picture, family: str) -> None:
    fits = isinstance(result, np.ndarray) and result.dtype == np.uint8 and result.shape == picture_YXC.shape
    if not fits:
        what = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise PerturbationError(f"{family}: returned {what}; it must return uint8 {picture_YXC.shape}, as it was given")
