"""Fine-tuning: only what the plan names moves, frozen layers are computed once, and it repeats."""

import dataclasses

import numpy as np
import pytest
import torch
from fakes.drawn_faces import drawn_faces

from trainer.environments import REGIMES
from trainer.finetune import PLANS, TuneSettings, TuningSet, finetune, trimmed_loss, tuning_set
from trainer.model import Detector
from trainer.network import export_weights, score_pixels
from trainer.optics import Picture
from trainer.perturb import FAMILIES, PerturbSettings
from trainer.train import PretrainSettings, fresh_detector

BLOCKS = TuneSettings(epochs=2, batch=16, draws=2, perturb=PerturbSettings(families=("white_block", "coloured_block")))


@pytest.fixture(scope="module")
def base() -> Detector:
    """Return a detector with drawn weights."""
    return fresh_detector(PretrainSettings(seed=3)).eval()


@pytest.fixture(scope="module")
def data() -> TuningSet:
    """Return clean and perturbed inputs of drawn faces."""
    return tuning_set(drawn_faces(24).pixels, REGIMES["authors"].passage(side_px=32, seed=1), BLOCKS)


@pytest.mark.parametrize("plan", PLANS)
def test_plan_moves_its_layers_and_no_others(base: Detector, data: TuningSet, plan: str) -> None:
    """Table II's rows: the dense layer, the last convolutions with it, everything, or everything from new weights."""
    tuned = export_weights(finetune(base, data, dataclasses.replace(BLOCKS, plan=plan, epochs=1)))
    before = export_weights(base)
    moved = {name.partition(".")[0] for name in before if not np.array_equal(before[name], tuned[name])}
    convolutions = range(base.convolutions - PLANS[plan] + 1, base.convolutions + 1)
    expected = {"dense", *(f"{layer}{index}" for index in convolutions for layer in ("conv", "norm"))}
    assert moved == expected


def test_tuning_learns_and_repeats(base: Detector, data: TuningSet) -> None:
    """The loss falls; the same base, data and settings end in the same weights; the base itself stays."""
    before = export_weights(base)
    settings = dataclasses.replace(BLOCKS, epochs=6)
    losses: list[float] = []
    first = finetune(base, data, settings, progress=lambda epoch, loss: losses.append(loss))
    again = finetune(base, data, settings)
    assert losses[-1] < losses[0]
    assert not first.training
    for name, values in export_weights(first).items():
        np.testing.assert_array_equal(export_weights(again)[name], values)
        np.testing.assert_array_equal(export_weights(base)[name], before[name])


def test_kept_features_give_the_scores_of_the_whole_network(base: Detector, data: TuningSet) -> None:
    """Frozen layers computed once and the rest after them are the same detector as one pass over the pixels."""
    tuned = finetune(base, data, BLOCKS)
    scores = [score_pixels(tuned, data.clean_NYXC, batch=batch) for batch in (5, 512)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-3)


class Turned:
    """An upsampler that turns pictures upside down and counts how large they were."""

    ways = 1

    def __init__(self) -> None:
        self.sides: set[int] = set()

    def __call__(self, picture_YXC: Picture, *, way: int) -> Picture:
        """Return the picture upside down."""
        self.sides.add(picture_YXC.shape[0])
        return np.ascontiguousarray(picture_YXC[::-1])


@pytest.mark.parametrize(("regime", "sides"), [("authors", {32, 40}), ("native", {40}), ("jpeg", {40})])
def test_copies_enter_where_the_regime_says(regime: str, sides: set[int]) -> None:
    """At the detector's size or the face's own; a generator works at the face's own size half of the time at least."""
    upsampler = Turned()
    settings = TuneSettings(draws=3, perturb=PerturbSettings(families=("upsampling", "white_block")))
    made = tuning_set(
        drawn_faces(30).pixels, REGIMES[regime].passage(side_px=32, seed=1), settings, upsampler=upsampler
    )
    assert upsampler.sides == sides
    assert [changed.shape for changed in made.changed] == [(30, 32, 32, 3)] * 3
    assert (made.changed[0] != made.changed[1]).any()
    for changed_NYXC in made.changed:
        assert (changed_NYXC != made.clean_NYXC).reshape(30, -1).any(axis=1).all()


def test_perturbed_copies_repeat_with_the_seed() -> None:
    """Another seed draws others, the same seed the same."""
    passage = REGIMES["h264"].passage(side_px=32, seed=1)
    settings = TuneSettings(draws=1, perturb=PerturbSettings(families=FAMILIES))
    faces = drawn_faces(10).pixels
    first, again = (tuning_set(faces, passage, settings).changed[0] for _ in range(2))
    other = tuning_set(faces, passage, dataclasses.replace(settings, seed=2)).changed[0]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_unknown_plan_is_refused() -> None:
    """A typing mistake is told before anything is computed."""
    with pytest.raises(ValueError, match="there are fc, last1"):
        TuneSettings(plan="last9")


def test_trimming_doubts_strangers_alone() -> None:
    """The worst of those nobody vouches for teach nothing; the others always do."""
    logits = torch.tensor([[5.0, -5.0], [-5.0, 5.0], [-5.0, 5.0], [5.0, -5.0]])
    labels = torch.zeros(4, dtype=torch.long)
    strangers = torch.tensor([True, True, False, False])
    assert float(trimmed_loss(logits, labels, strangers, 0.0)) > float(trimmed_loss(logits, labels, strangers, 0.5)) > 3
