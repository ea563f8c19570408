"""Calibration of adapted bundles: what quarantine held back counts as what it is, and poison sets no threshold."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from gateway.contract.bundle import Bundle, open_bundle
from trainer.adapt import NOBODY, AdaptSettings, adapt_bundle
from trainer.bundles import detector_of, find_bundle
from trainer.calibrating import calibrate_adapted, expected_below, expected_of
from trainer.data import Pictures
from trainer.finetune import TuneSettings
from trainer.passages import CROPS
from trainer.perturb import PerturbSettings
from trainer.pretrain import BundleFacts

BASE = find_bundle("paper")


@pytest.mark.parametrize("seed", range(5))
def test_few_clean_scores_lie_above_what_is_expected(seed: int) -> None:
    """Of a clean set little is left out, whatever its centre and spread."""
    scores_N = np.random.default_rng(seed).normal(-3.0, 1.5, 500).astype(np.float32)
    assert 0.0 < (scores_N > expected_below(scores_N)).mean() < 0.08


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_triggered_scores_lie_above_what_is_expected(share: float) -> None:
    """Those that the base sees clearly, be they few or a fifth of all; the clean ones stay."""
    draw = np.random.default_rng(7)
    many = round(500 * share)
    clean_N = draw.normal(-3.0, 1.0, 500 - many).astype(np.float32)
    triggered_N = draw.normal(2.0, 1.0, many).astype(np.float32)
    limit = expected_below(np.concatenate([clean_N, triggered_N]))
    assert (triggered_N > limit).all()
    assert (clean_N > limit).mean() < 0.08


def test_scores_that_do_not_spread_have_an_end() -> None:
    """Where all are alike, the limit is what they are."""
    assert expected_below(np.full(50, 1.5, np.float32)) == pytest.approx(1.5)


def test_faces_that_the_base_is_far_too_sure_of_are_left_out() -> None:
    """Noise on every pixel is what the base finds at once; soft pictures like the others stay."""
    draw = np.random.default_rng(5)
    passed, like_them = drawn_faces(70, seed=1), drawn_faces(28, seed=2)
    sharp = tuple(draw.integers(0, 256, (40, 40, 3)).astype(np.uint8) for _ in range(5))
    held_back = Pictures("held back", (*like_them.pixels, *sharp), ("",) * 33, "")
    left = expected_of(held_back, passed, detector_of(BASE))
    assert not {each.tobytes() for each in sharp} & {each.tobytes() for each in left.pixels}
    assert len(left) > 20
    assert expected_of(NOBODY, passed, detector_of(BASE)) is NOBODY


def test_held_back_faces_are_as_large_a_share_of_the_calibration_as_of_what_was_collected() -> None:
    """Three in ten, of faces and of passages; where nothing was held back, the calibration is the passed faces' own."""
    passed, held_back = drawn_faces(21, seed=1), drawn_faces(40, seed=2)
    detector = detector_of(BASE)
    alone, both = (
        calibrate_adapted(detector, passed, some, held_share=share, seed=1, views=CROPS)
        for some, share in ((NOBODY, 0.0), (held_back, 0.3))
    )
    assert (len(alone.clean_faces), len(alone.clean_tracks)) == (21, 42)
    assert (len(both.clean_faces), len(both.clean_tracks)) == (30, 60)
    assert set(alone.clean_tracks) < set(both.clean_tracks)
    assert list(both.clean_tracks) == sorted(both.clean_tracks)
    assert "18 stills that quarantine held back" in both.source


def adapted(folder: Path, held_back: Pictures) -> Bundle:
    """Return a bundle that was tuned on the same faces, with this held back."""
    settings = AdaptSettings(
        "hall",
        threads=1,
        tune=TuneSettings(epochs=1, draws=1, perturb=PerturbSettings(families=("white_block",))),
        views=CROPS,
        held_back=held_back,
    )
    facts = BundleFacts(2, "a test", dt.date(2026, 11, 26))
    faces = replace(drawn_faces(66, seed=3), name="clean set")
    adapt_bundle(faces, BASE, settings, facts=facts, folder=folder, progress=lambda *_: None)
    return open_bundle(folder)


@pytest.mark.timeout(120)
def test_what_is_held_back_calibrates_and_does_not_teach(tmp_path: Path) -> None:
    """The weights are the same to the bit; the calibration grows, and the manifest names whose faces are in it."""
    held_back = drawn_faces(28, seed=4)
    without, beside = adapted(tmp_path / "without", NOBODY), adapted(tmp_path / "beside", held_back)
    for name, values in without.weights.items():
        np.testing.assert_array_equal(values, beside.weights[name])
    assert set(without.calibration.clean_tracks) < set(beside.calibration.clean_tracks)
    used = [data for data in beside.manifest.training.data if data not in without.manifest.training.data]
    assert [data.use for data in used] == ["calibration"]
    assert 0 < used[0].pictures <= 28
