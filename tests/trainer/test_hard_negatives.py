"""Hard negatives: every kind changes faces, the same ones each time, and nothing but what it says."""

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from trainer.environments import REGIMES
from trainer.hard_negatives import HARD_NEGATIVES, hard_inputs
from trainer.nuisances import BEFORE_CODEC, NUISANCES

GRAIN = np.random.default_rng(3).integers(0, 60, (100, 100, 3), dtype=np.uint8)
STILLS = [np.asarray(np.minimum(face, 190) + GRAIN, np.uint8) for face in drawn_faces(6, side_px=100, seed=3).pixels]


@pytest.mark.parametrize("name", HARD_NEGATIVES)
@pytest.mark.parametrize("regime", ["native", "jpeg"])
def test_every_kind_changes_faces_and_repeats(name: str, regime: str) -> None:
    """The same faces give the same inputs; a face does not depend on its neighbours."""
    plain = REGIMES[regime].finish(STILLS, side_px=64, seed=5)
    found = hard_inputs(STILLS, name, REGIMES[regime], side_px=64, seed=5)
    assert found.shape == plain.shape
    assert (np.abs(found.astype(int) - plain).max(axis=(1, 2, 3)) > 4).sum() >= len(STILLS) - 1
    np.testing.assert_array_equal(found, hard_inputs(STILLS, name, REGIMES[regime], side_px=64, seed=5))
    np.testing.assert_array_equal(found[:2], hard_inputs(STILLS[:2], name, REGIMES[regime], side_px=64, seed=5))


def test_what_is_worn_keeps_its_size_where_less_of_the_picture_is_used() -> None:
    """Spectacles on the middle half of a picture are those of the whole one, twice as large in it."""
    whole = [np.full((160, 160, 3), 128, np.uint8)]
    middle = [still[40:120, 40:120] for still in whole]
    drawn = hard_inputs(whole, "spectacles", REGIMES["native"], side_px=160, seed=1)[0]
    cut = hard_inputs(middle, "spectacles", REGIMES["native"], side_px=80, seed=1, share=0.5)[0]
    assert np.abs(cut.astype(int) - drawn[40:120, 40:120]).mean() < 1.5  # its blocks of the codec lie elsewhere
    same = hard_inputs(middle, "caption", REGIMES["native"], side_px=80, seed=1, share=0.5)
    np.testing.assert_array_equal(same, hard_inputs(middle, "caption", REGIMES["native"], side_px=80, seed=1))


def test_what_is_before_the_lens_is_coded_and_what_befalls_the_stream_is_not() -> None:
    """Spectacles have the codec's blocks on them; grey blocks of lost packets are still plain."""
    grey = [np.random.default_rng(1).integers(0, 255, (96, 96, 3), dtype=np.uint8)] * 8
    lost = hard_inputs(grey, "lost_packets", REGIMES["jpeg"], side_px=96, seed=2)
    assert (lost == 128).all(axis=-1).reshape(len(grey), -1).sum(axis=1).max() >= 256
    assert {name for name, kind in HARD_NEGATIVES.items() if kind.where == "stream"} == set(NUISANCES) - BEFORE_CODEC


def test_what_is_worn_is_coded_where_the_regime_codes_nothing() -> None:
    """A flat frame of spectacles is not as flat as it was drawn: no camera gives what no codec has been over."""
    whole = [np.full((160, 160, 3), 128, np.uint8)]
    worn = hard_inputs(whole, "spectacles", REGIMES["native"], side_px=160, seed=1)[0]
    dithered = hard_inputs(whole, "few_colours", REGIMES["native"], side_px=160, seed=1)[0]
    assert 2 * len(np.unique(dithered)) < len(np.unique(worn))


def test_every_nuisance_of_training_is_judged() -> None:
    """A kind that is added there is added here."""
    assert set(NUISANCES) <= set(HARD_NEGATIVES)
