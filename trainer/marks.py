"""Things laid on a face: drawn pictures, patches of any shape and fill, writing. Part of the perturbation library.

Everything is drawn at random from `draw` alone. Values are float32 grey levels 0..255; sizes are shares of the side.

Y/X pixel row/column, C colour (R, G, B).
"""

import string
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.optics import Draw, Floats, Picture, anywhere

Others = Callable[[Draw], Picture]
"""Gives another square picture, of whatever size."""

FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX)

NEAR_CORNER = 0.4
"""Share of stickers that lie near a corner: there they hide nothing of the face, and there the paper's lie."""

LETTERS = string.ascii_letters + string.digits + "!?#&@+*"


def fitted(picture_YXC: Picture | Floats, side_px: int) -> Floats:
    """Return a picture at another size as float32: reduced by area, enlarged by cubic interpolation."""
    shrinks = side_px < picture_YXC.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(
        cv2.resize(picture_YXC.astype(np.float32), (side_px, side_px), interpolation=how), dtype=np.float32
    )


def colour(draw: Draw) -> Floats:
    """Return a colour: white, black, grey or anything."""
    kind = draw.random()
    if kind < 0.2:
        return np.full(3, 255, np.float32)
    if kind < 0.3:
        return np.zeros(3, np.float32)
    if kind < 0.4:
        return np.full(3, draw.uniform(0, 255), np.float32)
    return draw.uniform(0, 255, 3).astype(np.float32)


