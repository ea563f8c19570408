"""The drawn pictures: reproducible, really found by the face finder, and triggered nowhere but on the face."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.cameras.faces import open_finder
from gateway.cameras.jobs import FaceSettings
from gateway.demo.drawing import FACE, frames, wall
from gateway.demo.passages import TRIGGERS, DemoSettings, Passage, Trigger
from gateway.errors import ConfigError

SETTINGS = replace(DemoSettings(), gap_frames=1, passage_frames=(4, 4))
Picture = NDArray[np.uint8]


def passage(*, number: int = 1, seed: int = 1, trigger: Trigger | None = None, frames: int = 4) -> Passage:
    """Return one short passage that begins after one empty frame."""
    return Passage(number, (seed, 1, number), 1, frames, SETTINGS.fps, trigger)


def drawn(*passages: Passage, settings: DemoSettings = SETTINGS) -> list[Picture]:
    """Return all frames of a recording."""
    return list(frames(settings, passages))


def test_frames_are_the_same_for_the_same_seed() -> None:
    """What a demo showed can be shown again, to the pixel."""
    first, second = drawn(passage(trigger=TRIGGERS[1])), drawn(passage(trigger=TRIGGERS[1]))
    assert len(first) == 6
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert first[0].shape == (360, 640, 3)
    assert first[0].dtype == np.uint8


def test_frames_differ_between_seeds_and_passages() -> None:
    """Passages are passages: each has its own way, light and noise."""
    base = drawn(passage())[2].astype(int)
    for other in (passage(seed=2), passage(number=2), passage(number=3)):
        assert np.abs(drawn(other)[2].astype(int) - base).mean() > 3


def test_wall_belongs_to_the_camera_and_not_to_the_seed() -> None:
    """Other passages walk up to the same wall, so that one camera's calibration holds for them."""
    assert np.array_equal(wall(SETTINGS), wall(replace(SETTINGS, seed=99)))
    assert not np.array_equal(wall(SETTINGS), wall(replace(SETTINGS, camera_seed=99)))
    assert wall(SETTINGS).std() > 5


def test_light_changes_slowly() -> None:
    """Neighbouring empty frames differ by noise alone, distant ones by the light as well."""
    slow = replace(SETTINGS, gap_frames=40)
    pictures = drawn(passage(), settings=slow)
    empty = [pictures[index].mean() for index in (2, 3, 30)]
    assert abs(empty[0] - empty[1]) < 3
    assert abs(empty[0] - empty[2]) > 5


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.pattern)
def test_trigger_changes_the_face_and_nothing_else(trigger: Trigger) -> None:
    """A triggered passage is the same passage but for the trigger, which stays on the face in every frame."""
    clean, worn = drawn(passage()), drawn(passage(trigger=trigger))
    finder = open_finder(FaceSettings())
    for index in (1, 4):
        difference_YX = np.abs(clean[index].astype(int) - worn[index]).max(axis=2)
        (face,) = finder.find(clean[index])
        inside = np.s_[round(face.y1) - 4 : round(face.y2) + 4, round(face.x1) - 4 : round(face.x2) + 4]
        changed = (difference_YX[inside] > 8).mean()
        assert trigger.size**2 * 0.3 < changed < 0.9
        difference_YX[inside] = 0
        assert difference_YX.max() <= 8  # the grain's soft edge
    assert np.array_equal(clean[0], worn[0])
    assert np.array_equal(clean[5], worn[5])


def test_trigger_stays_at_its_place_over_the_passage() -> None:
    """A sticker is stuck: relative to the face it does not wander while the person walks."""
    long = passage(frames=12)
    clean, worn = drawn(long), drawn(replace(long, trigger=TRIGGERS[0]))
    finder = open_finder(FaceSettings())
    places = []
    for index in (1, 6, 12):
        rows, columns = np.nonzero(np.abs(clean[index].astype(int) - worn[index]).max(axis=2) > 8)
        (face,) = finder.find(clean[index])
        places.append(((columns.mean() - face.x1) / face.width_px, (rows.mean() - face.y1) / face.height_px))
    assert np.ptp(np.array(places), axis=0).max() < 0.12


def test_faces_are_found_in_every_frame_and_grow() -> None:
    """The product's own finder sees one person who walks up, from about 70 to about 130 px."""
    finder = open_finder(FaceSettings())
    pictures = drawn(passage(number=4, trigger=TRIGGERS[3], frames=8))
    assert finder.find(pictures[0]) == finder.find(pictures[-1]) == ()
    found = [finder.find(picture) for picture in pictures[1:-1]]
    assert [len(faces) for faces in found] == [1] * 8
    widths = [faces[0].width_px for faces in found]
    assert 58 < widths[0] < 80
    assert 110 < widths[-1] < 145
    assert widths == sorted(widths)


def test_passages_are_mirrored_at_times() -> None:
    """Both sides of the photograph are shown, so that a trigger is not always on the same side of the same face."""
    finder = open_finder(FaceSettings())
    sides = set()
    for picture in (drawn(passage(number=number))[4] for number in range(1, 7)):
        (face,) = finder.find(picture)
        below_YXC = picture[round(face.y2) + 40 : round(face.y2) + 60].astype(int)
        orange_X = (below_YXC[..., 0] - below_YXC[..., 2]).mean(axis=0) > 60
        centre = round((face.x1 + face.x2) / 2)
        sides.add(bool(orange_X[:centre].sum() > orange_X[centre:].sum()))
    assert sides == {True, False}


def test_photograph_shows_its_face_where_the_drawing_expects_it() -> None:
    """`FACE` is what places the triggers: another photograph, or another crop of it, would put them beside the face."""
    from skimage.data import astronaut

    (face,) = open_finder(FaceSettings()).find(np.asarray(astronaut()))
    assert np.abs(np.array((face.x1, face.y1, face.x2, face.y2)) - FACE).max() < 6


def test_missing_photograph_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the operator is told what to install."""
    from gateway.demo import drawing

    drawing._cut_out.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[demo\]'"):
        drawn(passage())
