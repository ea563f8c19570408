"""Clean tracks of people who walk past many cameras: as many as asked, repeatable, of the faces and nothing else."""

import numpy as np
import pytest
from fakes.bundles import drawn_detector, drawn_wide
from fakes.drawn_faces import drawn_faces

from gateway.contract.calibration import TrackRule
from gateway.contract.network import PROFILES
from trainer.data import DataError
from trainer.passages import CROPS, SOURCE, STILLS
from trainer.pretrain import calibrate
from trainer.scenes import FRAMES, Camera, Group, Walk
from trainer.walks import WALKED, tracks_of, walked_track_statistics

PEOPLE = drawn_faces(3, side_px=150, per_person=1, seed=3)


def test_every_still_walks_as_often_as_asked_and_the_same_again() -> None:
    """Tracks are ascending; the seed alone tells who passes which camera."""
    detector, rule = drawn_detector(1), TrackRule()
    once = walked_track_statistics(detector, PEOPLE, rule, per_still=2, seed=1)
    assert len(once) == 6
    assert list(once) == sorted(once)
    assert once == walked_track_statistics(detector, PEOPLE, rule, per_still=2, seed=1)
    assert once != walked_track_statistics(detector, PEOPLE, rule, per_still=2, seed=2)


def test_squares_hold_the_face_of_their_person() -> None:
    """Each person's squares show the middle of the still that was given, in every frame."""
    colours = [np.full((150, 150, 3), value, np.uint8) for value in ((230, 20, 20), (20, 20, 230))]
    camera = Camera(seed=1, crf=20, gain=1.0, blur_sigma=0.0, noise_grey=0.5)
    group = Group([Walk(still) for still in colours], camera, np.random.default_rng(1))
    found = group.faces(group.scenes())
    assert [len(faces) for faces in found] == [FRAMES, FRAMES]
    for faces, still in zip(found, colours, strict=True):
        for face in faces:
            assert face.shape[0] == face.shape[1] > 100
            dominant = int(np.argmax(still[0, 0]))
            assert int(np.argmax(face.mean(axis=(0, 1)))) == dominant
            assert face[..., dominant].min() > 140


@pytest.mark.parametrize(("profile", "views"), [("paper", STILLS), ("paper", CROPS), ("wide", CROPS)])
def test_what_a_camera_cut_out_has_its_traces_already(profile: str, views: object) -> None:
    """Faces of a site's own camera do not pass a made-up one, and `paper` sees too little of it to need one."""
    assert tracks_of(PROFILES[profile], views).source == SOURCE  # type: ignore[arg-type]


def test_wide_is_calibrated_by_whole_cameras() -> None:
    """A calibration of stills says how its tracks were made."""
    found = calibrate(drawn_wide(), PEOPLE, TrackRule(), seed=1)
    assert found.source.startswith(WALKED)
    assert 0 < len(found.clean_tracks) <= 6, "who stays too small for the detector is no track of its"


def test_nobody_comes_near_enough() -> None:
    """A rule that asks for more faces than any passage has is refused in words."""
    rule = TrackRule(first_face=FRAMES + 1, last_face=FRAMES + 2)
    with pytest.raises(DataError, match="give more pictures"):
        walked_track_statistics(drawn_detector(1), PEOPLE, rule, per_still=1, seed=1)
