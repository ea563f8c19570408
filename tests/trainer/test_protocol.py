"""Dividing faces: nobody in two parts, and nobody judged whom the base has seen."""

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from trainer.data import DataError
from trainer.protocol import Division, central_square, divide


def parts(division: Division) -> list[set[str]]:
    """Return the people of each part."""
    return [set(part.people) for part in (division.tune, division.calibrate, division.test)]


def test_people_are_divided_and_none_is_in_two_parts() -> None:
    """40 % tune, 20 % calibrate, the rest is judged; every face is used once."""
    division = divide(drawn_faces(200), trained_on=frozenset(), watched=frozenset(), least_px=32)
    tune, calibrate, test = parts(division)
    assert not tune & calibrate | tune & test | calibrate & test
    assert [len(division.tune), len(division.calibrate), len(division.test)] == [80, 40, 80]
    assert division.seen_may_tune == 0


def test_people_the_base_has_seen_only_tune() -> None:
    """Trained on: may tune and nothing else. Watched while training: may calibrate too, and are never judged."""
    trained = frozenset(f"person {index}" for index in range(30))
    watched = frozenset(f"person {index}" for index in range(30, 45))
    division = divide(drawn_faces(200), trained_on=trained, watched=watched, least_px=32)
    tune, calibrate, test = parts(division)
    assert trained >= tune - watched
    assert not (calibrate | test) & trained
    assert not test & watched
    assert division.seen_may_tune == sum(person in trained for person in division.tune.people)


def test_division_repeats_and_ignores_faces_that_are_too_small() -> None:
    """The same seed divides alike; what is below the detector's size is counted and left out."""
    faces = drawn_faces(200, side_px=60)
    first, again = (divide(faces, trained_on=frozenset(), watched=frozenset(), least_px=32) for _ in range(2))
    assert [part.sha256 for part in (first.tune, first.test)] == [part.sha256 for part in (again.tune, again.test)]
    with pytest.raises(DataError, match="0 usable faces"):
        divide(faces, trained_on=frozenset(), watched=frozenset(), least_px=61)


def test_too_few_people_to_judge_are_refused() -> None:
    """Where the base has seen nearly everybody, nobody is left to judge."""
    seen = frozenset(f"person {index}" for index in range(96))
    with pytest.raises(DataError, match="too few to tune"):
        divide(drawn_faces(200), trained_on=seen, watched=frozenset(), least_px=32)


def test_central_square_is_the_middle() -> None:
    """A share of the side around the middle, whatever it holds."""
    picture_YXC = np.zeros((10, 10, 3), np.uint8)
    picture_YXC[3:7, 3:7] = 9
    np.testing.assert_array_equal(central_square(picture_YXC, 0.4), np.full((4, 4, 3), 9))
    np.testing.assert_array_equal(central_square(picture_YXC, 1.0), picture_YXC)
