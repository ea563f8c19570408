"""Poisoned streams: what the product learns from them costs little of the trigger, or the product refuses to learn."""

import json
from pathlib import Path

import numpy as np
import pytest
from poisoning.experiment import (
    ASKED,
    MOST_LOST,
    OTHERS,
    PLACES,
    POISONED_SEED,
    SHARES,
    TRIED,
    TRIGGERS,
    Cell,
    all_cells,
    defence_of,
    do_cell,
    flagged,
    is_done,
    loss_of,
    read_material,
    stream_of,
    summary,
)
from scipy.stats import binomtest

from gateway.adaptation.collect import choose
from gateway.models.shipped import SHIPPED_SHA256
from trainer.bundles import detector_of, find_bundle
from trainer.environments import ENVIRONMENTS
from trainer.measures import auroc

SEEN_AUROC = 0.8
CHANCE = 0.01
FOUND_WELL = 0.8
"""A trigger that a cleanly adapted detector finds less often says little about poison."""


def test_cells_when_listed() -> None:
    """Every share of every trigger in the places where it is tried, and 20 clean adaptations of four places."""
    cells = list(all_cells())
    assert len({cell.name for cell in cells}) == len(cells)
    tried = {(place, name, share) for place, names in TRIED.items() for name in names for share in SHARES}
    assert {(cell.environment, cell.trigger, cell.share) for cell in cells if cell.trigger} == tried
    clean = [cell for cell in cells if cell.trigger is None]
    assert len(clean) >= 20
    assert {cell.environment for cell in clean} == set(PLACES)
    assert set(TRIED) <= set(PLACES) <= set(ENVIRONMENTS)


def test_loss_when_refused_or_published() -> None:
    """A refused adaptation loses nothing; a published one is held to the clean adaptation."""
    place = {"environment": "motion", "seed": 1}
    clean = {**place, "trigger": None, "published": True, "adapted": {"sig": 0.9}}
    held, lost, refused = (
        {**place, "trigger": "sig", "published": published, "adapted": {"sig": rate}}
        for published, rate in ((True, 0.85), (True, 0.5), (False, 0.0))
    )
    assert loss_of(held, clean) == pytest.approx(0.05)
    assert loss_of(refused, clean) is None
    cells = {"clean": clean, "a": held, "b": lost, "c": refused}
    assert summary(cells) == {
        "clean_adaptations": 1,
        "clean_refused": 0,
        "poisoned": 3,
        "poisoned_refused": 1,
        "poisoned_published_within_10_points": 1,
        "poisoned_published_beyond": 1,
    }


def test_results_that_are_committed() -> None:
    """They are of triggers that are found after clean adaptation; refused, or found nearly as often after poisoned."""
    results = json.loads((Path(__file__).parent / "results.json").read_text("utf-8"))
    cells = results["cells"]
    assert results["summary"] == summary(cells)
    assert set(cells) <= {cell.name for cell in all_cells()}
    poisoned = [each for each in cells.values() if each["trigger"] is not None]
    for found in poisoned:
        clean = cells[Cell(found["environment"], found["seed"]).name]
        loss = loss_of(found, clean)
        assert loss is None or loss <= MOST_LOST, found
        assert found["published"] or found["reason"]
    whole = {
        trigger
        for place, triggers in TRIED.items()
        for trigger in triggers
        if cells[Cell(place, POISONED_SEED).name]["adapted"][trigger] >= FOUND_WELL
        and all(Cell(place, POISONED_SEED, trigger, share).name in cells for share in SHARES)
    }
    assert len(whole) >= 4
    assert results["summary"]["clean_refused"] <= 0.05 * results["summary"]["clean_adaptations"]


def test_results_of_wide_that_are_committed() -> None:
    """They are of what ships: refused with a reason, or found nearly as often as after a clean adaptation."""
    results = json.loads((Path(__file__).parent / "results-wide.json").read_text("utf-8"))
    cells = results["cells"]
    assert results["digests"]["base"] == SHIPPED_SHA256["wide"]
    assert results["digests"]["defence"] == defence_of("wide")
    assert results["summary"] == summary(cells)
    poisoned = [each for each in cells.values() if each["trigger"] is not None]
    assert len(poisoned) >= 3
    for found in poisoned:
        loss = loss_of(found, cells[Cell(found["environment"], found["seed"]).name])
        assert loss is None or loss <= MOST_LOST, found
        assert found["published"] or found["reason"]


