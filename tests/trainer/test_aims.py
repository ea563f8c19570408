"""What was aimed at and what was reached, drawn from results alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trainer.__main__ import main
from trainer.aims import Judged, judged, to_markdown, to_records
from trainer.data import DataError
from trainer.record import read_any_results

RESULTS = Path(__file__).parents[2] / "trainer/results"


def share(value: float, n: int = 1000) -> dict[str, Any]:
    """Return a counted share."""
    return {"hits": round(value * n), "n": n, "value": value, "low": value / 2, "high": min(1.0, value * 2)}


def cell(environment: str, regime: str, found: dict[str, tuple[float, float]], *, fpr: float = 0.01) -> dict[str, Any]:
    """Return a tuned cell: (AUROC, BDR) of each trigger, and the realised rate."""
    return {
        "source": "lfw", "environment": environment, "regime": regime, "detector": "fc",
        "measures": {
            "fpr": {"1%": share(fpr)},
            "triggers": {name: {"auroc": a, "bdr": {"1%": share(b)}} for name, (a, b) in found.items()},
            "gan": {"auroc": 0.7} if regime == "native" else None,
        },
    }  # fmt: skip


def document(*cells: dict[str, Any], seen: dict[str, str | None], sha256: str = "a" * 64) -> dict[str, Any]:
    """Return the results of an evaluation of `wide`."""
    families = {"square": "badnets", "other": "badnets", "kitty": "blend", "sig": "SIG", "wanet": "WaNet"}
    return {
        "base": {"profile": "wide", "version": 3, "sha256": sha256}, "seed": 1, "plan": "fc", "command": "evaluate",
        "triggers": {name: {"family": families[name], "seen_as": each} for name, each in seen.items()},
        "cells": list(cells),
    }  # fmt: skip


ALL_SEEN = {"square": "white_block", "other": "patch", "kitty": "blend", "sig": "grating", "wanet": "warp"}
OWN = document(
    cell("original", "native", {"square": (1.0, 1.0), "other": (0.9, 0.8), "kitty": (0.99, 0.9), "sig": (1.0, 1.0)}),
    cell("motion", "native", {"square": (1.0, 1.0), "other": (1.0, 0.7), "kitty": (0.99, 0.9), "sig": (1.0, 1.0)}),
    cell("original", "jpeg", {"kitty": (0.97, 0.5), "sig": (0.9, 0.3)}, fpr=0.021),
    cell("low_light", "native", {"square": (0.1, 0.1)}, fpr=0.5),
    seen=ALL_SEEN,
)


def line(lines: list[Judged], start: str, measure: str = "") -> Judged:
    """Return the line that begins so."""
    return next(each for each in lines if each.what.startswith(start) and each.measure.startswith(measure))


def test_paper_families_are_averaged_once_each() -> None:
    """Two squares are one family; the worst is the worst of all; other environments than the paper's are not in it."""
    lines = judged([OWN])
    mean = line(lines, "the paper's five, D", "AUROC")
    assert mean.reached[0].value == pytest.approx(((1.0 + 0.9 + 1.0 + 1.0) / 4 + 0.99) / 2)
    assert (mean.met, line(lines, "the paper's five, D", "BDR at FPR 1 %, worst").met) == (False, False)
    assert line(lines, "the paper's five, D", "BDR at FPR 1 %, worst").reached[0].value == 0.7
    assert line(lines, "the paper's five, C", "AUROC").met is True


def test_realised_rate_is_judged_in_every_cell() -> None:
    """One cell above 2 % is enough, and it stands there with its interval."""
    found = line(judged([OWN]), "realised")
    assert found.met is False
    assert "2.1 % (1.1 to 4.2)" in found.reached[0].words


def test_only_what_no_trained_kind_draws_is_new() -> None:
    """Without a leave-out nothing is; with one, its own triggers are, and no others of it."""
    assert line(judged([OWN]), "families never").reached == ()
    left = document(
        cell("original", "native", {"wanet": (0.8, 0.4), "sig": (0.2, 0.0)}),
        seen=ALL_SEEN | {"wanet": None},
        sha256="b" * 64,
    )
    found = line(judged([OWN, left]), "families never trained on, D", "AUROC, mean")
    assert "(1 families)" in found.what
    assert found.reached[0].value == 0.8
    assert line(judged([OWN, left]), "families never trained on, D", "AUROC, worst").met is False
    # What the bundle itself has not seen counts by its own cells.
    own = document(*OWN["cells"], seen=ALL_SEEN | {"sig": None})
    assert line(judged([own]), "families never trained on, D", "AUROC, mean").reached[0].value == 1.0


