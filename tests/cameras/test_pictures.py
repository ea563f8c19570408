"""Single pictures of every kind, and of none."""

import struct
from pathlib import Path

import numpy as np
import pytest
from fakes.recordings import make_picture, portrait

from gateway.cameras import pictures
from gateway.cameras.pictures import PictureError, read_picture, whole_face
from gateway.contract.geometry import reduce_to

FACE = np.ascontiguousarray(portrait()[60:200, 140:301])


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "jpg", "webp"])
def test_a_picture_comes_back_as_rgb_when_its_kind_is_known(tmp_path: Path, suffix: str) -> None:
    """Lossless kinds come back bit for bit, JPEG nearly."""
    picture_HWC = read_picture(make_picture(tmp_path / f"face.{suffix}", FACE))
    assert (picture_HWC.shape, picture_HWC.dtype) == (FACE.shape, np.uint8)
    difference = np.abs(picture_HWC.astype(int) - FACE).mean()
    assert difference < 3 if suffix == "jpg" else difference == 0


def test_a_picture_becomes_eight_bit_rgb_when_it_is_deep_grey_or_transparent(tmp_path: Path) -> None:
    """Sixteen bits keep the upper eight, grey becomes three equal planes, alpha is dropped."""
    deep = read_picture(make_picture(tmp_path / "deep.png", FACE.astype(np.uint16) * 257))
    np.testing.assert_array_equal(deep, FACE)
    grey = read_picture(make_picture(tmp_path / "grey.tiff", FACE[:, :, 0].astype(np.uint16) * 257))
    np.testing.assert_array_equal(grey, np.repeat(FACE[:, :, :1], 3, axis=2))
    veiled = np.dstack([FACE, np.full(FACE.shape[:2], 10, np.uint8)])
    np.testing.assert_array_equal(read_picture(make_picture(tmp_path / "veiled.png", veiled)), FACE)


def _turned(jpeg: bytes, orientation: int) -> bytes:
    tag = struct.pack("<HHHIHH", 1, 0x112, 3, 1, orientation, 0)
    body = b"Exif\0\0II*\0\x08\0\0\0" + tag + bytes(4)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_a_picture_stands_upright_when_its_exif_turns_it(tmp_path: Path) -> None:
    """Orientation 6 is a quarter turn clockwise."""
    path = make_picture(tmp_path / "face.jpg", FACE)
    plain_HWC = read_picture(path)
    path.write_bytes(_turned(path.read_bytes(), 6))
    np.testing.assert_array_equal(read_picture(path), np.rot90(plain_HWC, -1))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tiff"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_picture_is_refused_when_its_file_is_cut_short(tmp_path: Path, suffix: str, share: float) -> None:
    """Decoders fill the rest with grey; that is not what the camera saw."""
    path = make_picture(tmp_path / f"face.{suffix}", FACE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PictureError, match=rf"face\.{suffix}: .*damaged"):
        read_picture(path)


def test_a_jpeg_is_refused_when_only_its_thumbnail_is_whole(tmp_path: Path) -> None:
    """The end mark of an embedded thumbnail does not stand for the picture's own."""
    path = make_picture(tmp_path / "face.jpg", FACE)
    data = path.read_bytes()
    thumbnail = make_picture(tmp_path / "thumbnail.jpg", FACE[:16, :16]).read_bytes()
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    path.write_bytes(data[:2] + segment + data[2:])
    assert read_picture(path).shape == FACE.shape
    path.write_bytes((data[:2] + segment + data[2:])[:-200])
    with pytest.raises(PictureError, match="damaged"):
        read_picture(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"GIF89a" + bytes(50), "not a picture that is read here; give JPEG"),
        (b"#!/bin/sh\n", "not a picture that is read here"),
        (b"\x89PNG\r\n\x1a\nIEND", "cannot be decoded"),
    ],
)
def test_a_file_is_refused_when_it_is_no_picture(tmp_path: Path, content: bytes, reason: str) -> None:
    """The kind is told by the first bytes; GIF is left out for its 256 dithered colours."""
    path = tmp_path / "face.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=rf"face\.png: {reason}"):
        read_picture(path)


def test_a_path_is_refused_when_it_is_no_file(tmp_path: Path) -> None:
    """A missing file and a folder are told apart."""
    with pytest.raises(PictureError, match=r"none\.png: no such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match="not a file"):
        read_picture(tmp_path)


def test_a_file_is_refused_when_it_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length is looked at before it is read."""
    path = make_picture(tmp_path / "face.png", FACE)
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 1024)
    with pytest.raises(PictureError, match="larger than 0 MB"):
        read_picture(path)


def test_a_whole_picture_is_its_central_square_when_it_is_one_face() -> None:
    """The crop is the middle, the box the whole picture."""
    crop = whole_face(FACE, camera="gate", seq=4, captured_at_s=0.16)
    np.testing.assert_array_equal(crop.pixels_YXC, FACE[:, 10:150])
    assert (crop.square_px, crop.box.x2, crop.box.y2, crop.box.confidence) == (140, 161.0, 140.0, 1.0)


def test_a_whole_picture_is_reduced_once_when_it_is_large() -> None:
    """The contract's filter and limit hold here too."""
    crop = whole_face(portrait(), camera="gate", seq=0, captured_at_s=0.0)
    assert crop.square_px == 512
    np.testing.assert_array_equal(crop.pixels_YXC, reduce_to(portrait(), 256))
