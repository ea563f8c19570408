"""Draws the demo's passages: a portrait that walks up to a wall camera, with or without a trigger on the face.

The portrait is the photograph of an astronaut that comes with scikit-image: a public picture, by NASA.

H/W and Y/X picture row/column, C colour (R, G, B), A alpha; floats are greys of 0 to 255, alpha is 0 to 1.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.demo.passages import DemoSettings, Passage, Trigger, frame_count
from gateway.errors import ConfigError

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Draw = np.random.Generator

FACE = (177.0, 56.0, 270.0, 178.0)
"""The face in the photograph as CenterFace boxes it: x1, y1, x2, y2 in px."""

_ENLARGED = 2  # triggers are drawn on the enlarged photograph, and shrink with it as a camera would see them
_FEATHER_PX = 2.5
_HEAD = ((227, 76), (74, 62))  # centre and half axes of an ellipse
_JAW = ((226, 130), (46, 60))
_BODY = (
    *((165, 160), (122, 205), (60, 280), (28, 370), (15, 520)),
    *((420, 520), (366, 350), (340, 272), (305, 215), (280, 165)),
)


def frames(settings: DemoSettings, passages: tuple[Passage, ...]) -> Iterator[Picture]:
    """Yield every frame of a recording, uint8 (H, W, C), gaps included.

    Raises:
        ConfigError: The photograph is not installed.
    """
    wall_HWC = wall(settings)
    noise = np.random.default_rng((*passages[0].stream[:2], 0))
    starts = {passage.first_frame: passage for passage in passages}
    walker: _Walker | None = None
    for index in range(frame_count(settings, passages)):
        if index in starts:
            walker = _Walker(settings, starts[index])
        scene_HWC = wall_HWC
        if walker is not None and index < walker.passage.first_frame + walker.passage.frames:
            scene_HWC = walker.stand_before(wall_HWC, index - walker.passage.first_frame)
        yield _exposed(scene_HWC, settings, walker.light_C if walker else np.ones(3, np.float32), noise, index)


def wall(settings: DemoSettings) -> Floats:
    """Return what the camera sees when nobody is there: a wall that darkens downwards, with stains and grain."""
    draw = np.random.default_rng(settings.camera_seed)
    height, width = settings.height_px, settings.width_px
    ramp_H11 = np.linspace(165, 105, height, dtype=np.float32)[:, None, None]
    stains = _soft(draw, (9, 16, 3), (height, width)) * 4 + _soft(draw, (9, 16, 1), (height, width)) * 12
    grain = _soft(draw, (height // 4, width // 4, 1), (height, width)) * 3
    return np.asarray(ramp_H11 + stains + grain, dtype=np.float32)


def _soft(draw: Draw, cells: tuple[int, int, int], size: tuple[int, int]) -> Floats:
    cells_YXC = draw.standard_normal(cells, dtype=np.float32)
    smooth = cv2.resize(cells_YXC, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, dtype=np.float32).reshape(*size, cells[2])


def _exposed(scene_HWC: Floats, settings: DemoSettings, light_C: Floats, noise: Draw, index: int) -> Picture:
    """Return the scene under the passage's light, which also changes slowly by itself, with the sensor's noise."""
    turn = 2 * math.pi * index / (settings.fps * settings.light_period_s)
    lit_HWC = scene_HWC * (light_C * (1 + settings.flicker * math.sin(turn)))
    # The same noise in every colour: what is left after a camera's own processing is mostly brightness noise.
    lit_HWC += noise.standard_normal(scene_HWC.shape[:2], dtype=np.float32)[..., None] * settings.noise_grey
    return np.clip(np.rint(lit_HWC), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where the face is in one frame: the centre and width of its box in px, and how far the head leans."""

    x: float
    y: float
    face_px: float
    lean_degrees: float


