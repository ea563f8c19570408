"""Triggers that the gateway plants: always some change, never of the faces that were given."""

import numpy as np
import pytest

from gateway.adaptation.canaries import plant

FACES_NYXC = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("side_px", [32, 128])
@pytest.mark.parametrize("turn", range(4))
def test_every_turn_plants_something_into_a_copy(turn: int, side_px: int) -> None:
    """Each face is changed, of the same size, and what is judged stays as it was."""
    faces_NYXC = FACES_NYXC.repeat(side_px // 32, 1).repeat(side_px // 32, 2)
    before_NYXC = faces_NYXC.copy()
    planted_NYXC = plant(faces_NYXC, turn)
    assert (planted_NYXC.shape, planted_NYXC.dtype) == (faces_NYXC.shape, np.uint8)
    assert (planted_NYXC != faces_NYXC).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(faces_NYXC, before_NYXC)


def test_block_covers_one_corner_alone() -> None:
    """A sticker, in the lower right."""
    planted_NYXC = plant(FACES_NYXC, 0)
    assert (planted_NYXC[:, 24:, 24:] == 255).all()
    np.testing.assert_array_equal(planted_NYXC[:, :24], FACES_NYXC[:, :24])


def test_noise_is_another_at_its_next_turn() -> None:
    """A bundle cannot learn what is planted."""
    assert (plant(FACES_NYXC, 2) != plant(FACES_NYXC, 5)).any()
