"""The gates: a detector that is the base passes, one that forgot or went far is refused."""

import numpy as np
import pytest
import torch
from fakes.drawn_faces import drawn_faces

from trainer.bundles import detector_of, find_bundle
from trainer.environments import REGIMES
from trainer.gate import Both, Counts, Judged, judge_adaptation, judge_quarantine
from trainer.model import Detector
from trainer.network import score_pixels

BASE = detector_of(find_bundle("paper"))


def verdicts(adapted: Detector) -> dict[str, bool]:
    """Return which gates an adapted detector passes."""
    site, reference = drawn_faces(24, seed=1).pixels, drawn_faces(24, seed=2).pixels
    draw = np.random.default_rng(5)
    held_back = [draw.integers(0, 256, (40, 40, 3)).astype(np.uint8) for _ in range(12)]
    passage = REGIMES["authors"].passage(side_px=32, seed=1)
    card = judge_adaptation(BASE, adapted, Judged(site, reference, held_back), passage)
    return {gate.name: gate.passed for gate in card.gates}


@pytest.mark.timeout(120)
def test_the_base_itself_passes_all_gates() -> None:
    """Nothing was lost, and nothing moved."""
    assert all(verdicts(BASE).values())


@pytest.mark.timeout(120)
def test_a_detector_that_sees_nothing_any_more_is_refused() -> None:
    """One whose answer is turned round loses the bank's cells and clears what was held back, and it moved far."""
    turned = detector_of(find_bundle("paper"))
    with torch.no_grad():
        turned.dense.weight.neg_()
        turned.dense.bias.neg_()
    passed = verdicts(turned)
    assert not passed["perturbation_cells"]
    assert not passed["distance_from_base"]


@pytest.mark.parametrize(("repeated", "passed"), [(0, True), (10, True), (11, False), (400, False)])
def test_quarantine_that_found_the_same_pattern_on_many_faces_is_refused(repeated: int, passed: bool) -> None:
    """The gate says in words what was held back and why."""
    gate = judge_quarantine(Counts(passed=495 - repeated, held_back=0, repeated=repeated, operator=5))
    assert gate.passed is passed
    assert f"{repeated} for a pattern" in gate.words
    assert "5 teach on an operator's word" in gate.words


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("profile", "changed"), [("paper", "dense.bias"), ("wide", "dense2.bias"), ("wide", "norm1.bias")]
)
def test_both_score_as_each_alone_does(profile: str, changed: str) -> None:
    """What tuning left as it was works once for both; where more was changed, each works by itself."""
    base, adapted = (detector_of(find_bundle(profile)) for _ in range(2))
    with torch.no_grad():
        adapted.get_parameter(changed).add_(torch.linspace(0, 1, len(adapted.get_parameter(changed))))
    side_px = base.profile.side_px
    pixels_NYXC = np.stack(drawn_faces(18, side_px=side_px, seed=4).pixels)
    before_N, after_N = Both(base, adapted).scores(pixels_NYXC)
    np.testing.assert_allclose(before_N, score_pixels(base, pixels_NYXC), atol=1e-4)
    np.testing.assert_allclose(after_N, score_pixels(adapted, pixels_NYXC), atol=1e-4)
    assert np.abs(after_N - before_N).max() > 1e-2
