"""Hard negatives: each changes a face, repeats, and stays where it belongs."""

import numpy as np
import pytest

from trainer.nuisances import BEFORE_CODEC, NUISANCES, caption, draw_nuisance, hat, shirt, with_nuisance

FACE_YXC = np.random.default_rng(4).integers(60, 200, (128, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", NUISANCES)
def test_nuisance_changes_a_face_and_repeats(name: str) -> None:
    """The same draw gives the same picture; the given one stays."""
    before = FACE_YXC.copy()
    for seed in range(12):
        once = with_nuisance(FACE_YXC, name, np.random.default_rng(seed))
        np.testing.assert_array_equal(once, with_nuisance(FACE_YXC, name, np.random.default_rng(seed)))
        assert once.shape == FACE_YXC.shape
        assert once.dtype == np.uint8
    assert np.abs(once.astype(int) - FACE_YXC).max() > 4
    np.testing.assert_array_equal(FACE_YXC, before)


def test_captions_shirts_and_hats_leave_the_face_alone() -> None:
    """A caption lies in the outer eighth, a shirt below the chin, a hat above the brows."""
    values = FACE_YXC.astype(np.float32)
    for seed in range(20):
        assert np.abs(caption(values, np.random.default_rng(seed)) - values)[17:111].max() == 0
        assert np.abs(shirt(values, np.random.default_rng(seed)) - values)[:96].max() == 0
        assert np.abs(hat(values, np.random.default_rng(seed)) - values)[60:].max() == 0


def test_all_nuisances_are_drawn() -> None:
    """Rare ones too."""
    draw = np.random.default_rng(1)
    assert {draw_nuisance(draw) for _ in range(600)} == set(NUISANCES)
    assert set(NUISANCES) >= BEFORE_CODEC
