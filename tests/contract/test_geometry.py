"""The square cut and the one resize filter."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.contract.geometry import CONTEXT, _weights, reduce_to, square_around


@pytest.mark.parametrize("side_px", [33, 64, 97, 150, 256])
def test_reduce_to_agrees_with_pillows_antialiased_bilinear(side_px: int) -> None:
    """The filter is the well-known one, within the rounding of weights and pixels."""
    picture_YXC = np.random.default_rng(side_px).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(picture_YXC).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(reduce_to(picture_YXC, 32).astype(int) - pillow.astype(int)).max() <= 1


@pytest.mark.parametrize("side_px", [33, 150, 256])
def test_reduce_to_is_exact_integer_arithmetic(side_px: int) -> None:
    """Weights are whole 256ths that sum to 256, and no float rounding enters before the last step: any order of sums,
    any processor gives the same face.
    """
    weight_TS = _weights(side_px, 32).astype(np.int64)
    assert (weight_TS.sum(axis=1) == 256).all()
    assert weight_TS.min() >= 0
    picture_YXC = np.random.default_rng(side_px).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    sums_YXC = np.einsum("ty,yxc,sx->tsc", weight_TS, picture_YXC.astype(np.int64), weight_TS)
    np.testing.assert_array_equal(reduce_to(picture_YXC, 32), np.rint(sums_YXC / 256**2).astype(np.uint8))


def test_reduce_to_is_pinned_bit_for_bit() -> None:
    """The filter is part of every bundle: a change of a single grey level must not pass unseen."""
    steps_YXC = (np.arange(100 * 100 * 3).reshape(100, 100, 3) * 7919 % 256).astype(np.uint8)
    parts = (steps_YXC, np.roll(steps_YXC, 1, 0), np.roll(steps_YXC, 1, 1), np.roll(steps_YXC, 2, 0))
    smooth_YXC = sum(part // 4 for part in parts).astype(np.uint8)
    digest = hashlib.sha256(reduce_to(steps_YXC, 32).tobytes() + reduce_to(smooth_YXC, 32).tobytes())
    assert digest.hexdigest()[:16] == "7cf87aa20849c035"


def test_reduce_to_keeps_a_flat_picture_and_its_own_size() -> None:
    """No filter weight is lost at the borders, and a picture of the right size is not touched."""
    assert (reduce_to(np.full((77, 77, 3), 201, np.uint8), 32) == 201).all()
    same_YXC = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert reduce_to(same_YXC, 32) is same_YXC


@pytest.mark.parametrize(("shape", "message"), [((31, 31, 3), "never enlarged"), ((64, 60, 3), "must be square")])
def test_reduce_to_refuses_what_would_invent_or_distort_pixels(shape: tuple[int, ...], message: str) -> None:
    """Enlarging a face or squeezing a rectangle would write a spectrum that no camera saw."""
    with pytest.raises(ValueError, match=message):
        reduce_to(np.zeros(shape, np.uint8), 32)


@given(
    x1=st.floats(-50, 700),
    y1=st.floats(-50, 400),
    width=st.floats(1, 400),
    height=st.floats(1, 400),
    frame=st.tuples(st.integers(16, 1920), st.integers(16, 1080)),
)
def test_square_around_stays_inside_the_frame(
    x1: float, y1: float, width: float, height: float, frame: tuple[int, int]
) -> None:
    """Whatever the box, the cut is a square of real pixels."""
    left, top, side = square_around(
        (x1, y1, x1 + width, y1 + height), frame_width_px=frame[0], frame_height_px=frame[1]
    )
    assert 1 <= side <= min(frame)
    assert 0 <= left <= frame[0] - side
    assert 0 <= top <= frame[1] - side


def test_square_around_centres_the_face_with_its_context() -> None:
    """Away from the borders, the face lies in the middle of a square of `CONTEXT` times its longer side."""
    assert square_around((100, 100, 140, 180), frame_width_px=640, frame_height_px=480) == (60, 80, round(80 * CONTEXT))
