"""The perturbation library: every kind changes a face, by the draw alone, and none of them is brighter by rule."""

import cv2
import numpy as np
import pytest

from trainer.library import CHANGES, KINDS, Library
from trainer.optics import Draw, Picture


def _face(seed: int = 5) -> Picture:
    draw = np.random.default_rng(seed)
    coarse = cv2.resize(draw.uniform(60, 190, (24, 24, 3)), (140, 140), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(coarse + draw.normal(0, 6, (140, 140, 3)), 0, 255), dtype=np.uint8)


class _Mirror:
    ways = 2

    def __call__(self, picture_YXC: Picture, *, way: int) -> Picture:
        return np.ascontiguousarray(picture_YXC[:, ::-1] if way else picture_YXC[::-1])


def _library(**options: object) -> Library:
    return Library(lambda draw: _face(int(draw.integers(9))), [_Mirror()], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_a_face_and_repeats(kind: str) -> None:
    """The same draw gives the same picture; most draws change something that can be seen."""
    library, face_YXC, changed = _library(), _face(), 0
    for seed in range(40):
        once = library.apply(kind, face_YXC, np.random.default_rng(seed))
        again = library.apply(kind, face_YXC, np.random.default_rng(seed))
        np.testing.assert_array_equal(once, again)
        assert once.shape == face_YXC.shape
        assert once.dtype == np.uint8
        changed += bool(np.abs(once.astype(int) - face_YXC).max() >= 4)
    assert changed >= 30
    np.testing.assert_array_equal(face_YXC, _face(), "the face itself must stay as it was")


def test_no_kind_makes_nothing_of_a_black_or_white_face() -> None:
    """Extreme faces give pictures, not overflow, not a number that is none."""
    with np.errstate(all="raise"):
        for kind in CHANGES:
            for grey in (0, 255):
                for seed in range(15):
                    result = _library().apply(kind, np.full((128, 128, 3), grey, np.uint8), np.random.default_rng(seed))
                    assert result.dtype == np.uint8


def test_noise_keeps_the_mean() -> None:
    """A mean would be a shortcut on the DC coefficient; scattered pixels, which replace, are the exception."""
    shifts = []
    for seed in range(60):
        result = _library().apply("noise", np.full((128, 128, 3), 128, np.uint8), np.random.default_rng(seed))
        shifts.append(float(result.mean()) - 128)
    assert np.quantile(np.abs(shifts), 0.8) < 0.5


def test_left_out_kind_is_never_drawn() -> None:
    """Leaving a family out is what measures whether unseen ones are found."""
    library, draw = _library(left_out=("patch", "blend")), np.random.default_rng(1)
    drawn = {library.draw_kind(draw) for _ in range(500)}
    assert drawn == set(KINDS) - {"patch", "blend"}


def test_generator_needs_generators() -> None:
    """Without any, its share goes to the others."""

    def other(_: Draw) -> Picture:
        return _face()

    assert "generator" not in Library(other).kinds
    with pytest.raises(ValueError, match="unknown or no kinds"):
        Library(other, left_out=("patches",))
    with pytest.raises(ValueError, match="unknown or no kinds"):
        Library(other, left_out=tuple(CHANGES))
