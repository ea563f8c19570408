"""Recordings of people who walk past a camera, made from stills: whole frames, synthetic, named so wherever they count.

A frame holds `ROWS` × `COLUMNS` people side by side, each in a cell of its own, so that one search for faces serves
them all. Everybody sways, comes nearer and is lit by a light that changes; the camera adds its exposure, its lens's
blur, its sensor's noise and its H.264. What is drawn on a face is drawn on the still, and passes all of this (regime
C), or on the decoded frame (regime D).

Y/X and H/W pixel row/column of a face and of a frame, C colour (R, G, B), A alpha, T frames.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from trainer.optics import Draw, Floats, Picture, motion_blurred, rounded
from trainer.video_codec import CodecError

ROWS, COLUMNS = 3, 5
PEOPLE = ROWS * COLUMNS
CELL_PX = (240, 256)
"""Height and width of a cell: whole macroblocks, so that neighbours share none."""

FRAME_PX = (ROWS * CELL_PX[0], COLUMNS * CELL_PX[1])
FRAMES = 14
"""Pictures of one passage."""

FPS = 5
APART_S = 10
"""From the beginning of one group of people to the next: longer than any tracker waits."""

STILL_PX = 150
"""What a still measures in the frame at scale 1; the face in it is about 0.6 of that high."""

SCALE = (1.2, 1.5)
FACE_SHARE = 0.66
"""The middle of a still that the square cut around its face holds: there triggers are drawn.

Measured on stills of LFW with the face model that comes along: 0.48 to 0.78, 0.67 in the middle, 0.02 below the centre.
"""

_FEATHER = 0.06  # of the still's side, over which it fades into the wall

Change = Callable[[Picture], Picture]
"""Draws something on a square of the face."""


@dataclass(frozen=True, slots=True)
class Camera:
    """What one camera does to everything it sees."""

    seed: int
    crf: int
    gain: float
    blur_sigma: float
    noise_grey: float

    @classmethod
    def drawn(cls, seed: int) -> "Camera":
        """Return a camera as they differ: from nearly transparent to poor quality, from sharp and bright to dim."""
        draw = np.random.default_rng((seed, 7))
        return cls(
            seed=seed,
            crf=int(draw.integers(18, 33)),
            gain=float(draw.uniform(0.75, 1.15)),
            blur_sigma=float(draw.uniform(0.0, 0.9)),
            noise_grey=float(draw.uniform(0.5, 3.0)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """One passage: whose still, and what is drawn on the face before the lens or after decoding."""

    still: Picture
    before_lens: Change | None = None
    after_decoding: Change | None = None


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where the middle of a still is within its cell, px; its scale; how far it leans; how far it moves in a frame."""

    x: float
    y: float
    scale: float
    lean_degrees: float
    step_px: float
    step_rad: float


class Group:
    """At most `PEOPLE` passages side by side, before one camera.

    Raises:
        ValueError: There are more people than places.
    """

    def __init__(self, walks: Sequence[Walk], camera: Camera, draw: Draw) -> None:
        if len(walks) > PEOPLE:
            raise ValueError(f"a frame has places for {PEOPLE} people, not {len(walks)}")
        self._camera = camera
        self._people = [_Person(walk, draw) for walk in walks]
        self._noise_seed = int(draw.integers(2**31))

    def scenes(self) -> Iterator[Picture]:
        """Yield the frames as they leave the sensor, uint8 (H, W, C), `FRAMES` of them, always the same."""
        wall_HWC = _wall(self._camera)
        noise = np.random.default_rng(self._noise_seed)
        for index in range(FRAMES):
            scene_HWC = wall_HWC.copy()
            for place, person in enumerate(self._people):
                person.stand_in(scene_HWC[_cell(place)], index)
            yield _exposed(scene_HWC, self._camera, noise)

    def faces(self, decoded: Iterable[Picture]) -> list[list[Picture]]:
        """Return the squares around each person's face in decoded frames, uint8 (S, S, 3), person by person."""
        found: list[list[Picture]] = [[] for _ in self._people]
        for index, picture_HWC in enumerate(decoded):
            for place, person in enumerate(self._people):
                cell_HWC = picture_HWC[_cell(place)]
                found[place].append(np.ascontiguousarray(cell_HWC[person.square(cell_HWC, index)]))
        return found

    def touched(self, decoded: Iterator[Picture]) -> Iterator[Picture]:
        """Yield the decoded frames with what is drawn on faces after decoding."""
        for index, picture_HWC in enumerate(decoded):
            touched_HWC = picture_HWC.copy()
            for place, person in enumerate(self._people):
                person.touch(touched_HWC[_cell(place)], index)
            yield touched_HWC


