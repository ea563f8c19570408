"""Finding a base, and knowing whom it has seen."""

from pathlib import Path

import pytest

from gateway.contract.bundle import BundleError
from trainer.bundles import detector_of, find_bundle, people_seen_by
from trainer.data import read_pictures, split_faces
from trainer.network import score_pixels


def test_shipped_bundle_is_found_by_its_name_or_folder() -> None:
    """`paper` is the bundle that ships with the gateway; its folder is the same one."""
    by_name = find_bundle("paper")
    assert find_bundle(str(by_name.folder)).identity == by_name.identity
    scores_N = score_pixels(detector_of(by_name), by_name.self_test.pixels_NYXC.copy())
    assert abs(scores_N - by_name.self_test.scores_N).max() < 1e-2


@pytest.mark.parametrize("name", ["nothing", "../models/paper", ""])
def test_unknown_names_are_refused(name: str) -> None:
    """What is neither a folder nor a shipped name is told; a name is never a path in disguise."""
    with pytest.raises(BundleError):
        find_bundle(name)


@pytest.mark.data
def test_people_of_the_pre_training_are_known_by_digest(research_data: Path) -> None:
    """The manifest's digests prove whom the shipped bundle was trained on; other faces prove nothing."""
    faces = read_pictures(research_data / "faces/index.csv")
    trained_on, watched = people_seen_by(find_bundle("paper"), faces)
    split = split_faces(faces, seed=1)
    assert trained_on == set(split.train.groups)
    assert watched == set(split.validation.groups)
    assert not (trained_on | watched) & (set(split.test.groups) | set(split.calibration.groups))
    assert people_seen_by(find_bundle("paper"), faces.subset(range(500), "some")) == (frozenset(), frozenset())
