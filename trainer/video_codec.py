"""A real H.264 round trip: pictures as they come out of a camera's encoder, whole frames at a time.

T frames, Y/X pixel row/column, C colour (R, G, B).
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

from trainer.optics import Picture

TILE_PX = 160
"""Side of the cell that holds one picture: a whole number of macroblocks, so that neighbours share none."""

TILES = (4, 8)
"""Rows and columns of cells in a full frame: 1280 × 640 px."""

FRAMES = 4
"""Length of the clip that is coded; its last frame, a predicted one, is what comes back."""

CRF = (18, 35)
"""Quality from nearly transparent to poor, as cameras are set."""


class CodecError(Exception):
    """This machine's FFmpeg cannot code H.264, or lost a frame."""


def clip_round_trip(frames_TYXC: Sequence[Picture], *, crf: int) -> list[Picture]:
    """Return the frames after libx264 (preset veryfast, 4:2:0) and decoding; their sides must be even.

    Raises:
        CodecError: There is no encoder, or frames were lost.
    """
    rows, columns = frames_TYXC[0].shape[:2]
    try:
        encoder = av.CodecContext.create("libx264", "w")
        decoder = av.CodecContext.create("h264", "r")
    except (av.FFmpegError, ValueError) as error:
        raise CodecError(f"this machine's FFmpeg has no libx264: {error}") from error
    encoder.width, encoder.height, encoder.pix_fmt = columns, rows, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"preset": "veryfast", "crf": str(crf), "bf": "0", "threads": "1"}
    decoder.thread_count = 1
    packets = [*_packets(encoder, frames_TYXC), None]
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    decoded = [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in frames]
    if len(decoded) != len(frames_TYXC):
        raise CodecError(f"{len(frames_TYXC)} frames went in and {len(decoded)} came out")
    return decoded


def _packets(encoder: Any, frames_TYXC: Sequence[Picture]) -> Iterator[Any]:
    for index, picture_YXC in enumerate(frames_TYXC):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_YXC), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def frame_coded(pictures: Sequence[Picture], draw: np.random.Generator, *, crf: tuple[int, int] = CRF) -> list[Picture]:
    """Return square pictures of at most `TILE_PX` as the last, predicted frame of a coded clip.

    They are laid out in frames of 1280 × 640 px that drift by one px a frame; each frame is coded whole at a quality of
    its own.
    """
    coded: list[Picture] = []
    per_frame = TILES[0] * TILES[1]
    for start in range(0, len(pictures), per_frame):
        part = pictures[start : start + per_frame]
        still_YXC = _laid_out(part)
        clip = [np.roll(still_YXC, shift, axis=1) for shift in range(FRAMES)]
        last_YXC = np.roll(clip_round_trip(clip, crf=int(draw.integers(crf[0], crf[1] + 1)))[-1], 1 - FRAMES, axis=1)
        for index, picture_YXC in enumerate(part):
            top, left = (TILE_PX * each for each in divmod(index, TILES[1]))
            side = picture_YXC.shape[0]
            coded.append(np.ascontiguousarray(last_YXC[top : top + side, left : left + side]))
    return coded


def _laid_out(pictures: Sequence[Picture]) -> Picture:
    rows = math.ceil(len(pictures) / TILES[1])
    frame_YXC = np.zeros((rows * TILE_PX, min(len(pictures), TILES[1]) * TILE_PX, 3), np.uint8)
    for index, picture_YXC in enumerate(pictures):
        top, left = (TILE_PX * each for each in divmod(index, TILES[1]))
        margin = TILE_PX - picture_YXC.shape[0]
        tile_YXC = np.pad(picture_YXC, ((0, margin), (0, margin), (0, 0)), mode="edge")
        frame_YXC[top : top + TILE_PX, left : left + TILE_PX] = tile_YXC
    return frame_YXC
