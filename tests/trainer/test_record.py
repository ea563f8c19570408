"""The documents of an evaluation: complete, readable again, and without a picture of a face."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from gateway.models.shipped import SHIPPED_SHA256
from trainer.data import DataError
from trainer.left_out import kinds_of
from trainer.library import KINDS
from trainer.record import columns_of, joined, mean_spectrum, read_results, to_csv, to_json
from trainer.report import page_of
from trainer.triggers import Trigger


def test_columns_name_the_trigger_of_each_family() -> None:
    """Where a family has several files, the authors' one stands in the paper's tables."""

    def same(face_YXC: np.ndarray) -> np.ndarray:
        return face_YXC

    triggers = [
        Trigger("badnets_other", "badnets", same),
        Trigger("badnets_white_square_4x4", "badnets", same),
        Trigger("kitty", "blend", same),
        Trigger("sig", "SIG", same),
    ]
    assert columns_of(triggers) == {"badnets": "badnets_white_square_4x4", "blend": "kitty"}


def test_mean_spectrum_has_its_peak_at_dc() -> None:
    """The lowest frequency stands at the top left; the numbers are plain."""
    spectrum = mean_spectrum(np.full((3, 32, 32, 3), 128, np.uint8))
    assert np.unravel_index(np.argmax(spectrum), (32, 32)) == (0, 0)
    assert json.dumps(spectrum)


def test_document_is_read_again_and_others_are_refused(tmp_path: Path) -> None:
    """Results of another version, or something else, are told."""
    (tmp_path / "good.json").write_text(to_json({"format": 1, "cells": []}), "utf-8")
    assert read_results(tmp_path / "good.json") == {"format": 1, "cells": []}
    for name, content in (("old.json", '{"format": 0}'), ("list.json", "[]"), ("half.json", '{"format": 1')):
        (tmp_path / name).write_text(content, "utf-8")
        with pytest.raises(DataError, match=name):
            read_results(tmp_path / name)


def test_csv_has_a_line_for_every_operating_point() -> None:
    """Numbers stand with their intervals, and whether a trigger is of a kind that was trained on."""
    share = {"hits": 1, "n": 2, "low": 0.1, "high": 0.9, "value": 0.5}
    found = {
        "faces": 2, "people": 2, "auroc": 0.7, "auroc_interval": [0.6, 0.8], "acc": {"10%": 0.6, "5%": 0.5},
        "bdr": {"10%": share, "5%": share},
    }  # fmt: skip
    cell = {
        "source": "lfw", "environment": "original", "regime": "authors", "detector": "last2",
        "measures": {"fpr": {"10%": share, "5%": share}, "triggers": {"dot": found}},
    }  # fmt: skip
    results = {"cells": [cell], "triggers": {"dot": {"family": "mine", "seen_as": "white_block"}}}
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    assert [row["threshold"] for row in rows] == ["10%", "5%"]
    assert rows[0]["seen_as"] == "white_block"
    assert (rows[0]["bdr"], rows[0]["bdr_low"], rows[0]["fpr_high"], rows[0]["acc"]) == ("0.5", "0.1", "0.9", "0.6")


FILES = sorted((Path(__file__).resolve().parents[2] / "trainer/results").glob("*.json"), key=lambda path: path.stem)
WIDE_SEEDS = [path for path in FILES if path.stem.startswith("wide-seed-")]
COMMITTED = [path for path in FILES if path.stem.split("-")[0] in SHIPPED_SHA256 and path not in WIDE_SEEDS]
OTHERS = [path for path in FILES if path not in [*COMMITTED, *WIDE_SEEDS]]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_results_are_of_the_shipped_bundle_and_draw_the_report(path: Path) -> None:
    """The published numbers belong to what ships; the tables come from them alone; nobody is pictured or named."""
    results = read_results(path)
    assert results["base"]["sha256"] == SHIPPED_SHA256[path.stem.split("-")[0]]
    assert {"lfw", "ytf"} <= set(results["sources"])
    if path.stem.startswith("paper"):
        assert len(results["parity"]) >= 2 * 2 * 3 * 6
    text = path.read_text("utf-8")
    assert "data:image" not in text
    assert "_" not in "".join(results["sources"])
    page = page_of(results)
    assert "Table II" in page
    assert "Figure 2" not in page


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_other_committed_results_are_what_they_are_named_for(path: Path) -> None:
    """Whole passages and codecs are of what ships; what was left out of a training is nowhere said to be seen."""
    what, _, name = path.stem.partition("-")
    found = json.loads(path.read_text("utf-8"))
    assert "data:image" not in path.read_text("utf-8")
    if what in {"passages", "codecs"}:
        assert found["bundle"]["sha256"] == SHIPPED_SHA256[name]
        return
    assert what == "without"
    left_out = kinds_of(name.split("+"))
    assert set(found["base"]["trained_on"]) == set(KINDS) - set(left_out)
    unseen = [trigger for trigger, each in found["triggers"].items() if each["seen_as"] is None]
    assert unseen
    assert not any(set((each["seen_as"] or "").split(", ")) & set(left_out) for each in found["triggers"].values())


@pytest.mark.parametrize(
    "path", [path for path in FILES if "columns" in path.read_text("utf-8")], ids=lambda path: path.stem
)
def test_columns_of_the_papers_tables_were_judged(path: Path) -> None:
    """A bundle that was judged at the faces' own size alone has the large files of a family in its tables."""
    results = read_results(path)
    judged = {name for cell in results["cells"] for name in cell["measures"]["triggers"]}
    assert set(results["columns"].values()) <= judged