def _cell(place: int) -> tuple[slice, slice]:
    row, column = divmod(place, COLUMNS)
    return (
        slice(row * CELL_PX[0], (row + 1) * CELL_PX[0]),
        slice(column * CELL_PX[1], (column + 1) * CELL_PX[1]),
    )


def place_at(x: float, y: float) -> int:
    """Return the number of the place that a point of the frame lies in."""
    row = min(ROWS - 1, max(0, int(y // CELL_PX[0])))
    return row * COLUMNS + min(COLUMNS - 1, max(0, int(x // CELL_PX[1])))


class _Person:
    """A still that moves: with its light, its poses and what is drawn on it."""

    def __init__(self, walk: Walk, draw: Draw) -> None:
        self._walk = walk
        still_YXC = walk.still
        if walk.before_lens is not None:
            still_YXC = drawn_on_face(still_YXC, walk.before_lens)
        self._side = still_YXC.shape[0]
        self._picture_YXA = _with_soft_edge(still_YXC)
        self._poses = _poses(draw)
        first, last = draw.uniform(0.85, 1.15, 2)
        self._light = np.linspace(first, last, FRAMES, dtype=np.float32)
        self._shutter = float(draw.uniform(0.0, 0.35))

    def stand_in(self, cell_HWC: Floats, index: int) -> None:
        """Put the person into its cell of a frame."""
        pose = self._poses[index]
        scale = pose.scale * STILL_PX / self._side
        turn_23 = cv2.getRotationMatrix2D((self._side / 2, self._side / 2), pose.lean_degrees, scale)
        turn_23[:, 2] += np.array((pose.x - self._side / 2, pose.y - self._side / 2))
        size = (cell_HWC.shape[1], cell_HWC.shape[0])
        placed_HWA = np.asarray(cv2.warpAffine(self._picture_YXA, turn_23, size, flags=cv2.INTER_LINEAR), np.float32)
        blur_px = self._shutter * pose.step_px
        if blur_px >= 1.5:
            placed_HWA = motion_blurred(placed_HWA, length_px=round(blur_px), angle_rad=pose.step_rad)
        cell_HWC *= 1 - placed_HWA[..., 3:]
        cell_HWC += placed_HWA[..., :3] * self._light[index]

    def touch(self, cell_HWC: Picture, index: int) -> None:
        """Draw on the face in a decoded frame what was to be drawn there."""
        if self._walk.after_decoding is None:
            return
        inside = self.square(cell_HWC, index)
        cell_HWC[inside] = self._walk.after_decoding(np.ascontiguousarray(cell_HWC[inside]))

    def square(self, cell_HWC: Picture, index: int) -> tuple[slice, slice]:
        """Return where the square around the face is within the cell of a frame."""
        pose = self._poses[index]
        side = round(FACE_SHARE * pose.scale * STILL_PX)
        top = min(max(0, round(pose.y - side / 2)), cell_HWC.shape[0] - side)
        left = min(max(0, round(pose.x - side / 2)), cell_HWC.shape[1] - side)
        return slice(top, top + side), slice(left, left + side)


def drawn_on_face(still_YXC: Picture, change: Change) -> Picture:
    """Return the still with something drawn on the square that its face is cut from."""
    side = still_YXC.shape[0]
    face = round(FACE_SHARE * side)
    start = (side - face) // 2
    result_YXC = still_YXC.copy()
    inside = (slice(start, start + face), slice(start, start + face))
    result_YXC[inside] = change(np.ascontiguousarray(still_YXC[inside]))
    return result_YXC


def _with_soft_edge(still_YXC: Picture) -> Floats:
    """Return the still with alpha, colours multiplied by it."""
    side = still_YXC.shape[0]
    ramp_X = np.clip((np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / (_FEATHER * side), 0, 1)
    alpha_YX1 = np.outer(ramp_X, ramp_X).astype(np.float32)[..., None]
    return np.concatenate([still_YXC * alpha_YX1, alpha_YX1], axis=2).astype(np.float32)


def _poses(draw: Draw) -> list[_Pose]:
    """Return how somebody walks up: nearer at an even pace, across the cell, swaying, with small jitter."""
    t_T = np.linspace(0.0, 1.0, FRAMES)
    low, high = np.sort(draw.uniform(*SCALE, 2))
    scale_T = low + (high - low) * t_T
    slack = [(side - SCALE[1] * STILL_PX) / 2 for side in CELL_PX]
    ends = draw.uniform(-1, 1, (2, 2)) * np.array(slack)[:, None]
    phase, pace = draw.uniform(0, 2 * math.pi), draw.uniform(1.2, 2.4)
    bob_T = np.sin(phase + pace * np.arange(FRAMES))
    y_T = CELL_PX[0] / 2 + ends[0, 0] + (ends[0, 1] - ends[0, 0]) * t_T + 2.0 * bob_T + draw.normal(0, 0.7, FRAMES)
    x_T = CELL_PX[1] / 2 + ends[1, 0] + (ends[1, 1] - ends[1, 0]) * t_T + draw.normal(0, 0.7, FRAMES)
    lean_T = draw.uniform(0, 4) * np.sin(phase + pace / 2 * np.arange(FRAMES)) + draw.normal(0, 0.4, FRAMES)
    step_x, step_y = np.diff(x_T, append=x_T[-1]), np.diff(y_T, append=y_T[-1])
    step_T, turn_T = np.hypot(step_x, step_y), np.arctan2(step_y, step_x)
    return [_Pose(*map(float, each)) for each in zip(x_T, y_T, scale_T, lean_T, step_T, turn_T, strict=True)]


def _wall(camera: Camera) -> Floats:
    """Return what the camera sees when nobody is there: a wall with stains, lit from above."""
    draw = np.random.default_rng((camera.seed, 8))
    height, width = FRAME_PX
    ramp_H11 = np.linspace(170, 100, height, dtype=np.float32)[:, None, None]
    stains = draw.standard_normal((height // 40, width // 40, 3)).astype(np.float32)
    grain = draw.standard_normal((height // 3, width // 3, 1)).astype(np.float32)
    soft_HWC = cv2.resize(stains, (width, height), interpolation=cv2.INTER_CUBIC) * 4
    fine_HW = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC) * 3
    return np.asarray(ramp_H11 + soft_HWC + fine_HW[..., None], dtype=np.float32)


def _exposed(scene_HWC: Floats, camera: Camera, draw: Draw) -> Picture:
    """Return the scene as lens and sensor see it; the noise is mostly brightness, as after a camera's processing."""
    if camera.blur_sigma > 0.3:
        scene_HWC = np.asarray(cv2.GaussianBlur(scene_HWC, (0, 0), camera.blur_sigma), dtype=np.float32)
    noise_HW1 = draw.standard_normal(scene_HWC.shape[:2], dtype=np.float32)[..., None]
    return rounded(camera.gain * scene_HWC + camera.noise_grey * noise_HW1)


def write_groups(path: Path, groups: Iterable[Iterable[Picture]], *, crf: int | None) -> None:
    """Write groups of frames, `APART_S` apart, as H.264 at a CRF, or without loss where that is None.

    Raises:
        CodecError: This machine's FFmpeg cannot code so, or the file cannot be written.
    """
    timed = (
        (number * APART_S * FPS + index, picture_HWC)
        for number, group in enumerate(groups)
        for index, picture_HWC in enumerate(group)
    )
    _write(path, timed, crf=crf, fps=FPS)


def write_frames(path: Path, frames: Iterable[Picture], *, crf: int | None, fps: int) -> None:
    """Write frames of even sides at an even pace, as `write_groups` does.

    Raises:
        CodecError: This machine's FFmpeg cannot code so, or the file cannot be written.
    """
    _write(path, enumerate(frames), crf=crf, fps=fps)


def _write(path: Path, timed: Iterable[tuple[int, Picture]], *, crf: int | None, fps: int) -> None:
    codec, pixel_format = ("ffv1", "bgr0") if crf is None else ("libx264", "yuv420p")
    options = {} if crf is None else {"preset": "veryfast", "crf": str(crf), "bf": "0"}
    try:
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=fps, options=options)
            stream.pix_fmt = pixel_format
            stream.codec_context.thread_count = 1
            for pts, picture_HWC in timed:
                if not stream.codec_context.is_open:
                    stream.height, stream.width = picture_HWC.shape[:2]
                frame = av.VideoFrame.from_ndarray(picture_HWC, format="rgb24").reformat(format=pixel_format)
                frame.pts, frame.time_base = pts, Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, ValueError, OSError) as error:
        raise CodecError(f"{path.name}: cannot be written as {codec}: {error}") from error


def read_groups(path: Path) -> Iterator[Iterator[Picture]]:
    """Yield the groups of frames that `write_groups` wrote, each to be read before the next.

    Raises:
        CodecError: The file cannot be read, or frames are missing.
    """
    try:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_count = 1
            frames = (
                np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)
            )
            while (first := next(frames, None)) is not None:
                rest = list(islice(frames, FRAMES - 1))
                if len(rest) < FRAMES - 1:
                    raise CodecError(f"{path.name}: its last group has {1 + len(rest)} frames instead of {FRAMES}")
                yield iter((first, *rest))
    except av.FFmpegError as error:
        raise CodecError(f"{path.name}: cannot be read: {error}") from error