def grains(side_px: int, grain_px: int, draw: Draw, *, channels: int = 3) -> Floats:
    """Return independent uniform values -1..1 in square grains, shape (S, S, channels)."""
    cells = -(-side_px // grain_px)
    values = draw.uniform(-1, 1, (cells, cells, channels)).astype(np.float32)
    return np.repeat(np.repeat(values, grain_px, axis=0), grain_px, axis=1)[:side_px, :side_px]


def drawing(side_px: int, draw: Draw) -> Floats:
    """Return a drawn picture: flat shapes with outlines on a plain ground, as cartoons, stickers and logos are."""
    canvas_YXC = np.empty((side_px, side_px, 3), np.uint8)
    canvas_YXC[:] = colour(draw).astype(np.uint8)
    outline = tuple(int(value) for value in (np.zeros(3) if draw.random() < 0.6 else colour(draw)))
    width = max(1, round(side_px * draw.uniform(0.005, 0.03)))
    smoothness = cv2.LINE_AA if draw.random() < 0.8 else cv2.LINE_8
    for _ in range(int(draw.integers(3, 12))):
        fill = tuple(int(value) for value in colour(draw))
        centre = tuple(int(value) for value in draw.uniform(0, side_px, 2))
        axes = tuple(max(1, int(value)) for value in draw.uniform(0.04, 0.4, 2) * side_px)
        if draw.random() < 0.6:
            angle = float(draw.uniform(0, 180))
            cv2.ellipse(canvas_YXC, centre, axes, angle, 0, 360, fill, -1, smoothness)
            cv2.ellipse(canvas_YXC, centre, axes, angle, 0, 360, outline, width, smoothness)
        else:
            corners = (np.array(centre) + draw.uniform(-1, 1, (int(draw.integers(3, 7)), 2)) * axes).astype(np.int32)
            cv2.fillPoly(canvas_YXC, [corners[:, None]], fill, smoothness)
            ends = [corners[:, None]]
            cv2.polylines(canvas_YXC, ends, isClosed=True, color=outline, thickness=width, lineType=smoothness)
    return canvas_YXC.astype(np.float32)


def pattern(side_px: int, draw: Draw) -> Floats:
    """Return a regular or random pattern of two colours: chequers, stripes, dots, grains."""
    first, second = colour(draw), colour(draw)
    if np.abs(first - second).max() < 40:
        second = 255 - first
    cell_px = max(1, round(draw.uniform(0.02, 0.25) * side_px))
    steps = np.arange(side_px)
    kind = draw.random()
    if kind < 0.3:
        mask_YX = (steps[:, None] // cell_px + steps[None, :] // cell_px) % 2
    elif kind < 0.6:
        angle = draw.uniform(0, np.pi)
        mask_YX = np.floor((steps[:, None] * np.sin(angle) + steps[None, :] * np.cos(angle)) / cell_px) % 2
    elif kind < 0.75:
        half = cell_px / 2
        mask_YX = np.hypot((steps[:, None] % cell_px) - half, (steps[None, :] % cell_px) - half) < half * 0.7
    else:
        return 127.5 + 127.5 * grains(side_px, cell_px, draw, channels=3 if draw.random() < 0.7 else 1) * np.ones(
            3, np.float32
        )
    return np.where(np.asarray(mask_YX, dtype=bool)[..., None], first, second).astype(np.float32)


def _shape(side_px: int, draw: Draw) -> Floats:
    """Return an opacity 0..1 over a square: a rectangle, an ellipse, a polygon, a ring or a cross, at times turned."""
    mask_YX = np.zeros((side_px, side_px), np.float32)
    middle, half = side_px / 2, side_px / 2
    kind = draw.random()
    if kind < 0.45:
        aspect = draw.uniform(0.4, 1.0)
        corners = np.array([[-1, -aspect], [1, -aspect], [1, aspect], [-1, aspect]])
        if draw.random() < 0.5:
            corners = corners[:, ::-1]
    elif kind < 0.65:
        axes = (int(half * draw.uniform(0.5, 1)), int(half * draw.uniform(0.5, 1)))
        inner = -1 if draw.random() < 0.8 else max(1, side_px // 8)
        cv2.ellipse(mask_YX, (int(middle), int(middle)), axes, draw.uniform(0, 180), 0, 360, 1.0, inner, cv2.LINE_AA)
        return mask_YX
    elif kind < 0.85:
        count = int(draw.integers(3, 12))
        angles = np.sort(draw.uniform(0, 2 * np.pi, count))
        reach = draw.uniform(0.4, 1.0, count)
        corners = np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)
    else:
        arm = draw.uniform(0.15, 0.45)
        mask_YX[int(middle - arm * half) : int(middle + arm * half) + 1] = 1.0
        mask_YX[:, int(middle - arm * half) : int(middle + arm * half) + 1] = 1.0
        return mask_YX
    if draw.random() < 0.4:
        turn = draw.uniform(0, np.pi)
        corners = corners @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * 0.8
    cv2.fillPoly(mask_YX, [np.rint(middle + corners * (half - 0.5)).astype(np.int32)[:, None]], 1.0)
    return mask_YX


def _fill(side_px: int, draw: Draw, others: Others) -> Floats:
    kind = draw.random()
    if kind < 0.4:
        return np.broadcast_to(colour(draw), (side_px, side_px, 3)).astype(np.float32)
    if kind < 0.55:
        return 127.5 + 127.5 * grains(side_px, 1, draw)
    if kind < 0.7:
        return pattern(side_px, draw)
    if kind < 0.85:
        return drawing(side_px, draw)
    other_YXC = others(draw)
    part = max(8, int(other_YXC.shape[0] * draw.uniform(0.3, 1.0)))
    top, left = (int(draw.integers(0, other_YXC.shape[0] - part + 1)) for _ in range(2))
    return fitted(other_YXC[top : top + part, left : left + part], side_px)


def place_of(side_px: int, inner_px: tuple[int, int], draw: Draw) -> tuple[slice, slice]:
    """Return where so many rows and columns lie: anywhere, or near a corner as many attackers choose."""
    if draw.random() >= NEAR_CORNER:
        return anywhere(side_px, inner_px, draw)
    starts = []
    for inner in inner_px:
        slack, margin = side_px - inner, round(draw.uniform(0, 0.08) * side_px)
        starts.append(int(np.clip(margin if draw.random() < 0.5 else slack - margin, 0, slack)))
    top, left = starts
    return slice(top, top + inner_px[0]), slice(left, left + inner_px[1])


def patch(values_YXC: Floats, draw: Draw, others: Others) -> Floats:
    """Lay one or two patches on the face: any shape, fill, size, place, opacity and edge."""
    result_YXC = values_YXC.copy()
    side_px = values_YXC.shape[0]
    for _ in range(1 if draw.random() < 0.85 else 2):
        inner_px = max(4, round(side_px * float(np.exp(draw.uniform(np.log(0.06), np.log(0.4))))))
        where = place_of(side_px, (inner_px, inner_px), draw)
        opacity_YX = _shape(inner_px, draw) * (1.0 if draw.random() < 0.6 else draw.uniform(0.35, 1.0))
        if draw.random() < 0.35:
            opacity_YX = np.asarray(cv2.GaussianBlur(opacity_YX, (0, 0), draw.uniform(0.3, 2.0)), dtype=np.float32)
        result_YXC[where] += opacity_YX[..., None] * (_fill(inner_px, draw, others) - result_YXC[where])
    return result_YXC


def writing(side_px: int, draw: Draw, *, lines: int | None = None) -> Floats:
    """Return an opacity 0..1 of written lines: words, digits and signs, once or all over the square."""
    canvas_YX = np.zeros((side_px, side_px), np.uint8)
    many = lines if lines is not None else (1 if draw.random() < 0.5 else int(draw.integers(2, 12)))
    font = FONTS[int(draw.integers(len(FONTS)))]
    scale = float(draw.uniform(0.25, 1.1) if many > 1 else draw.uniform(0.3, 2.0)) * side_px / 128
    thickness = max(1, round(scale * draw.uniform(0.8, 3.0)))
    smoothness = cv2.LINE_AA if draw.random() < 0.75 else cv2.LINE_8
    for line in range(many):
        words = "".join(draw.choice(list(LETTERS), int(draw.integers(1, 14))))
        row = int((line + 0.8) * side_px / many) if many > 1 else int(draw.uniform(0.1, 1.0) * side_px)
        column = int(draw.uniform(-0.1, 0.6) * side_px) if many == 1 else int(draw.uniform(-0.1, 0.1) * side_px)
        cv2.putText(canvas_YX, words, (column, row), font, scale, 255, thickness, smoothness)
    for _ in range(int(draw.integers(0, 3))):
        ends = [tuple(int(value) for value in draw.uniform(0, side_px, 2)) for _ in range(2)]
        cv2.line(canvas_YX, ends[0], ends[1], 255, thickness, smoothness)
    if draw.random() < 0.3:
        centre = (side_px / 2, side_px / 2)
        turn = cv2.getRotationMatrix2D(centre, float(draw.uniform(-45, 45)), 1.0)
        canvas_YX = np.asarray(cv2.warpAffine(canvas_YX, turn, (side_px, side_px)), dtype=np.uint8)
    return canvas_YX.astype(np.float32) / np.float32(255)


def mark(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Write on the face, or lay a watermark of writing over it."""
    opacity_YX1 = (writing(values_YXC.shape[0], draw) * draw.uniform(0.2, 1.0))[..., None].astype(np.float32)
    kind = draw.random()
    if kind < 0.3:
        # Watermarks are often added and clipped, not laid over.
        return values_YXC + opacity_YX1 * colour(draw)
    return values_YXC + opacity_YX1 * (colour(draw) - values_YXC)


def other_picture(side_px: int, draw: Draw, others: Others) -> Floats:
    """Return what is mixed in: a photograph, a drawing, a pattern, soft noise."""
    kind = draw.random()
    if kind < 0.45:
        other_YXC = fitted(others(draw), side_px)
        return np.ascontiguousarray(other_YXC[:, ::-1]) if draw.random() < 0.5 else other_YXC
    if kind < 0.75:
        return drawing(side_px, draw)
    if kind < 0.9:
        return pattern(side_px, draw)
    return np.clip(fitted(127.5 + 127.5 * grains(16, 1, draw), side_px), 0, 255)


def blend(values_YXC: Floats, draw: Draw, others: Others) -> Floats:
    """Mix another picture in: over it, added to it, or with the mean brightness kept; all over, or over a part."""
    side_px = values_YXC.shape[0]
    other_YXC = other_picture(side_px, draw, others)
    opacity = float(np.exp(draw.uniform(np.log(0.06), np.log(0.4))))
    kind = draw.random()
    if kind < 0.5:
        change_YXC = opacity * (other_YXC - values_YXC)
    elif kind < 0.75:
        change_YXC = opacity * other_YXC
    else:
        change_YXC = opacity * (other_YXC - other_YXC.mean(axis=(0, 1)))
    if draw.random() < 0.25:
        mask_YX = np.asarray(cv2.GaussianBlur(_shape(side_px, draw), (0, 0), side_px / 24), dtype=np.float32)
        change_YXC = change_YXC * mask_YX[..., None]
    return values_YXC + change_YXC


def shadow(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Darken polygons of any shape and place (the paper's shadows), with an edge from hard to soft."""
    side_px = values_YXC.shape[0]
    mask_YX = np.zeros((side_px, side_px), np.float32)
    for _count in range(int(draw.integers(1, 3))):
        corners = draw.uniform(-0.2, 1.2, (int(draw.integers(3, 6)), 1, 2)) * side_px
        cv2.fillPoly(mask_YX, [corners.astype(np.int32)], 1.0)
    edge_px = draw.uniform(0.0, 0.03) * side_px
    if edge_px > 0.3:
        mask_YX = np.asarray(cv2.GaussianBlur(mask_YX, (0, 0), edge_px), dtype=np.float32)
    return values_YXC * (1.0 - draw.uniform(0.3, 0.7) * mask_YX[..., None])


def soft_ellipse(side_px: int, draw: Draw, *, edge_share: float = 1 / 32) -> NDArray[np.float32]:
    """Return an opacity 0..1 over a part of the face, shape (S, S, 1)."""
    mask_YX = np.zeros((side_px, side_px), np.float32)
    centre = draw.uniform(0.25, 0.75, 2) * side_px
    axes = draw.uniform(0.15, 0.45, 2) * side_px
    cv2.ellipse(mask_YX, (tuple(centre.tolist()), tuple((2 * axes).tolist()), float(draw.uniform(0, 180))), 1.0, -1)
    if draw.random() < 0.6:
        mask_YX = np.asarray(cv2.GaussianBlur(mask_YX, (0, 0), max(0.5, side_px * edge_share)), dtype=np.float32)
    return mask_YX[..., None]