def test_results_are_committed() -> None:
    """The figures in the README and the model card can be looked up, those of other seeds as well."""
    assert [path.stem for path in COMMITTED] == [
        "paper",
        "paper-seed-2",
        "paper-seed-3",
        "wide",
        "wide-tuned-2",
        "wide-tuned-3",
    ]
    assert [read_results(path)["seed"] for path in COMMITTED] == [1, 2, 3, 1, 2, 3]


def test_other_seeds_of_wide_are_the_same_recipe_trained_anew() -> None:
    """A seed of `wide` is one of the training and of the tuning; the recipe, its data and its triggers are the same."""
    shipped = read_results(next(path for path in COMMITTED if path.stem == "wide"))
    assert [path.stem for path in WIDE_SEEDS] == ["wide-seed-1", "wide-seed-3"]
    assert [read_results(path)["seed"] for path in WIDE_SEEDS] == [1, 3]
    digests = {shipped["base"]["sha256"]}
    for path in WIDE_SEEDS:
        results = read_results(path)
        digests.add(results["base"]["sha256"])
        same = ("profile", "trained_on")
        assert {key: results["base"][key] for key in same} == {key: shipped["base"][key] for key in same}
        assert results["triggers_sha256"] == shipped["triggers_sha256"]
        assert "data:image" not in path.read_text("utf-8")
    assert len(digests) == 3


def test_parts_of_an_evaluation_are_joined() -> None:
    """All cells are there once; where one is in two parts, the last counts; nothing else is mixed."""
    whole = read_results(COMMITTED[0])
    first, second = (
        whole | {"cells": whole["cells"][:40], "parity": []},
        whole | {"cells": whole["cells"][30:], "parity": []},
    )
    assert joined([first, second]) == whole
    changed = whole["cells"][0] | {"note": "again"}
    assert joined([whole, whole | {"cells": [changed], "command": "more"}])["cells"] == [changed, *whole["cells"][1:]]
    assert joined([whole, whole | {"command": "more"}])["command"] == f"{whole['command']}; more"
    for key, value in (("seed", 7), ("plan", "fc"), ("base", {"sha256": "0"}), ("triggers_sha256", "1")):
        with pytest.raises(DataError, match="cannot be joined"):
            joined([whole, whole | {key: value}])
    with pytest.raises(DataError, match="other people"):
        joined([whole, whole | {"sources": {"lfw": {}}}])
