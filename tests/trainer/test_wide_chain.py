"""Pairs for `wide`: clean and perturbed differ by the perturbation alone, in both regimes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from trainer import wide_chain
from trainer.library import LEAST_CHANGE_GREY, Library
from trainer.nuisances import BEFORE_CODEC
from trainer.optics import Draw, Picture
from trainer.wide_chain import WideChainSettings, make_pairs


def _still(seed: int) -> Picture:
    noise = np.random.default_rng(seed).uniform(20, 230, (20, 20, 3)).astype(np.float32)
    return np.asarray(cv2.resize(noise, (150, 150), interpolation=cv2.INTER_CUBIC).clip(0, 255), dtype=np.uint8)


STILLS = [_still(seed) for seed in range(16)]


def _other(draw: Draw) -> Picture:
    return STILLS[int(draw.integers(16))]


def test_pairs_repeat_and_differ_visibly() -> None:
    """The same draw gives the same pairs; no pair is two times the same picture."""
    library, settings = Library(_other), WideChainSettings()
    pairs = make_pairs(STILLS, library, np.random.default_rng(3), settings)
    again = make_pairs(STILLS, library, np.random.default_rng(3), settings)
    assert len(pairs) >= 14
    for one, other in zip(pairs, again, strict=True):
        np.testing.assert_array_equal(one.clean_YXC, other.clean_YXC)
        np.testing.assert_array_equal(one.changed_YXC, other.changed_YXC)
        assert one.clean_YXC.shape == one.changed_YXC.shape == (128, 128, 3)
        assert np.abs(one.clean_YXC.astype(int) - one.changed_YXC).mean() >= LEAST_CHANGE_GREY


def test_both_regimes_and_nuisances_come() -> None:
    """Digital and camera pairs, plain and with nuisances."""
    library, settings = Library(_other), WideChainSettings()
    pairs = [pair for seed in range(6) for pair in make_pairs(STILLS, library, np.random.default_rng(seed), settings)]
    assert {pair.regime for pair in pairs} == {"D", "C"}
    assert 0.1 < np.mean([bool(pair.nuisance) for pair in pairs]) < 0.5


def test_small_patch_leaves_the_rest_of_the_pair_alike() -> None:
    """Outside a patch, a pair that was not coded after it is the same to the bit: optics and codec were shared."""
    everything_but_patches = tuple(kind for kind in Library(_other).kinds if kind != "patch")
    library = Library(_other, left_out=everything_but_patches)
    settings = replace(WideChainSettings(), camera=0.0)
    for pair in make_pairs(STILLS, library, np.random.default_rng(8), settings):
        same = (pair.clean_YXC == pair.changed_YXC).all(axis=2)
        assert same.mean() > 0.6


def test_what_a_camera_sees_is_coded_also_where_the_perturbation_is_digital(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spectacles never come without a codec's traces; blocks of lost packets come after it."""
    settings = replace(WideChainSettings(), camera=0.0, nuisance=1.0, jpeg=1e-9, h264=0.0)
    qualities: list[int] = []

    def noting(picture_YXC: Picture, quality: int) -> Picture:
        qualities.append(quality)
        return picture_YXC

    monkeypatch.setattr(wide_chain, "coded", noting)
    pairs = make_pairs(STILLS, Library(_other), np.random.default_rng(5), settings)
    assert 0 < sum(pair.nuisance in BEFORE_CODEC for pair in pairs) <= len(qualities) < len(STILLS)


def test_camera_pairs_are_coded_after_the_perturbation() -> None:
    """In regime C the codec spreads a patch: the change reaches beyond its edge."""
    everything_but_patches = tuple(kind for kind in Library(_other).kinds if kind != "patch")
    library = Library(_other, left_out=everything_but_patches)
    settings = replace(WideChainSettings(), camera=1.0, h264=0.0, nuisance=0.0)
    spread = [
        float((pair.clean_YXC != pair.changed_YXC).any(axis=2).mean())
        for pair in make_pairs(STILLS, library, np.random.default_rng(8), settings)
    ]
    digital = [
        float((pair.clean_YXC != pair.changed_YXC).any(axis=2).mean())
        for pair in make_pairs(STILLS, library, np.random.default_rng(8), replace(settings, camera=0.0))
    ]
    assert np.median(spread) > 1.2 * np.median(digital)
