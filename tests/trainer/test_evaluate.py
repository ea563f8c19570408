"""The evaluation: every cell once, scores kept, gone on with after an interruption."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.evaluations import SMALL, WHITE, Lightness, evaluation, run

from trainer.environments import REGIMES
from trainer.evaluate import Scope, cells_of, triggered_inputs
from trainer.hard_negatives import HARD_NEGATIVES
from trainer.triggers import Trigger, TriggerSet


def test_cells_cover_the_papers_tables_first() -> None:
    """Tables III and IV, then the other regimes in the paper's environments, Table II's plans last."""
    cells = cells_of(["a", "b"], Scope())
    assert [cell.key for cell in cells[:2]] == ["a-original-authors", "b-original-authors"]
    assert cells[-1].key == "b-original-authors-plans"
    assert cells[-1].detectors == ("fc", "last1", "last3", "all", "scratch")
    keys = [cell.key for cell in cells]
    assert len(keys) == len(set(keys)) == 2 * (6 + 3 * 3 + 1)
    assert all(("autoencoder" in cell.detectors) == cell.key.endswith("authors") for cell in cells)


def test_environments_that_were_named_are_judged_in_every_regime() -> None:
    """Whoever asks for poor light after a codec gets it, not an empty report."""
    cells = cells_of(["a"], Scope(environments=("low_light",), regimes=("native", "jpeg"), named=True))
    assert [cell.key for cell in cells] == ["a-low_light-native", "a-low_light-jpeg"]


def test_every_detector_is_measured_on_every_trigger(tmp_path: Path) -> None:
    """One entry a cell and detector, with the edited faces where there are some."""
    entries = run(evaluation(tmp_path))
    places = [(entry["environment"], entry["regime"], entry["detector"]) for entry in entries]
    assert places == [
        ("original", "authors", "untuned"),
        ("original", "authors", "last2"),
        ("original", "authors", "autoencoder"),
        ("defocus", "authors", "untuned"),
        ("defocus", "authors", "last2"),
        ("defocus", "authors", "autoencoder"),
        ("original", "native", "untuned"),
        ("original", "native", "last2"),
        ("original", "authors", "fc"),
    ]
    for entry in entries:
        assert entry["measures"]["triggers"]["white"]["auroc"] > 0.6
        assert entry["measures"]["gan"]["bdr"]["10%"]["n"] == 4
    assert entries[2]["note"]["chosen"] == {"latent": 1}
    assert "arg-max" not in entries[2]["measures"]["fpr"]


def test_interrupted_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    """Finished cells are read, not made again, and give the same numbers."""

    class StopHere(Exception):
        pass

    given = evaluation(tmp_path)

    def stop(cell: object, detector: str) -> None:
        if detector == "autoencoder" and given.makers.made.count("untuned") == 2:  # type: ignore[attr-defined]
            raise StopHere

    with pytest.raises(StopHere):
        list(given.run(stop))
    makers = Lightness()
    resumed = run(evaluation(tmp_path, makers=makers))
    assert makers.made.count("untuned") == 2
    whole = run(evaluation(tmp_path / "whole"))
    assert json.dumps(resumed) == json.dumps(whole)


@pytest.mark.parametrize(
    "change", [{"made_by": "other"}, {"scope": Scope(SMALL.environments, ("authors",), ("fc",), seed=2)}]
)
def test_scores_of_another_evaluation_are_not_taken(tmp_path: Path, change: dict[str, Any]) -> None:
    """Other settings or another seed make every cell anew."""
    run(evaluation(tmp_path))
    makers = Lightness()
    run(evaluation(tmp_path, makers=makers, **change))
    assert makers.made


def test_damaged_scores_are_made_anew(tmp_path: Path) -> None:
    """Half a file counts as none."""
    run(evaluation(tmp_path))
    path = tmp_path / "cells/drawn-original-native.json"
    path.write_text(path.read_text("utf-8")[:100], "utf-8")
    makers = Lightness()
    run(evaluation(tmp_path, makers=makers))
    assert makers.made == ["untuned", "last2"]


def test_trigger_lies_on_the_reduced_or_the_native_face() -> None:
    """At 32 px the white square has hard edges; put on before the reduction its edges are soft."""
    stills = [np.full((90, 90, 3), 100, np.uint8)]
    found = {}
    for name in ("authors", "native"):
        passage = REGIMES[name].passage(side_px=32, seed=1)
        found[name] = set(np.unique(triggered_inputs(stills, passage.finish(stills), WHITE, passage)))
    assert found["authors"] == {100, 255}
    assert len(found["native"]) > 2


def test_hard_negatives_are_judged_where_nothing_else_changes_a_face(tmp_path: Path) -> None:
    """At the faces' own size, in the original environment; no other cell, and no other scores of it, know of them."""
    entries = run(evaluation(tmp_path))
    judged = [entry for entry in entries if "hard_negatives" in entry["measures"]]
    assert [(each["environment"], each["regime"], each["detector"]) for each in judged] == [
        ("original", "native", "untuned"),
        ("original", "native", "last2"),
    ]
    found = judged[0]["measures"]
    assert list(found["hard_negatives"]) == [*HARD_NEGATIVES, "all"]
    assert found["hard_negatives"]["hat"]["faces"] == found["clean_faces"]
    assert found["hard_negatives"]["low_light"]["auroc"] < 0.3  # darker: the detector scores lightness


def test_faces_that_a_gateway_would_not_judge_are_counted_as_missed(tmp_path: Path) -> None:
    """The rule is the gateway's own; scores that were kept before it was asked say nothing of it."""
    flat = Trigger("grey", "cover", lambda face_YXC: np.full_like(face_YXC, 90))
    given = replace(evaluation(tmp_path), triggers=TriggerSet((WHITE, flat), None, "1" * 64))
    measures = run(given)[0]["measures"]
    assert measures["unsure"]["clean"] == measures["unsure"]["trigger white"] == 0
    assert measures["unsure"]["trigger grey"] == measures["triggers"]["grey"]["faces"]
    assert all(share["hits"] == 0 for share in measures["triggers"]["grey"]["bdr"].values())
    path = tmp_path / "cells/drawn-original-authors.json"
    kept = json.loads(path.read_text("utf-8"))
    kept.pop("unsure")
    path.write_text(json.dumps(kept), "utf-8")
    assert "unsure" not in run(given)[0]["measures"]
