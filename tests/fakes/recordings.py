"""Make small recordings and pictures for tests: real encoders, no files from anywhere."""

import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

# H/W picture row/column, C colour (R, G, B).
Picture = NDArray[np.uint8]


@lru_cache(maxsize=1)
def portrait() -> Picture:
    """Return a real face: the astronaut that comes with scikit-image, 512 × 512."""
    from skimage.data import astronaut

    picture_HWC: Picture = np.asarray(astronaut(), dtype=np.uint8)
    picture_HWC.flags.writeable = False
    return picture_HWC


def background(width: int = 640, height: int = 360, *, seed: int = 0) -> Picture:
    """Return a face-free picture: soft blobs, as a wall out of focus."""
    noise_HWC = np.random.default_rng(seed).integers(40, 200, (max(2, height // 40), max(2, width // 40), 3))
    soft_HWC = cv2.resize(noise_HWC.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(soft_HWC, dtype=np.uint8)


def with_face(picture_HWC: Picture, *, centre: tuple[float, float], portrait_px: int = 200) -> Picture:
    """Return a copy with the portrait pasted around `centre` (fractions of width and height), clipped at the borders.

    The face itself is about a quarter of `portrait_px` wide.
    """
    face_HWC = cv2.resize(portrait(), (portrait_px, portrait_px), interpolation=cv2.INTER_AREA)
    height, width = picture_HWC.shape[:2]
    left, top = round(centre[0] * width - portrait_px / 2), round(centre[1] * height - portrait_px / 2)
    x1, y1, x2, y2 = max(0, left), max(0, top), min(width, left + portrait_px), min(height, top + portrait_px)
    painted_HWC = picture_HWC.copy()
    painted_HWC[y1:y2, x1:x2] = face_HWC[y1 - top : y2 - top, x1 - left : x2 - left]
    return painted_HWC


def passage(frames: int, *, width: int = 640, height: int = 360, portrait_px: int = 200) -> Iterator[Picture]:
    """Yield frames of one person who walks from left to right, with a camera's noise."""
    random = np.random.default_rng(1)
    wall_HWC = background(width, height)
    for index in range(frames):
        x = 0.25 + 0.5 * index / max(1, frames - 1)
        clean_HWC = with_face(wall_HWC, centre=(x, 0.5), portrait_px=portrait_px)
        noisy_HWC = clean_HWC + random.normal(0, 3, clean_HWC.shape)
        yield np.clip(np.rint(noisy_HWC), 0, 255).astype(np.uint8)


def make_clip(
    path: Path,
    frames: Iterable[Picture],
    *,
    fps: int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames as a clip in the container of the path's suffix; keyframes every second, no B-frames.

    `created` in `options` becomes the creation time of the file; every other option goes to the encoder.
    """
    given = dict(options or {})
    container_options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=container_options) as container:
        if "created" in given:
            container.metadata["creation_time"] = given.pop("created")
        stream: Any = None
        for index, picture_HWC in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options=_encoder_options(codec, given))
                stream.width, stream.height, stream.pix_fmt = picture_HWC.shape[1], picture_HWC.shape[0], pixel_format
                stream.codec_context.gop_size, stream.codec_context.max_b_frames = fps, int(given.get("bf", 0))
                stream.codec_context.thread_count = 1
            frame = av.VideoFrame.from_ndarray(picture_HWC, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
    return path


def cut_clip(source: Path, path: Path, *, packets: Collection[int]) -> Path:
    """Copy a transport stream into another container, writing only half of the packets with these numbers.

    They count in the order in which frames are decoded. Half a slice is damage that decoders notice. Return the path.
    """
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size:
                copy = av.Packet(bytes(packet)[: packet.size // 2 if number in packets else packet.size])
                copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
                copy.is_keyframe = packet.is_keyframe
                container.mux(copy)
    return path


def _encoder_options(codec: str, given: dict[str, str]) -> dict[str, str]:
    # One slice per picture: with several, damage to one slice is harder to place.
    base = {"preset": "veryfast", "sc_threshold": "0", "x264-params": "sliced-threads=0:slices=1"}
    return {**(base if codec == "libx264" else {}), **given}


def make_passage(path: Path, frames: int = 12, *, fps: int = 25, created: datetime | None = None) -> Path:
    """Write a clip of one person walking through the picture, 640 × 360. Return the path."""
    options = {"created": created.astimezone(UTC).isoformat()} if created else None
    return make_clip(path, passage(frames), fps=fps, options=options)


def make_picture(path: Path, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> Path:
    """Write an RGB, RGBA or grey picture in the format of the path's suffix. Return the path."""
    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    channels = picture.shape[2] if picture.ndim == 3 else 1
    ordered = cv2.cvtColor(picture, codes[channels]) if channels in codes else picture
    if not cv2.imwrite(str(path), ordered):
        raise OSError(f"{path}: not written")
    return path


def rotate_mp4(path: Path, degrees: int) -> Path:
    """Say in an MP4's header that its video is to be shown turned clockwise by 90, 180 or 270 degrees."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    one = 1 << 16
    matrix = struct.pack(">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    data[start + 40 : start + 76] = matrix
    path.write_bytes(data)
    return path


def huge_png() -> bytes:
    """Return a PNG of 30,000 × 30,000 px that is a hundred bytes long."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
