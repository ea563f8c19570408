"""Fine-tuning of `wide`: it repeats, moves dense layers alone, forgets nothing it should keep, and doubts strangers."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fakes.bundles import drawn_wide

from trainer import wide_finetune
from trainer.finetune import TuningSet
from trainer.library import Library
from trainer.network import export_weights, score_pixels
from trainer.optics import Passage, Picture
from trainer.wide_finetune import (
    WideTuneSettings,
    finetune_wide,
    wide_tuning_set,
)

SETTINGS = WideTuneSettings(draws=2, epochs=4, batch=16)


def _still(seed: int) -> Picture:
    draw = np.random.default_rng(seed)
    coarse = cv2.resize(draw.uniform(20, 230, (20, 20, 3)), (128, 128), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(coarse + draw.normal(0, 3, (128, 128, 3)), 0, 255), dtype=np.uint8)


STILLS = [_still(seed) for seed in range(24)]
PASSAGE = Passage(None, 128, at_native_size=True)


def _data(settings: WideTuneSettings = SETTINGS) -> TuningSet:
    kept = ("noise", "levels", "grating")
    library = Library(lambda draw: STILLS[int(draw.integers(24))])
    library = Library(
        lambda draw: STILLS[int(draw.integers(24))], left_out=[kind for kind in library.kinds if kind not in kept]
    )
    return wide_tuning_set(STILLS, PASSAGE, settings, library)


def test_tuning_set_pairs_every_face_with_changed_copies() -> None:
    """One copy a draw, each different from the face and from the other draw."""
    data = _data()
    assert len(data.changed) == 2
    for copies in data.changed:
        assert copies.shape == data.clean_NYXC.shape
        assert (np.abs(copies.astype(int) - data.clean_NYXC).mean(axis=(1, 2, 3)) > 0.4).all()
    assert (data.changed[0] != data.changed[1]).any()


def test_tuning_repeats_and_moves_dense_layers_alone() -> None:
    """The same settings give the same weights; convolutions and their norms stay as they were."""
    base, data = drawn_wide(), _data()
    before = export_weights(base)
    losses: list[float] = []
    once = finetune_wide(base, data, SETTINGS, progress=lambda _epoch, loss: losses.append(loss))
    again = finetune_wide(base, data, SETTINGS)
    for name, values in export_weights(once).items():
        np.testing.assert_array_equal(values, export_weights(again)[name])
        moved = bool((values != before[name]).any())
        assert moved == name.startswith(("dense", "features_")), name
    for name, values in export_weights(base).items():
        np.testing.assert_array_equal(values, before[name], err_msg="the base must stay")
    assert losses[-1] < losses[0]


def test_tuning_learns_the_environment() -> None:
    """After tuning, perturbed faces of the environment score above clean ones."""
    data = _data()
    tuned = finetune_wide(drawn_wide(), data, replace(SETTINGS, epochs=30))
    clean_N, changed_N = score_pixels(tuned, data.clean_NYXC), score_pixels(tuned, data.changed[0])
    assert np.median(changed_N) > np.quantile(clean_N, 0.75)


def test_share_of_the_faces_is_tuned_on_with_nuisances() -> None:
    """Every face is there as it is; a share comes once more with something on, and perturbed like the others."""
    plain, more = _data(replace(SETTINGS, nuisance=0.0)), _data(replace(SETTINGS, nuisance=0.5))
    np.testing.assert_array_equal(plain.clean_NYXC, np.stack(STILLS))
    np.testing.assert_array_equal(more.clean_NYXC[:24], plain.clean_NYXC)
    assert len(more.clean_NYXC) == len(more.changed[0]) == 36
    for each_YXC in more.clean_NYXC[24:]:
        assert not (each_YXC == plain.clean_NYXC).all(axis=(1, 2, 3)).any()


def test_nuisance_that_a_camera_sees_is_coded_before_it_is_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was drawn on and left so would teach that pasted things are clean."""
    coded: list[int] = []

    def noting(picture_YXC: Picture, quality: int) -> Picture:
        coded.append(quality)
        return picture_YXC

    monkeypatch.setattr(wide_finetune, "coded", noting)
    _data(replace(SETTINGS, nuisance=1.0))
    assert 0 < len(coded) < len(STILLS)
    assert all(80 <= quality <= 97 for quality in coded)


def test_strangers_get_no_nuisances() -> None:
    """What nobody vouches for is never among the faces that are not doubted."""
    library = Library(lambda draw: STILLS[int(draw.integers(24))])
    data = wide_tuning_set(STILLS, PASSAGE, replace(SETTINGS, nuisance=0.5), library, strangers=20)
    assert data.strangers == 20
    assert len(data.clean_NYXC) == 24 + 4


def test_nuisance_of_the_stream_comes_after_the_codec_and_alike_on_clean_and_changed() -> None:
    """A dithered stream is dithered after it was coded; coded first, its faces would look like an attack."""
    grey = Passage(lambda pictures: [np.full_like(each, 100) for each in pictures], 128, at_native_size=True)
    library = Library(lambda draw: STILLS[int(draw.integers(24))])
    data = wide_tuning_set(STILLS, grey, replace(SETTINGS, nuisance=1.0), library)
    carried_N = (data.clean_NYXC != 100).any(axis=(1, 2, 3))
    assert not carried_N[:24].any()
    assert 0 < carried_N[24:].sum() < 24
    for copies_NYXC in data.changed:
        np.testing.assert_array_equal(copies_NYXC, data.clean_NYXC)
