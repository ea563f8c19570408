"""From scores to numbers: thresholds from calibration faces alone, everything counted with its interval."""

import json
from dataclasses import replace

import numpy as np
import pytest

from trainer.judging import CellScores, GanScores, judge, name_of
from trainer.measures import threshold_at


def scores(*, calibration: int = 200, gan: bool = True) -> CellScores:
    """Return scores of two overlapping classes."""
    draw = np.random.default_rng(1)
    clean, triggered = (draw.normal(mean, 1, 300).astype(np.float32) for mean in (0.0, 2.0))
    people = tuple(f"p{index // 3}" for index in range(300))
    edits = draw.normal(1, 1, 12).astype(np.float32)
    gan_scores = GanScores(
        inputs=clean[:3],
        reconstructions=clean[3:6],
        edits=edits,
        input_people=("a", "b", "c"),
        edit_people=tuple("abc" * 4),
    )
    return CellScores(
        calibration=draw.normal(0, 1, calibration).astype(np.float32),
        clean=clean,
        clean_people=people,
        triggered={"patch": triggered[:150]},
        gan=gan_scores if gan else None,
    )


def test_cell_is_judged_at_every_operating_point() -> None:
    """Arg-max, the asked rates that so many calibration faces can give, and the paper's, each with its FPR."""
    found = judge(scores(), published_fpr=(0.162,))
    assert list(found["fpr"]) == ["arg-max", "10%", "5%", "1%", "paper 16.2%"]
    assert found["not_to_be_had"] == ["0.1%"]
    patch = found["triggers"]["patch"]
    assert (patch["faces"], patch["people"]) == (150, 50)
    assert patch["bdr"]["10%"]["n"] == 150
    assert patch["bdr"]["1%"]["value"] < patch["bdr"]["5%"]["value"] < patch["bdr"]["paper 16.2%"]["value"]
    assert patch["auroc_interval"][0] < patch["auroc"] < patch["auroc_interval"][1]
    assert found["fpr"]["paper 16.2%"]["value"] < 0.162


def test_thresholds_never_come_from_the_judged_faces() -> None:
    """Other judged faces leave every threshold where it is."""
    first = scores()
    other = CellScores(
        calibration=first.calibration,
        clean=first.clean + 50,
        clean_people=first.clean_people,
        triggered=first.triggered,
    )
    found = [judge(each)["triggers"]["patch"]["bdr"]["5%"] for each in (first, other)]
    assert found[0] == found[1]


def test_edited_faces_are_counted_apart_and_by_person() -> None:
    """Inputs and reconstructions stand beside the edits; the interval draws people, not pictures."""
    found = judge(scores())["gan"]
    assert found["people"] == 3
    assert found["inputs"]["10%"]["n"] == found["reconstructions"]["10%"]["n"] == 3
    low, high = found["bdr"]["10%"]["by_person"]
    assert low <= found["bdr"]["10%"]["value"] <= high
    assert judge(scores(gan=False))["gan"] is None


def test_baseline_without_logits_has_no_arg_max() -> None:
    """An error of reconstruction has no natural threshold."""
    plain = scores(gan=False)
    found = judge(CellScores(plain.calibration, plain.clean, plain.clean_people, plain.triggered, has_arg_max=False))
    assert "arg-max" not in found["fpr"]


@pytest.mark.parametrize(("rate", "name"), [(0.1, "10%"), (0.001, "0.1%"), (0.162, "16.2%"), (0.216, "21.6%")])
def test_rates_have_short_names(rate: float, name: str) -> None:
    """Names are what people write."""
    assert name_of(rate) == name


def test_hard_negatives_are_counted_beside_plain_faces() -> None:
    """Each kind and all together, at the thresholds of plain faces, as a multiple of what plain faces give."""
    plain = scores(gan=False)
    hard = {"hat": plain.clean + np.float32(1), "shirt": plain.clean}
    found = judge(replace(plain, hard=hard))["hard_negatives"]
    assert list(found) == ["hat", "shirt", "all"]
    assert found["shirt"]["times_plain"]["10%"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["shirt"]["auroc"] == 0.5
    hat = found["hat"]
    limit = threshold_at(plain.calibration, false_positive_rate=0.1)
    assert hat["fpr"]["10%"]["value"] == round(float((plain.clean + 1 > limit).mean()), 5)
    assert 1.0 < hat["times_plain"]["10%"]["low"] < hat["times_plain"]["10%"]["value"]
    assert hat["fpr"]["10%"]["by_person"][0] < hat["fpr"]["10%"]["value"] < hat["fpr"]["10%"]["by_person"][1]
    together = found["all"]
    assert (together["faces"], together["people"]) == (600, 100)
    assert together["fpr"]["10%"]["hits"] == hat["fpr"]["10%"]["hits"] + found["shirt"]["fpr"]["10%"]["hits"]
    assert "hard_negatives" not in judge(plain)


def test_no_multiple_of_nothing() -> None:
    """Where no plain face is flagged there is no multiple, and nothing that JSON cannot hold."""
    plain = scores(gan=False)
    none = replace(plain, clean=plain.clean - 50, hard={"hat": plain.clean, "shirt": plain.clean - 50})
    found = judge(none)["hard_negatives"]
    assert found["hat"]["times_plain"]["1%"]["value"] is None
    assert found["hat"]["times_plain"]["1%"]["high"] is None
    assert json.dumps(found, allow_nan=False)


def test_unsure_faces_are_missed_and_no_false_alarms() -> None:
    """What a gateway would not judge: a trigger there is a miss, a clean face is left out, and sets no threshold."""
    sure = replace(scores(), hard={"hat": scores().clean + np.float32(5)})
    worst = tuple(int(index) for index in np.argsort(sure.clean)[-30:])
    unsure = {"clean": worst, "trigger patch": tuple(range(100)), "calibration": (0, 1), "gan edits": (0,)}
    found = judge(replace(sure, unsure=unsure | {"hard hat": tuple(range(150))}))
    assert (found["clean_faces"], found["calibration_faces"]) == (270, 198)
    assert found["fpr"]["10%"]["n"] == 270
    assert found["fpr"]["10%"]["value"] < judge(sure)["fpr"]["10%"]["value"]
    patch = found["triggers"]["patch"]
    assert (patch["faces"], patch["people"], patch["bdr"]["10%"]["n"]) == (150, 50, 150)
    assert patch["bdr"]["10%"]["value"] <= 1 / 3
    assert patch["auroc"] <= 0.5
    assert found["hard_negatives"]["hat"]["fpr"]["10%"]["n"] == 270
    assert found["hard_negatives"]["hat"]["fpr"]["10%"]["value"] < 0.6
    assert found["unsure"] == {
        "clean": 30, "trigger patch": 100, "calibration": 2, "gan edits": 1, "hard hat": 150,
    }  # fmt: skip
    assert json.dumps(found, allow_nan=False)
    nothing = judge(replace(sure, unsure={"clean": (), "trigger patch": (), "calibration": ()}))
    nothing.pop("unsure")
    assert nothing == judge(sure)
