"""Recordings of people who walk by: who stands where, what is drawn when, and what comes back from the disk."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from trainer.optics import Picture
from trainer.scenes import (
    APART_S,
    CELL_PX,
    FRAME_PX,
    FRAMES,
    PEOPLE,
    Camera,
    Group,
    Walk,
    drawn_on_face,
    place_at,
    read_groups,
    write_frames,
    write_groups,
)
from trainer.video_codec import CodecError

STILLS = drawn_faces(4, side_px=96, seed=3).pixels


def white(face_YXC: Picture) -> Picture:
    """Return a white square of the face's size."""
    return np.full_like(face_YXC, 255)


def first(walks: list[Walk], camera: Camera | None = None) -> Picture:
    """Return the first frame of a group."""
    return next(Group(walks, camera or Camera.drawn(1), np.random.default_rng(1)).scenes())


def test_frames_are_the_same_again_and_move() -> None:
    """A group can be filmed twice, which regime D needs, and people move between frames."""
    group = Group([Walk(still) for still in STILLS[:2]], Camera.drawn(1), np.random.default_rng(1))
    once, again = (list(islice(group.scenes(), 2)) for _ in range(2))
    assert once[0].shape == (*FRAME_PX, 3)
    np.testing.assert_array_equal(once[1], again[1])
    cell = once[0][: CELL_PX[0], : CELL_PX[1]].astype(int)
    assert np.abs(cell - once[1][: CELL_PX[0], : CELL_PX[1]]).mean() > 1


def test_what_is_drawn_before_the_lens_is_on_its_face_alone() -> None:
    """The other people of the frame are the same to the pixel, and so is the noise."""
    plain = first([Walk(STILLS[0]), Walk(STILLS[1])])
    worn = first([Walk(STILLS[0]), Walk(STILLS[1], before_lens=white)])
    changed_HW = (plain != worn).any(axis=-1)
    assert changed_HW[: CELL_PX[0], CELL_PX[1] : 2 * CELL_PX[1]].mean() > 0.2
    changed_HW[: CELL_PX[0], CELL_PX[1] : 2 * CELL_PX[1]] = False
    assert not changed_HW.any()


def test_what_is_drawn_after_decoding_leaves_the_scenes_alone() -> None:
    """In regime D the camera sees the clean face; the decoded frame is touched, and only there."""
    group = Group([Walk(STILLS[0], after_decoding=white), Walk(STILLS[1])], Camera.drawn(1), np.random.default_rng(1))
    scene = next(group.scenes())
    np.testing.assert_array_equal(scene, first([Walk(STILLS[0]), Walk(STILLS[1])]))
    touched = next(group.touched(iter([scene])))
    changed_HW = (touched != scene).any(axis=-1)
    assert changed_HW[: CELL_PX[0], : CELL_PX[1]].any()
    assert (touched[changed_HW] == 255).all()
    assert not changed_HW[:, CELL_PX[1] :].any()


def test_drawing_on_a_face_keeps_the_edge_of_the_still() -> None:
    """Triggers lie in the square that the gateway cuts, not in what surrounds it."""
    drawn = drawn_on_face(STILLS[0], white)
    np.testing.assert_array_equal(drawn[0], STILLS[0][0])
    assert (drawn[48, 48] == 255).all()


def test_places_are_found_by_where_a_face_is() -> None:
    """The middle of every cell is its place, and points outside belong to the nearest."""
    columns = FRAME_PX[1] // CELL_PX[1]
    for place in range(PEOPLE):
        row, column = divmod(place, columns)
        assert place_at((column + 0.5) * CELL_PX[1], (row + 0.5) * CELL_PX[0]) == place
    assert (place_at(-5, -5), place_at(9999, 9999)) == (0, PEOPLE - 1)


def test_too_many_people_are_refused() -> None:
    """There are as many places as there are."""
    with pytest.raises(ValueError, match="places for 15"):
        Group([Walk(STILLS[0])] * 16, Camera.drawn(1), np.random.default_rng(1))


def test_cameras_differ_and_repeat() -> None:
    """A seed gives one camera."""
    assert Camera.drawn(1) == Camera.drawn(1) != Camera.drawn(2)


def small_groups(count: int) -> list[list[Picture]]:
    """Return groups of small flat frames that differ."""
    return [
        [np.full((32, 48, 3), 40 + 60 * group + index, np.uint8) for index in range(FRAMES)] for group in range(count)
    ]


def test_groups_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Without loss to the bit, and far apart in time."""
    import av

    groups = small_groups(2)
    write_groups(tmp_path / "a.mkv", groups, crf=None)
    back = [list(group) for group in read_groups(tmp_path / "a.mkv")]
    np.testing.assert_array_equal(np.array(back), np.array(groups))
    with av.open(str(tmp_path / "a.mkv")) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    assert times[FRAMES] - times[0] == pytest.approx(APART_S)


def test_coded_groups_are_near_what_was_written(tmp_path: Path) -> None:
    """H.264 changes pixels, and a cut-off group is told."""
    write_groups(tmp_path / "a.mkv", small_groups(1), crf=23)
    (back,) = [list(group) for group in read_groups(tmp_path / "a.mkv")]
    assert np.abs(np.array(back).astype(int) - np.array(small_groups(1)[0])).max() < 12
    write_frames(tmp_path / "b.mkv", small_groups(1)[0][:5], crf=23, fps=5)
    with pytest.raises(CodecError, match="5 frames instead of 14"):
        list(read_groups(tmp_path / "b.mkv"))


def test_what_cannot_be_written_or_read_is_told(tmp_path: Path) -> None:
    """Odd sides cannot be coded in 4:2:0; a text file is no recording."""
    with pytest.raises(CodecError, match="cannot be written"):
        write_frames(tmp_path / "a.mkv", [np.zeros((31, 47, 3), np.uint8)], crf=23, fps=5)
    (tmp_path / "b.mkv").write_text("nothing")
    with pytest.raises(CodecError, match="cannot be read"):
        list(read_groups(tmp_path / "b.mkv"))