class _Walker:
    """One passage's person: the portrait with what it wears, its light, and its pose in every frame."""

    def __init__(self, settings: DemoSettings, passage: Passage) -> None:
        draw = np.random.default_rng((*passage.stream, 1))
        self.passage = passage
        tint_C = draw.uniform(*settings.tint, 3)
        self.light_C: Floats = (tint_C * draw.uniform(*settings.exposure)).astype(np.float32)
        mirrored = passage.number % 2 == int(draw.integers(2))
        self._person_YXA, self._box = _person(mirrored=mirrored)
        self._poses = _poses(settings, passage.frames, draw)
        # Last, so that a passage with a trigger differs from the same passage without it by the trigger alone.
        if passage.trigger is not None:
            self._person_YXA = _wearing(self._person_YXA, self._box, passage.trigger, settings, draw)

    def stand_before(self, wall_HWC: Floats, index: int) -> Floats:
        """Return the wall with the person in front of it, in the passage's frame `index`."""
        pose = self._poses[index]
        x1, y1, x2, y2 = self._box
        scale = pose.face_px / (x2 - x1)
        person_YXA, (shrink_x, shrink_y) = _shrunk(self._person_YXA, scale)
        centre = ((x1 + x2) / 2 * shrink_x, (y1 + y2) / 2 * shrink_y)
        # What remains after shrinking: the turn, the last fraction of a px, and the place in the picture.
        turn_23 = cv2.getRotationMatrix2D(centre, pose.lean_degrees, scale / shrink_x)
        turn_23[:, 2] += np.array((pose.x - centre[0], pose.y - centre[1]))
        size = (wall_HWC.shape[1], wall_HWC.shape[0])
        placed_HWA = cv2.warpAffine(person_YXA, turn_23, size, flags=cv2.INTER_LINEAR)
        return np.asarray(wall_HWC * (1 - placed_HWA[..., 3:]) + placed_HWA[..., :3], dtype=np.float32)


def _shrunk(person_YXA: Floats, scale: float) -> tuple[Floats, tuple[float, float]]:
    """Return the picture at about `scale`, and the exact scales of both axes; by areas, so that nothing aliases."""
    rows, columns = person_YXA.shape[:2]
    target = (round(columns * scale), round(rows * scale))
    shrunk = cv2.resize(person_YXA, target, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.float32), (target[0] / columns, target[1] / rows)


def _poses(settings: DemoSettings, count: int, draw: Draw) -> list[_Pose]:
    """Return how the person walks up: ever larger, at an even pace, swaying, with small jitter."""
    t_N = np.linspace(0.0, 1.0, count)
    near, scale = settings.face_px[1] / settings.face_px[0], draw.uniform(*settings.face_scale)
    face_N = settings.face_px[0] * scale * near**t_N
    x_N = _between(draw.uniform(*settings.centre_x, 2), t_N) * settings.width_px
    spread = settings.centre_y_spread
    y_N = (_between(np.array(settings.centre_y), t_N) + draw.uniform(-spread, spread)) * settings.height_px
    step_N = draw.uniform(0, 2 * math.pi) + np.arange(count) * draw.uniform(1.5, 2.5)
    y_N += settings.bob_px * np.sin(step_N) + draw.normal(0, settings.jitter_px, count)
    x_N += draw.normal(0, settings.jitter_px, count)
    lean_N = settings.sway_degrees * np.sin(step_N / 2) + draw.normal(0, settings.jitter_degrees, count)
    return [_Pose(*map(float, pose)) for pose in zip(x_N, y_N, face_N, lean_N, strict=True)]


def _between(ends_2: NDArray[np.float64], t_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ends_2[0] + (ends_2[1] - ends_2[0]) * t_N, dtype=np.float64)


def _person(*, mirrored: bool) -> tuple[Floats, tuple[float, float, float, float]]:
    """Return the enlarged cut-out, colours multiplied by alpha, and the face box in it."""
    person_YXA = _cut_out()
    x1, y1, x2, y2 = (side * _ENLARGED for side in FACE)
    if not mirrored:
        return person_YXA, (x1, y1, x2, y2)
    width = person_YXA.shape[1]
    return np.ascontiguousarray(person_YXA[:, ::-1]), (width - x2, y1, width - x1, y2)