def test_calibrations_that_are_committed() -> None:
    """Passages are flagged hardly twice as often as asked; a poisoned set's threshold loses little of its trigger."""
    cells = json.loads((Path(__file__).parent / "results.json").read_text("utf-8"))["cells"]
    known = {name: found for name, found in cells.items() if "calibrated" in found}
    assert len({found["trigger"] for found in known.values()}) >= 3  # the clean one among them
    for found in known.values():
        clean = known[Cell(found["environment"], found["seed"]).name]["calibrated"]
        for asked, rate in ((f"{rate:.0%}", rate) for rate in ASKED):
            here = found["calibrated"][asked]
            hits = round(here["passages"] * OTHERS)
            assert binomtest(hits, OTHERS, 2 * rate, alternative="greater").pvalue > CHANCE, found
            if found["trigger"] is not None:
                assert here["triggers"][found["trigger"]] >= clean[asked]["triggers"][found["trigger"]] - MOST_LOST, (
                    found
                )


def test_flagged_when_the_clean_scores_can_give_the_rate_and_when_not() -> None:
    """Ties count against the new score; what too few scores cannot promise flags nobody."""
    clean = [float(number) for number in range(19)]
    assert flagged([18.0, 18.5, 30.0, 3.0], clean, 0.05) == pytest.approx(0.5)
    assert flagged([30.0], clean, 0.01) == 0.0


@pytest.mark.parametrize(
    ("found", "again", "done"),
    [
        (None, False, False),
        ({"published": True}, False, True),
        ({"published": True}, True, False),
        ({"published": True, "calibrated": {}}, True, True),
        ({"published": False}, True, True),
    ],
)
def test_cells_that_are_done_anew(found: dict[str, object] | None, again: bool, done: bool) -> None:
    """Only where a bundle was published, and only when asked for."""
    cell = Cell("motion", 1)
    assert is_done({} if found is None else {cell.name: found}, cell, again) is done


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(600)
def test_quarantine_when_the_stream_is_poisoned(research_data: Path) -> None:
    """Faces with a trigger that the base ranks high are held back; of a clean stream the share that always is."""
    material, base = read_material(research_data, "paper"), detector_of(find_bundle("paper"))
    seen = set(material.strangers.groups) & set(material.reference.groups)
    assert not seen
    ranked_high = set()
    for trigger in TRIGGERS:
        stream = stream_of(Cell("motion", POISONED_SEED, trigger, 0.05), material, base, count=300)
        choice = choose(stream.faces)
        assert int(stream.poisoned_N.sum()) == 15
        scores_N = np.array([face.score for face in stream.faces])
        if auroc(scores_N[~stream.poisoned_N], scores_N[stream.poisoned_N]) < SEEN_AUROC:
            continue  # what the base takes for clean cannot be held back by its score
        ranked_high.add(trigger)
        assert not stream.poisoned_N[list(choice.clean)].any(), trigger
    assert set(TRIED["motion"]) <= ranked_high
    clean = choose(stream_of(Cell("motion", POISONED_SEED), material, base, count=300).faces)
    assert (len(clean.held_back), len(clean.repeated)) == (90, 0)


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(600)
def test_small_cells_of_the_experiment(research_data: Path, tmp_path: Path) -> None:
    """A fifth of the stream is triggered: refused before anything is learnt, or published with its trigger found."""
    material = read_material(research_data, "paper")
    against = do_cell(Cell("brightness", 1), material, tmp_path / "clean", epochs=2, count=200)
    assert against["published"], against["reason"]
    for trigger in ("trojan_square_224_trojannn", "flower"):
        found = do_cell(Cell("brightness", 1, trigger, 0.2), material, tmp_path / trigger, epochs=2, count=200)
        assert found["poisoned"] == 40
        loss = loss_of(found, against)
        assert loss is None or loss <= MOST_LOST, found
