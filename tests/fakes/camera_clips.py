"""What a test camera shows: encoded pictures of a person who walks to and fro, made on the spot by real encoders."""

import struct
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from fakes.recordings import Picture, background, with_face
from numpy.typing import NDArray

Codec = Literal["h264", "h265", "mjpeg"]

_X26X = {"preset": "veryfast"}
_OPTIONS = {
    # One slice per picture and no B-frames, as cameras do. RTP takes the tables of the JPEG standard for granted.
    "h264": ("libx264", {**_X26X, "profile": "high", "sc_threshold": "0", "x264-params": "sliced-threads=0:slices=1"}),
    "h265": (
        "libx265",
        {**_X26X, "x265-params": "log-level=none:bframes=0:scenecut=0:open-gop=0:pools=1:repeat-headers=1"},
    ),
    "mjpeg": ("mjpeg", {"huffman": "default"}),
}


@lru_cache(maxsize=16)
def access_units(
    codec: Codec = "h264", *, frames: int = 50, fps: int = 25, gop: int = 25, width: int = 640, height: int = 360
) -> tuple[bytes, ...]:
    """Return one access unit per picture, with its own headers at each keyframe; fit to be looped.

    `gop` is the distance of keyframes in frames (MJPEG has nothing else) and had better divide `frames`.
    """
    encoder, options = _OPTIONS[codec]
    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.options = width, height, options
    context.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    context.time_base, context.framerate = Fraction(1, fps), Fraction(fps)
    context.gop_size, context.max_b_frames, context.thread_count = gop, 0, 1
    packets = []
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(walker(index, frames=frames, width=width, height=height), format="rgb24")
        frame = frame.reformat(format=context.pix_fmt, dst_color_range="JPEG" if codec == "mjpeg" else None)
        frame.pts, frame.time_base = index, context.time_base
        packets += context.encode(frame)
    packets += context.encode()
    return tuple(bytes(packet) for packet in packets)


@lru_cache(maxsize=4)
def decoded(codec: Codec = "h264") -> NDArray[np.uint8]:
    """Return the pictures that `access_units` with its usual measures shows when nothing is lost; RGB, N H W C."""
    decoder: Any = av.CodecContext.create({"h264": "h264", "h265": "hevc", "mjpeg": "mjpeg"}[codec], "r")
    frames = [frame for unit in access_units(codec) for frame in decoder.decode(av.Packet(unit))]
    reformatter = VideoReformatter()
    return np.stack(
        [
            reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1).to_ndarray()
            for frame in [*frames, *decoder.decode(None)]
        ]
    )


def walker(index: int, *, frames: int, width: int = 640, height: int = 360) -> Picture:
    """Return a picture of one person on the way from left to right and back, with a camera's noise; RGB, H W C."""
    there = abs(2 * index / frames - 1)
    clean_HWC = with_face(background(width, height), centre=(0.3 + 0.4 * there, 0.5), portrait_px=height * 5 // 9)
    noise_HWC = np.random.default_rng(index).normal(0, 3, (height // 2, width // 2, 1)).repeat(2, 0).repeat(2, 1)
    noisy_HWC = clean_HWC.astype(np.float64)
    noisy_HWC[: noise_HWC.shape[0], : noise_HWC.shape[1]] += noise_HWC
    return np.clip(np.rint(noisy_HWC), 0, 255).astype(np.uint8)


def write_units(path: Path, units: tuple[bytes, ...]) -> Path:
    """Write access units for the camera's child, each behind its length. Return the path."""
    path.write_bytes(b"".join(struct.pack("!I", len(unit)) + unit for unit in units))
    return path