def test_of_a_cell_in_two_documents_the_last_counts() -> None:
    """A part that was run again takes the place of the first."""
    again = document(cell("original", "jpeg", {"kitty": (0.5, 0.1), "sig": (0.9, 0.3)}), seen=ALL_SEEN)
    lines = judged([OWN, again])
    assert line(lines, "the paper's five, C", "AUROC").reached[0].value == 0.5
    assert line(lines, "realised").met is True


def test_too_few_calibration_faces_are_told() -> None:
    """No figure is made up where 1 % cannot be asked for."""
    small = json.loads(json.dumps(OWN))
    for each in small["cells"]:
        each["measures"]["fpr"] = {}
        for found in each["measures"]["triggers"].values():
            found["bdr"] = {}
    found = line(judged([small]), "the paper's five, D", "BDR at FPR 1 %, mean")
    assert (found.met, found.reached[0].words) == (None, "too few faces calibrate")
    assert "| – |" in to_markdown(judged([small]), [small])


def test_hard_negatives_are_told_with_the_worst_kind() -> None:
    """All kinds together are judged; the kind that is flagged most stands beside them."""
    hard = json.loads(json.dumps(OWN))

    def kind(fpr: float, times: float) -> dict[str, Any]:
        return {"fpr": {"1%": share(fpr)}, "times_plain": {"1%": {"value": times, "low": 0.5, "high": None}}}

    hard["cells"][0]["measures"]["hard_negatives"] = {
        "hat": kind(0.01, 1.0), "lost_packets": kind(0.05, 5.0), "all": kind(0.03, 3.0),
    }  # fmt: skip
    found = line(judged([hard]), "FPR on hard negatives, D")
    assert found.met is False
    assert found.reached[0].words == "3.0 × (0.5 to ∞) at 1 %; worst lost packets, 5.0 ×"


def test_hard_negatives_beside_no_flagged_plain_face_miss_the_aim() -> None:
    """A multiple of nothing is not unknown: where plain faces are never flagged and these are, nothing is worse."""
    hard = json.loads(json.dumps(OWN))

    def kinds(fpr: float, times: float | None) -> dict[str, Any]:
        one = {"fpr": {"1%": share(fpr)}, "times_plain": {"1%": {"value": times, "low": 0.5, "high": None}}}
        return {"hat": one, "all": one}

    hard["cells"][0]["measures"]["hard_negatives"] = kinds(0.39, None)
    hard["cells"][1]["measures"]["hard_negatives"] = kinds(0.01, 1.0)
    found = line(judged([hard]), "FPR on hard negatives, D")
    (reached,) = found.reached  # of a source the worst cell: a script reads one figure a source
    assert (found.met, reached.value, reached.words) == (False, None, "39.0 % of them and no plain face at 1 %")
    hard["cells"][0]["measures"]["hard_negatives"] = kinds(0.0, None)
    assert line(judged([hard]), "FPR on hard negatives, D").met is True


def test_trigger_that_the_bundle_has_not_seen_counts_once() -> None:
    """By its own cells alone, also where another trigger has the same facts."""
    own = document(cell("original", "native", {"square": (1.0, 1.0), "other": (0.6, 0.6)}), seen={
        "square": "white_block", "other": None,
    })  # fmt: skip
    left = document(cell("original", "native", {"square": (0.9, 0.9), "other": (0.1, 0.1)}), seen={
        "square": None, "other": None,
    }, sha256="b" * 64)  # fmt: skip
    mean = line(judged([own, left]), "families never trained on, D", "AUROC, mean")
    assert mean.reached[0].value == pytest.approx((0.6 + 0.9) / 2)


def test_files_that_do_not_belong_together_are_refused() -> None:
    """Another profile, and passages of another bundle."""
    passages = {"synthetic": {}, "bundle": {"sha256": "c" * 64}}
    with pytest.raises(DataError, match="another bundle"):
        judged([OWN, passages])
    paper = json.loads(json.dumps(OWN))
    paper["base"]["profile"] = "paper"
    with pytest.raises(DataError, match="paper beside those of wide"):
        judged([OWN, paper])
    with pytest.raises(DataError, match="no results of an evaluation"):
        judged([passages])


def test_committed_results_give_the_table() -> None:
    """The README's table is what the command prints; scripts get the same lines."""
    files = [str(RESULTS / "paper.json"), str(RESULTS / "passages-paper.json")]
    done = CliRunner().invoke(main, ["aims", *files])
    assert done.exit_code == 0, done.output
    documents = [read_any_results(Path(file)) for file in files]
    lines = judged(documents)
    assert done.output == to_markdown(lines, documents)
    assert done.output.count("\n| ") == len(lines) >= 14
    assert "per passage, calibrated alike" in done.output
    found = CliRunner().invoke(main, ["aims", "--json", *files])
    assert json.loads(found.output) == json.loads(json.dumps(to_records(lines)))
    done = CliRunner().invoke(main, ["aims", str(RESULTS.parent / "card.py")])
    assert done.exit_code == 1
    assert "not the results" in done.output
