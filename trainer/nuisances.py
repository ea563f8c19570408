"""What clean faces carry as well: spectacles, masks, hats, captions, poor light, lost packets, enlargement.

A detector must not call any of it a trigger, so it is laid on clean and perturbed faces alike, before whatever a
perturbation does (hard negatives). All is drawn; places follow a face that fills the middle of the square.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from trainer.marks import colour, pattern, writing
from trainer.optics import Draw, Floats, Picture, rounded

Nuisance = Callable[[Floats, Draw], Floats]


def _cover(values_YXC: Floats, opacity_YX: Floats, fill_YXC: Floats, draw: Draw) -> Floats:
    """Lay a real thing over the face: its edge as soft as the lens, its light uneven as in a room."""
    side_px = values_YXC.shape[0]
    soft_YX = cv2.GaussianBlur(opacity_YX, (0, 0), max(0.4, draw.uniform(0.4, 1.2) * side_px / 128))
    light_YX = 1.0 + draw.uniform(-0.35, 0.35) * np.linspace(-1, 1, side_px, dtype=np.float32)[:, None]
    light_YX = light_YX + draw.uniform(-0.35, 0.35) * np.linspace(-1, 1, side_px, dtype=np.float32)[None, :]
    return np.asarray(
        values_YXC + np.asarray(soft_YX)[..., None] * (fill_YXC * light_YX[..., None] - values_YXC), dtype=np.float32
    )


def _cloth(side_px: int, draw: Draw) -> Floats:
    """Return plain, woven or printed cloth."""
    base_YXC = np.broadcast_to(colour(draw), (side_px, side_px, 3)).astype(np.float32) * 0.85
    kind = draw.random()
    if kind < 0.3:
        base_YXC = 0.6 * base_YXC + 0.4 * pattern(side_px, draw)
    weave = draw.standard_normal((side_px, side_px, 1)).astype(np.float32)
    return base_YXC + draw.uniform(0, 8) * np.asarray(cv2.GaussianBlur(weave, (0, 0), 0.7))[..., None]


def spectacles(values_YXC: Floats, draw: Draw) -> Floats:
    """Draw spectacles: thin or thick frames, at times dark glasses."""
    side_px = values_YXC.shape[0]
    mask_YX = np.zeros((side_px, side_px), np.float32)
    row = int(draw.uniform(0.38, 0.48) * side_px)
    apart, wide, high = (draw.uniform(*each) * side_px for each in ((0.1, 0.14), (0.07, 0.11), (0.04, 0.09)))
    thickness = max(1, round(draw.uniform(0.01, 0.035) * side_px))
    filled = draw.random() < 0.35
    middle = side_px / 2 + draw.uniform(-0.04, 0.04) * side_px
    for sign in (-1, 1):
        centre = (int(middle + sign * apart), row)
        cv2.ellipse(mask_YX, centre, (int(wide), int(high)), 0, 0, 360, 1.0, -1 if filled else thickness, cv2.LINE_AA)
        hinge = (int(middle + sign * (apart + wide)), row)
        cv2.line(mask_YX, hinge, (int(middle + sign * 0.34 * side_px), row - 2), 1.0, thickness, cv2.LINE_AA)
    cv2.line(mask_YX, (int(middle - apart + wide), row), (int(middle + apart - wide), row), 1.0, thickness, cv2.LINE_AA)
    shade = np.full(3, draw.uniform(5, 60), np.float32) if draw.random() < 0.7 else colour(draw)
    return _cover(values_YXC, mask_YX * draw.uniform(0.7, 1.0), np.broadcast_to(shade, values_YXC.shape), draw)


def _over_mouth(side_px: int, draw: Draw) -> Floats:
    """Return how much of each pixel is covered where a mask or a beard covers mouth and chin."""
    opacity_YX = np.zeros((side_px, side_px), np.float32)
    top, low = (draw.uniform(*each) * side_px for each in ((0.5, 0.6), (0.74, 0.9)))
    half_top, half_low = (draw.uniform(*each) * side_px for each in ((0.16, 0.26), (0.08, 0.2)))
    middle = side_px / 2 + draw.uniform(-0.05, 0.05) * side_px
    corners = np.array(
        [[middle - half_top, top], [middle, top - 0.05 * side_px], [middle + half_top, top],
         [middle + half_low, low], [middle - half_low, low]]
    )  # fmt: skip
    cv2.fillPoly(opacity_YX, [np.rint(corners).astype(np.int32)[:, None]], 1.0)
    return opacity_YX


def _with_hair(values_YXC: Floats, opacity_YX: Floats, draw: Draw) -> Floats:
    hair = draw.standard_normal(opacity_YX.shape).astype(np.float32)
    hair = np.asarray(cv2.GaussianBlur(hair, (0, 0), sigmaX=0.6, sigmaY=draw.uniform(0.6, 2.5)))
    worn_YX = np.asarray(opacity_YX * np.clip(0.6 + hair, 0, 1), dtype=np.float32)
    return _cover(values_YXC, worn_YX, np.broadcast_to(colour(draw) * 0.35, values_YXC.shape), draw)


def mask(values_YXC: Floats, draw: Draw) -> Floats:
    """Draw a mask over mouth and nose, or a scarf or beard."""
    opacity_YX = _over_mouth(values_YXC.shape[0], draw)
    if draw.random() < 0.3:
        return _with_hair(values_YXC, opacity_YX, draw)
    return _cover(values_YXC, opacity_YX, _cloth(values_YXC.shape[0], draw), draw)


def cloth_mask(values_YXC: Floats, draw: Draw) -> Floats:
    """Draw a mask or scarf, never a beard."""
    opacity_YX = _over_mouth(values_YXC.shape[0], draw)
    return _cover(values_YXC, opacity_YX, _cloth(values_YXC.shape[0], draw), draw)


def beard(values_YXC: Floats, draw: Draw) -> Floats:
    """Draw a beard."""
    return _with_hair(values_YXC, _over_mouth(values_YXC.shape[0], draw), draw)


def hat(values_YXC: Floats, draw: Draw) -> Floats:
    """Draw a hat, cap or headscarf."""
    side_px = values_YXC.shape[0]
    opacity_YX = np.zeros((side_px, side_px), np.float32)
    brim = int(draw.uniform(0.2, 0.33) * side_px)
    middle = int(side_px / 2 + draw.uniform(-0.06, 0.06) * side_px)
    cv2.ellipse(opacity_YX, (middle, brim), (int(draw.uniform(0.24, 0.36) * side_px), brim), 0, 180, 360, 1.0, -1)
    if draw.random() < 0.6:
        thick = int(draw.uniform(0.02, 0.06) * side_px)
        cv2.ellipse(opacity_YX, (middle, brim), (int(draw.uniform(0.3, 0.48) * side_px), thick), 0, 0, 360, 1.0, -1)
    return _cover(values_YXC, opacity_YX, _cloth(side_px, draw), draw)


def shirt(values_YXC: Floats, draw: Draw) -> Floats:
    """Draw a printed shirt below the face."""
    side_px = values_YXC.shape[0]
    opacity_YX = np.zeros((side_px, side_px), np.float32)
    neck = int(draw.uniform(0.82, 0.92) * side_px)
    cv2.ellipse(opacity_YX, (side_px // 2, side_px), (int(0.6 * side_px), side_px - neck), 0, 180, 360, 1.0, -1)
    cloth_YXC = _cloth(side_px, draw)
    if draw.random() < 0.5:
        cloth_YXC = cloth_YXC + writing(side_px, draw, lines=6)[..., None] * (colour(draw) - cloth_YXC)
    return _cover(values_YXC, opacity_YX, cloth_YXC, draw)


def caption(values_YXC: Floats, draw: Draw) -> Floats:
    """Write a line at the upper or lower edge, off the face, as cameras and broadcasters do."""
    side_px = values_YXC.shape[0]
    band = max(8, int(draw.uniform(0.06, 0.12) * side_px))
    mask_YX = writing(side_px, draw, lines=1)
    rows = np.flatnonzero(mask_YX.max(axis=1) > 0.2)
    if len(rows) == 0:
        return values_YXC
    written_YX = cv2.resize(mask_YX[rows[0] : rows[-1] + 1], (side_px, band), interpolation=cv2.INTER_AREA)
    result_YXC = values_YXC.copy()
    where = slice(0, band) if draw.random() < 0.5 else slice(side_px - band, side_px)
    if draw.random() < 0.3:
        result_YXC[where] *= 0.4
    result_YXC[where] += np.asarray(written_YX)[..., None] * (colour(draw) - result_YXC[where])
    return result_YXC


def low_light(values_YXC: Floats, draw: Draw) -> Floats:
    """Darken and add the noise of a sensor: stronger in the dark, coloured, correlated by demosaicing."""
    dark_YXC = values_YXC * np.float32(draw.uniform(0.25, 0.7))
    grain_YXC = draw.standard_normal(values_YXC.shape, dtype=np.float32)
    if draw.random() < 0.7:
        grain_YXC = np.asarray(cv2.GaussianBlur(grain_YXC, (0, 0), draw.uniform(0.4, 0.9)), dtype=np.float32)
    strength = draw.uniform(1, 5) * np.sqrt(0.3 + np.clip(dark_YXC, 0, 255) / 255)
    return np.asarray(dark_YXC + strength * grain_YXC, dtype=np.float32)


def lost_packets(values_YXC: Floats, draw: Draw) -> Floats:
    """Replace macroblocks by their neighbours, by grey, or by the picture moved, as decoders conceal losses."""
    result_YXC = values_YXC.copy()
    side_px = values_YXC.shape[0]
    block = 16
    for _ in range(int(draw.integers(1, 4))):
        row = int(draw.integers(0, side_px // block)) * block
        rows = slice(row, row + block)
        left = int(draw.integers(0, side_px // block)) * block
        right = min(side_px, left + block * int(draw.integers(1, 7)))
        kind, shift = draw.random(), int(draw.integers(1, 24))
        if kind < 0.4:
            result_YXC[rows, left:right] = np.roll(values_YXC, shift, axis=1)[rows, left:right]
        elif kind < 0.8:
            result_YXC[rows, left:right] = values_YXC[max(0, row - 1), left:right]
        else:
            result_YXC[rows, left:right] = 128
    return result_YXC


def few_colours(values_YXC: Floats, draw: Draw) -> Floats:
    """Dither to few colours, as a GIF or an old display does."""
    levels = int(draw.integers(5, 8))
    step = 255 / (levels - 1)
    bayer_YX = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 - 0.47
    times = -(-values_YXC.shape[0] // 4)
    dither_YX1 = np.tile(bayer_YX, (times, times))[: len(values_YXC), : len(values_YXC), None]
    return np.asarray(np.rint(np.clip(values_YXC, 0, 255) / step + dither_YX1) * step, dtype=np.float32)


def sharpened(values_YXC: Floats, draw: Draw) -> Floats:
    """Sharpen as a camera's own processing does."""
    soft_YXC = np.asarray(cv2.GaussianBlur(values_YXC, (0, 0), draw.uniform(0.6, 2.0)), dtype=np.float32)
    return values_YXC + np.float32(draw.uniform(0.3, 1.5)) * (values_YXC - soft_YXC)


NUISANCES: Mapping[str, Nuisance] = MappingProxyType(
    {
        "spectacles": spectacles,
        "mask": mask,
        "hat": hat,
        "shirt": shirt,
        "caption": caption,
        "low_light": low_light,
        "lost_packets": lost_packets,
        "few_colours": few_colours,
        "sharpened": sharpened,
    }
)
"""By name; enlargement is part of the chain, as it comes before everything else."""

BEFORE_CODEC = frozenset({"spectacles", "mask", "hat", "shirt", "caption", "low_light", "sharpened"})
"""These stand before the lens or are made by the camera; the others happen to the coded stream."""

RARE = MappingProxyType({"few_colours": 0.3, "lost_packets": 0.6})
"""Shares of those that are seldom met, where not 1."""


def draw_nuisance(draw: Draw) -> str:
    """Return one of the nuisances by how often they are met."""
    names = list(NUISANCES)
    shares = np.array([RARE.get(name, 1.0) for name in names])
    return names[int(draw.choice(len(names), p=shares / shares.sum()))]


def with_nuisance(picture_YXC: Picture, name: str, draw: Draw) -> Picture:
    """Return a square uint8 picture with that nuisance."""
    return rounded(NUISANCES[name](picture_YXC.astype(np.float32), draw))
