"""The comparison with the paper: both conditions, and the reason where one fails."""

from typing import Any

import pytest

from trainer.parity import compare, published_rates


def share(hits: int, n: int, low: float, high: float) -> dict[str, Any]:
    """Return a counted share."""
    return {"hits": hits, "n": n, "low": low, "high": high, "value": hits / n}


def cell(bdr: dict[str, Any], fpr: float, *, detector: str = "last2", regime: str = "authors") -> dict[str, Any]:
    """Return one cell of results in the original environment, with BadNets and edited faces."""
    points = ["paper 16.2%", "paper 18.4%"]
    flagged = share(int(1000 * fpr), 1000, fpr - 0.01, fpr + 0.01)
    gan = {
        "inputs": dict.fromkeys(points, share(1, 7, 0, 0.5)),
        "bdr": dict.fromkeys(points, bdr | {"by_person": [0.5, 0.99]}),
    }
    return {
        "source": "lfw",
        "environment": "original",
        "regime": regime,
        "detector": detector,
        "measures": {
            "fpr": dict.fromkeys(points, flagged),
            "triggers": {"white_square": {"bdr": dict.fromkeys(points, bdr)}},
            "gan": gan,
        },
    }


def entry_of(bdr: dict[str, Any], fpr: float) -> dict[str, Any]:
    """Return the entry of BadNets against Table III."""
    entries = compare([cell(bdr, fpr)], {"badnets": "white_square"})
    return next(each for each in entries if each["trigger"] == "badnets" and each["table"] == "Table III")


def test_cell_holds_where_both_conditions_do() -> None:
    """The paper's 93.3 lies inside our interval and our FPR is below its 16.2 %."""
    entry = entry_of(share(460, 500, 0.893, 0.94), 0.15)
    assert (entry["holds"], entry["reason"]) == (True, None)
    assert (entry["paper_bdr"], entry["bdr"], entry["fpr"]) == (93.3, 92.0, 15.0)


def test_failing_cells_say_why() -> None:
    """Too low a BDR, too high an FPR, or both."""
    assert "above our interval" in entry_of(share(400, 500, 0.76, 0.83), 0.15)["reason"]
    assert "above the paper's" in entry_of(share(490, 500, 0.96, 0.99), 0.17)["reason"]
    both = entry_of(share(400, 500, 0.76, 0.83), 0.17)
    assert not both["holds"]
    assert ";" in both["reason"]


def test_edited_faces_are_compared_by_person_and_their_inputs() -> None:
    """Seven people: their interval counts, and as false alarms their unedited inputs, not the source's faces."""
    entries = compare([cell(share(460, 500, 0.893, 0.94), 0.15)], {"badnets": "white_square"})
    gan = [entry for entry in entries if entry["trigger"] == "gan"]
    assert {(entry["low"], entry["high"]) for entry in gan} == {(50.0, 99.0)}
    assert {(entry["fpr"], entry["fpr_faces"], entry["holds"]) for entry in gan} == {(14.29, 7, True)}


def test_only_tuned_cells_of_the_authors_protocol_are_compared() -> None:
    """Other detectors and regimes have their own tables."""
    others = [cell(share(1, 2, 0, 1), 0.1, detector="untuned"), cell(share(1, 2, 0, 1), 0.1, regime="native")]
    assert compare(others, {"badnets": "white_square"}) == []


def test_rates_of_an_environment_are_those_of_both_tables() -> None:
    """The original environment was at 16.2 % on one source and 18.4 % on the other; ours alone have none."""
    assert published_rates("original") == (0.162, 0.184)
    assert published_rates("bright") == published_rates("brightness") == pytest.approx((0.184, 0.216))
    assert published_rates("defocus") == ()
