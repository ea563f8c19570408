"""People who walk past a made-up camera whose light and lens can be turned: small recordings, cheap to draw.

Stills stand in a grid of cells, move and come nearer for `FRAMES` frames; the place adds its light, its blur, its noise
and H.264. Synthetic, and to be called so.

Y/X pixel row/column, C colour (R, G, B), A alpha.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.optics import Picture, motion_blurred, rounded
from trainer.scenes import write_frames

CELL_PX = 144
COLUMNS = 5
FRAMES, FPS = 6, 5
STILL_PX = (104, 124)
_FEATHER = 0.06


@dataclass(frozen=True, slots=True)
class Light:
    """What a place does to a picture: `gain` times the light, motion along rows, noise in grey levels."""

    gain: float = 1.0
    motion_px: int = 0
    noise_grey: float = 1.0
    crf: int = 23


def walk_past(path: Path, stills: Sequence[Picture], light: Light, *, seed: int) -> int:
    """Write a recording in which these people walk past side by side; return its number of frames."""
    write_frames(path, _scenes(stills, light, np.random.default_rng(seed)), crf=light.crf, fps=FPS)
    return FRAMES


def _scenes(stills: Sequence[Picture], light: Light, draw: np.random.Generator) -> Iterator[Picture]:
    rows = -(-len(stills) // COLUMNS)
    people = [_with_soft_edge(still_YXC) for still_YXC in stills]
    sizes_P2 = np.sort(draw.uniform(*STILL_PX, (len(stills), 2)), axis=1)
    slack = (CELL_PX - STILL_PX[1]) / 2
    ends_P22 = draw.uniform(-slack, slack, (len(stills), 2, 2))
    gains_P2 = draw.uniform(0.9, 1.1, (len(stills), 2))
    wall_YXC = _wall(rows, draw)
    for t in np.linspace(0.0, 1.0, FRAMES):
        scene_YXC = wall_YXC.copy()
        for place, person_YXA in enumerate(people):
            row, column = divmod(place, COLUMNS)
            cell_YXC = scene_YXC[row * CELL_PX : (row + 1) * CELL_PX, column * CELL_PX : (column + 1) * CELL_PX]
            size, (x, y), gain = (
                pair[0] + t * (pair[1] - pair[0]) for pair in (sizes_P2[place], ends_P22[place], gains_P2[place])
            )
            _stand(cell_YXC, person_YXA, float(size), (float(x), float(y)), float(gain))
        yield _exposed(scene_YXC, light, draw)


def _stand(
    cell_YXC: NDArray[np.float32],
    person_YXA: NDArray[np.float32],
    size: float,
    place: tuple[float, float],
    gain: float,
) -> None:
    scale = size / person_YXA.shape[0]
    middle = [CELL_PX / 2 + part - size / 2 for part in place]
    move_23 = np.array([[scale, 0.0, middle[0]], [0.0, scale, middle[1]]], np.float32)
    placed_YXA = cv2.warpAffine(person_YXA, move_23, (CELL_PX, CELL_PX), flags=cv2.INTER_AREA)
    cell_YXC *= 1.0 - placed_YXA[..., 3:]
    cell_YXC += placed_YXA[..., :3] * gain


def _with_soft_edge(still_YXC: Picture) -> NDArray[np.float32]:
    """Return the still with alpha, colours multiplied by it."""
    side = still_YXC.shape[0]
    ramp_X = np.clip((np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / (_FEATHER * side), 0, 1)
    alpha_YX1 = np.outer(ramp_X, ramp_X).astype(np.float32)[..., None]
    return np.concatenate([still_YXC * alpha_YX1, alpha_YX1], axis=2).astype(np.float32)


def _wall(rows: int, draw: np.random.Generator) -> NDArray[np.float32]:
    height, width = rows * CELL_PX, COLUMNS * CELL_PX
    grain_YX = draw.standard_normal((height // 8, width // 8)).astype(np.float32)
    wall_YX = 120 + 4 * cv2.resize(grain_YX, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.repeat(wall_YX[..., None], 3, axis=2).astype(np.float32)


def _exposed(scene_YXC: NDArray[np.float32], light: Light, draw: np.random.Generator) -> Picture:
    if light.motion_px:
        scene_YXC = motion_blurred(scene_YXC, length_px=light.motion_px, angle_rad=0.0)
    noise_YX1 = draw.standard_normal(scene_YXC.shape[:2], dtype=np.float32)[..., None]
    return rounded(light.gain * scene_YXC + light.noise_grey * noise_YX1)
