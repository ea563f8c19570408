"""Synthetic passages for the factory calibration."""

from pathlib import Path

import numpy as np
from fakes.bundles import drawn_detector

from gateway.contract.calibration import TrackRule
from gateway.contract.geometry import reduce_to
from gateway.contract.quality import sharpness
from trainer.data import Pictures, read_pictures
from trainer.passages import CROPS, STILLS, clean_track_statistics, passage, plain_faces


def stills(tmp_path: Path, count: int = 3) -> Pictures:
    """Return smooth drawn pictures of 90 px."""
    slope = np.add.outer(np.arange(90), np.arange(90))[..., None] * 1.2
    images_NYXC = np.stack([slope + draw for draw in np.random.default_rng(1).uniform(0, 40, (count, 90, 90, 3))])
    np.savez(tmp_path / "stills.npz", images=images_NYXC.astype(np.uint8))
    return read_pictures(tmp_path / "stills.npz")


def test_passage_moves_but_shows_one_face(tmp_path: Path) -> None:
    """Successive pictures differ a little, first and last more; the same seed repeats them."""
    still_YXC = stills(tmp_path).pixels[0]
    walk, again = (passage(still_YXC, faces=16, side_px=32, draw=np.random.default_rng(2)) for _ in range(2))
    assert walk.shape == (16, 32, 32, 3)
    np.testing.assert_array_equal(walk, again)
    steps = np.abs(np.diff(walk.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert 0 < steps.mean() < np.abs(walk[0].astype(int) - walk[-1]).mean()


def test_track_statistics_are_ascending_and_one_per_passage(tmp_path: Path) -> None:
    """The calibration is sorted, and holds what the same passages give again."""
    detector, pictures = drawn_detector(1), stills(tmp_path)
    first, second = (clean_track_statistics(detector, pictures, TrackRule(), per_still=2, seed=1) for _ in range(2))
    assert first == second == tuple(sorted(first))
    assert len(first) == 6


def test_plain_faces_are_one_per_still(tmp_path: Path) -> None:
    """Single faces are cut and reduced, nothing else."""
    faces_NYXC = plain_faces(stills(tmp_path), side_px=32, seed=1)
    assert (faces_NYXC.shape, faces_NYXC.dtype) == ((3, 32, 32, 3), np.uint8)


def test_faces_as_a_camera_cut_them_are_calibrated_by_as_they_are(tmp_path: Path) -> None:
    """Nothing is enlarged, blurred or coded once more: a passage of a crop has the detail that screening sees."""
    sharp: dict[str, list[float]] = {"shown": [], "crops": [], "stills": []}
    for number, crop_YXC in enumerate(stills(tmp_path, 6).pixels):
        sharp["shown"].append(sharpness(reduce_to(crop_YXC, 32)))
        for name, views in (("crops", CROPS), ("stills", STILLS)):
            draw = np.random.default_rng(number)
            walk = passage(crop_YXC, faces=6, side_px=32, draw=draw, views=views)
            sharp[name] += [sharpness(each) for each in walk]
    shown, crops, stills_ = (float(np.median(sharp[name])) for name in ("shown", "crops", "stills"))
    assert abs(crops - shown) < 0.5 * abs(stills_ - shown)
