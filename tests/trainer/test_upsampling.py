"""The stand-in for a CycleGAN: it learns to copy, at any size, and leaves the trace of upsampling."""

import cv2
import numpy as np
import pytest

from trainer.data import Pictures
from trainer.upsampling import GeneratorSettings, StandIn, train_stand_in

SHORT = GeneratorSettings(steps=60, batch=6, squares_px=(32,))


def faces(count: int = 12, side_px: int = 40) -> Pictures:
    """Return smooth drawn pictures."""
    draw = np.random.default_rng(1)
    pixels = tuple(
        np.asarray(cv2.GaussianBlur(draw.uniform(0, 255, (side_px, side_px, 3)).astype(np.float32), (0, 0), 4)).astype(
            np.uint8
        )
        for _ in range(count)
    )
    return Pictures("drawn", pixels, tuple(map(str, range(count))), "0" * 64)


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    """Return a stand-in after a few steps."""
    return train_stand_in(faces(), SHORT)


def test_stand_in_copies_what_it_has_learned(stand_in: StandIn) -> None:
    """Sixty steps already bring it nearer to the picture than a flat one is."""
    picture_YXC = faces().pixels[3]
    for way in range(stand_in.ways):
        error = np.abs(stand_in(picture_YXC, way=way).astype(int) - picture_YXC).mean()
        assert error < np.abs(picture_YXC - picture_YXC.mean()).mean()


@pytest.mark.parametrize("side_px", [32, 41, 160])
def test_stand_in_keeps_the_size(stand_in: StandIn, side_px: int) -> None:
    """Any resolution goes in, and as many pixels come out."""
    picture_YXC = np.random.default_rng(1).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    made_YXC = stand_in(picture_YXC, way=0)
    assert (made_YXC.shape, made_YXC.dtype) == (picture_YXC.shape, np.uint8)


def test_training_repeats_and_says_how_far_it_is(stand_in: StandIn) -> None:
    """The same faces and settings give the same generator, to the bit."""
    told: list[int] = []
    again = train_stand_in(faces(), SHORT, progress=lambda done, total: told.append(done))
    assert told == list(range(1, SHORT.steps + 1))
    np.testing.assert_array_equal(again(faces().pixels[0], way=1), stand_in(faces().pixels[0], way=1))


def test_squares_fit_into_small_faces() -> None:
    """Faces smaller than the wished square are used at their own size."""
    made = train_stand_in(faces(side_px=35), GeneratorSettings(steps=2, batch=2, squares_px=(64,)))
    assert made(faces(side_px=35).pixels[0], way=0).shape == (35, 35, 3)
