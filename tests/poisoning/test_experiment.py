"""Poisoned streams: what the product learns from them costs little of the trigger, or the product refuses to learn."""

from pathlib import Path

import numpy as np
import pytest
from poisoning.experiment import (
    MOST_LOST,
    POISONED_IN,
    SHARES,
    TRIGGERS,
    Cell,
    all_cells,
    do_cell,
    loss_of,
    read_material,
    stream_of,
    summary,
)

from gateway.adaptation.collect import choose
from trainer.bundles import detector_of, find_bundle
from trainer.environments import ENVIRONMENTS
from trainer.measures import auroc

SEEN_AUROC = 0.8


def test_cells_when_listed() -> None:
    """Five shares of five triggers, and clean adaptations of every environment with at least 20 groups of people."""
    cells = list(all_cells())
    assert len({cell.name for cell in cells}) == len(cells)
    assert {(cell.trigger, cell.share) for cell in cells if cell.trigger} == {(t, s) for t in TRIGGERS for s in SHARES}
    clean = [cell for cell in cells if cell.trigger is None]
    assert len(clean) >= 20
    assert {cell.environment for cell in clean} == set(ENVIRONMENTS)


def test_loss_when_refused_or_published() -> None:
    """A refused adaptation loses nothing; a published one is held to the clean adaptation."""
    clean = {"trigger": None, "published": True, "adapted": {"sig": 0.9}}
    held, lost, refused = (
        {"trigger": "sig", "published": published, "adapted": {"sig": rate}}
        for published, rate in ((True, 0.85), (True, 0.5), (False, 0.0))
    )
    assert loss_of(held, clean) == pytest.approx(0.05)
    assert loss_of(refused, clean) is None
    cells = {Cell(*POISONED_IN).name: clean, "a": held, "b": lost, "c": refused}
    assert summary(cells) == {
        "clean_adaptations": 1,
        "clean_refused": 0,
        "poisoned": 3,
        "poisoned_refused": 1,
        "poisoned_published_within_10_points": 1,
        "poisoned_published_beyond": 1,
    }


@pytest.mark.data
@pytest.mark.long
def test_quarantine_when_the_stream_is_poisoned(research_data: Path) -> None:
    """Most faces with a trigger that the base ranks high are held back; of a clean stream the share that always is."""
    material, base = read_material(research_data, "paper"), detector_of(find_bundle("paper"))
    seen = set(material.strangers.groups) & set(material.reference.groups)
    assert not seen
    ranked_high = set()
    for trigger in TRIGGERS:
        stream = stream_of(Cell(*POISONED_IN, trigger, 0.05), material, base, count=300)
        choice = choose(stream.faces)
        assert int(stream.poisoned_N.sum()) == 15
        scores_N = np.array([face.score for face in stream.faces])
        if auroc(scores_N[~stream.poisoned_N], scores_N[stream.poisoned_N]) < SEEN_AUROC:
            continue  # what the base takes for clean cannot be held back by its score
        ranked_high.add(trigger)
        assert stream.poisoned_N[list(choice.clean)].mean() < 0.025, trigger
    assert {"checkerboard", "flower"} <= ranked_high
    clean = choose(stream_of(Cell(*POISONED_IN), material, base, count=300).faces)
    assert (len(clean.held_back), len(clean.repeated)) == (90, 0)


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(600)
def test_small_cells_of_the_experiment(research_data: Path, tmp_path: Path) -> None:
    """A fifth of the stream is triggered: refused before anything is learnt, or published with its trigger found."""
    material = read_material(research_data, "paper")
    against = do_cell(Cell("brightness", 1), material, tmp_path / "clean", epochs=2, count=200)
    assert against["published"], against["reason"]
    for trigger in ("badnets_white_square_4x4", "blend"):
        found = do_cell(Cell("brightness", 1, trigger, 0.2), material, tmp_path / trigger, epochs=2, count=200)
        assert found["poisoned"] == 40
        loss = loss_of(found, against)
        assert loss is None or loss <= MOST_LOST, found
