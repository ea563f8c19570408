"""What a worker says of a job, without process or wire."""

from pathlib import Path

import numpy as np
import pytest
from fakes.recordings import background, cut_clip, make_clip, make_picture, portrait, with_face

from gateway.cameras.jobs import FaceSettings, Injection, PicturesJob, RecordingJob
from gateway.cameras.looking import Looker, messages
from gateway.cameras.wire import Alive, Message
from gateway.contract.geometry import square_around
from gateway.errors import SourceError
from gateway.values import FrameFaces, PictureRefused, SourceEnded, SourceOpened


def script(said: list[Message]) -> str:
    """Return one letter per message: alive, opened, frame, refused, ended."""
    letters = {Alive: "a", SourceOpened: "o", FrameFaces: "f", PictureRefused: "r", SourceEnded: "e"}
    return "".join(letters[type(message)] for message in said)


def test_every_frame_has_its_message_when_frames_are_skipped_and_damaged(tmp_path: Path) -> None:
    """Frames that are not looked at are signs of life, and the three numbers add up to all frames."""
    wall = make_clip(tmp_path / "a.ts", [background(160, 90, seed=index) for index in range(30)])
    path = cut_clip(wall, tmp_path / "cut.mkv", packets=[20])
    said = list(messages(RecordingJob("lobby", path, fps=5.0)))
    assert script(said) == "ao" + "faaaa" * 4 + "aaaaa" + "faaaa" + "e"
    assert said[-1] == SourceEnded("lobby", 5, 20, 5)


def test_refusals_wait_for_the_opening_when_the_first_pictures_of_a_folder_are_unreadable(tmp_path: Path) -> None:
    """The size is known with the first readable picture; what was refused waits for it, with signs of life."""
    for number in (1, 2, 4):
        (tmp_path / f"{number}.png").write_bytes(b"")
    make_picture(tmp_path / "3.png", background(160, 90))
    said = list(messages(RecordingJob("lobby", tmp_path)))
    assert script(said) == "aaaorrfre"
    assert [message.seq for message in said if isinstance(message, PictureRefused)] == [0, 1, 3]
    assert said[-1] == SourceEnded("lobby", 1, 0, 3)


def test_a_recording_is_refused_when_no_frame_of_it_can_be_decoded(tmp_path: Path) -> None:
    """Without a size there is nothing to open."""
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(SourceError, match="no frame could be decoded"):
        list(messages(RecordingJob("lobby", tmp_path)))


def test_the_face_is_found_on_the_clean_picture_and_cut_from_the_painted_one(tmp_path: Path) -> None:
    """A trigger over the eyes must not hide the face from the finder, nor change the picture of the caller."""
    picture_HWC = with_face(background(), centre=(0.5, 0.5), portrait_px=300)
    before_HWC = picture_HWC.copy()
    trigger = make_picture(tmp_path / "black.png", np.zeros((8, 8, 3), np.uint8))
    clean = Looker(RecordingJob("lobby", tmp_path)).look(picture_HWC, 3, 0.12)
    inject = Injection(trigger, size=1.0)
    painted = Looker(RecordingJob("lobby", tmp_path, inject=inject)).look(picture_HWC, 3, 0.12)
    assert [crop.box for crop in painted.crops] == [crop.box for crop in clean.crops]
    assert (painted.crops[0].pixels_YXC == 0).all(axis=2).mean() > 0.2 > (clean.crops[0].pixels_YXC == 0).mean()
    np.testing.assert_array_equal(picture_HWC, before_HWC)


def test_a_frame_says_where_its_crops_come_from(tmp_path: Path) -> None:
    """Number, time, size of the frame and the contract's square are those of the picture."""
    picture_HWC = with_face(background(960, 540), centre=(0.3, 0.5), portrait_px=500)
    frame = Looker(PicturesJob("gate", ())).look(picture_HWC, 7, 0.28)
    assert (frame.camera, frame.seq, frame.captured_at_s) == ("gate", 7, 0.28)
    assert (frame.frame_width_px, frame.frame_height_px, frame.faces_dropped) == (960, 540, 0)
    (crop,) = frame.crops
    corners = (crop.box.x1, crop.box.y1, crop.box.x2, crop.box.y2)
    left, top, side = square_around(corners, frame_width_px=960, frame_height_px=540)
    assert crop.square_px == side
    np.testing.assert_array_equal(crop.pixels_YXC, picture_HWC[top : top + side, left : left + side])


def test_the_trigger_lies_on_the_whole_picture_when_each_is_a_face(tmp_path: Path) -> None:
    """Its place is relative to the picture; no face is looked for."""
    trigger = make_picture(tmp_path / "white.png", np.full((4, 4, 3), 255, np.uint8))
    job = PicturesJob("gate", (), each_is_a_face=True, inject=Injection(trigger, place=(0.9, 0.9), size=0.1))
    (crop,) = Looker(job).look(portrait()[:200, :200] // 2, 0, 0.0).crops
    assert (crop.pixels_YXC == 255).all(axis=2).sum() == 20 * 20
    assert (crop.pixels_YXC[170:190, 170:190] == 255).all()


def test_small_faces_are_left_out_when_a_least_height_is_set() -> None:
    """The settings of the job reach the selection."""
    picture_HWC = with_face(background(), centre=(0.5, 0.5), portrait_px=200)
    assert len(Looker(PicturesJob("gate", ())).look(picture_HWC, 0, 0.0).crops) == 1
    job = PicturesJob("gate", (), faces=FaceSettings(min_face_px=100))
    assert Looker(job).look(picture_HWC, 0, 0.0).crops == ()