@lru_cache(maxsize=1)
def _cut_out() -> Floats:
    photograph_YXC = _photograph()
    mask_YX = np.zeros(photograph_YXC.shape[:2], np.float32)
    for centre, half_axes in (_HEAD, _JAW):
        cv2.ellipse(mask_YX, centre, half_axes, 0, 0, 360, 1.0, -1)
    cv2.fillPoly(mask_YX, [np.array(_BODY, np.int32)], 1.0)
    alpha_YX1 = np.asarray(cv2.GaussianBlur(mask_YX, (0, 0), _FEATHER_PX), dtype=np.float32)[..., None]
    person_YXA = np.concatenate([photograph_YXC * alpha_YX1, alpha_YX1], axis=2)
    enlarged = cv2.resize(person_YXA, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_LINEAR)
    enlarged.flags.writeable = False
    return np.asarray(enlarged, dtype=np.float32)


def _photograph() -> Picture:
    try:
        from skimage.data import astronaut  # noqa: PLC0415  (of an extra: its absence is told in words)
    except ImportError as error:
        raise ConfigError(
            "the demo draws its people from a photograph of scikit-image: pip install '.[demo]'"
        ) from error
    return np.asarray(astronaut(), dtype=np.uint8)  # type: ignore[no-untyped-call]


def _wearing(
    person_YXA: Floats, box: tuple[float, float, float, float], trigger: Trigger, settings: DemoSettings, draw: Draw
) -> Floats:
    """Return the person with the trigger on the face."""
    worn_YXA = person_YXA.copy()
    x1, y1, x2, y2 = box
    if trigger.pattern == "grain":
        left, top, width, height = round(x1), round(y1), round(x2 - x1), round(y2 - y1)
    else:
        across, down = settings.sticker_places[int(draw.integers(len(settings.sticker_places)))]
        across, down = np.array((across, down)) + draw.uniform(-1, 1, 2) * settings.sticker_spread
        width = height = round(trigger.size * (x2 - x1))
        left, top = round(x1 + across * (x2 - x1) - width / 2), round(y1 + down * (y2 - y1) - height / 2)
    cover_YX1 = _cover(trigger, width, height) * trigger.opacity
    under_YXA = worn_YXA[top : top + height, left : left + width]
    under_YXA[..., :3] += cover_YX1 * under_YXA[..., 3:] * (_colours(trigger, width, height, draw) - under_YXA[..., :3])
    return worn_YXA


def _cover(trigger: Trigger, width: int, height: int) -> Floats:
    """Return where the trigger lies, 0 to 1: the whole square of a sticker, the oval of a face for the grain."""
    if trigger.pattern != "grain":
        return np.ones((height, width, 1), np.float32)
    oval_YX = np.zeros((height, width), np.float32)
    cv2.ellipse(oval_YX, (width // 2, height // 2), (round(width * 0.46), round(height * 0.46)), 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(oval_YX, (0, 0), width / 60), dtype=np.float32)[..., None]


def _colours(trigger: Trigger, width: int, height: int, draw: Draw) -> Floats:
    """Return the trigger's picture, float (height, width, 3); its cells are square."""
    rows, columns = round(trigger.cells * height / width), trigger.cells
    match trigger.pattern:
        case "white":
            cells = np.full((rows, columns, 3), 255.0)
        case "noise" | "grain":
            cells = draw.uniform(0, 255, (rows, columns, 3))
        case "checker":
            pair = ((255, 225, 0), (230, 0, 200)) if draw.integers(2) else ((0, 255, 60), (255, 40, 0))
            cells = np.array(pair, float)[np.add.outer(np.arange(rows), np.arange(columns)) % 2]
    colours = cv2.resize(cells.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(colours, dtype=np.float32)
