"""The evaluation: every cell once, scores kept, gone on with after an interruption."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from trainer.environments import REGIMES
from trainer.evaluate import Evaluation, Scope, Scorer, cells_of, measured, triggered_inputs
from trainer.protocol import Setting, divide
from trainer.triggers import GanEdits, Trigger, TriggerSet

if TYPE_CHECKING:
    from trainer.optics import Picture

WHITE = Trigger("white", "badnets", lambda face_YXC: np.full_like(face_YXC, 255), side=0.3, place=(0.2, 0.2))
SMALL = Scope(environments=("original", "defocus"), regimes=("authors", "native"), plans=("fc", "last2"))


class Lightness:
    """Makes detectors that score the lightest pixel, and counts how often each is asked for."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def _scorer(self, name: str) -> Scorer:
        self.made.append(name)
        return lambda pixels_NYXC: pixels_NYXC.reshape(len(pixels_NYXC), -1).mean(axis=1).astype(np.float32)

    def untuned(self) -> Scorer:
        """Return a detector."""
        return self._scorer("untuned")

    def tuned(self, setting: Setting, *, plan: str, seed: int) -> Scorer:
        """Return a detector."""
        return self._scorer(plan)

    def autoencoder(self, setting: Setting, *, seed: int) -> tuple[Scorer, dict[str, Any]]:
        """Return a detector and a note."""
        return self._scorer("autoencoder"), {"chosen": {"latent": 1}, "tried": []}


def evaluation(folder: Path, *, makers: Lightness | None = None, scope: Scope = SMALL, made_by: str = "") -> Evaluation:
    """Return an evaluation of drawn faces."""
    faces = drawn_faces(200)
    gan = GanEdits(faces.pixels[:2], (), faces.pixels[2:6], ("a", "b"), (), ("a", "b", "a", "b"))
    division = divide(faces, trained_on=frozenset(), watched=frozenset(), least_px=32)
    return Evaluation(
        makers=makers or Lightness(),
        made_by=made_by,
        base_sha256="0" * 64,
        divisions={"drawn": division},
        triggers=TriggerSet((WHITE,), gan, "1" * 64),
        scope=scope,
        folder=folder,
    )


def run(given: Evaluation) -> list[dict[str, Any]]:
    """Run and return the measures."""
    return [entry for cell, kept in given.run(lambda cell, detector: None) for entry in measured(given, cell, kept)]


def test_cells_cover_the_papers_tables_first() -> None:
    """Tables III and IV, then the other regimes in the paper's environments, Table II's plans last."""
    cells = cells_of(["a", "b"], Scope())
    assert [cell.key for cell in cells[:2]] == ["a-original-authors", "b-original-authors"]
    assert cells[-1].key == "b-original-authors-plans"
    assert cells[-1].detectors == ("fc", "last1", "last3", "all", "scratch")
    keys = [cell.key for cell in cells]
    assert len(keys) == len(set(keys)) == 2 * (5 + 3 * 3 + 1)
    assert all(("autoencoder" in cell.detectors) == cell.key.endswith("authors") for cell in cells)


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
    stills: list[Picture] = [np.full((90, 90, 3), 100, np.uint8)]
    found = {}
    for name in ("authors", "native"):
        passage = REGIMES[name].passage(side_px=32, seed=1)
        found[name] = set(np.unique(triggered_inputs(stills, passage.finish(stills), WHITE, passage)))
    assert found["authors"] == {100, 255}
    assert len(found["native"]) > 2
