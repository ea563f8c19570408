"""The brief of an evaluation that ships beside its bundle, for a gateway to show what it was judged on."""

import hashlib
from collections.abc import Mapping
from typing import Any

from gateway.contract.evaluation import OPERATING_POINTS, Cell, Evaluation, Found, Rates, Source, Trigger
from trainer.environments import REGIMES
from trainer.published import TITLES
from trainer.record import to_json

GAN = "gan"


def brief(results: Mapping[str, Any]) -> Evaluation:
    """Return the cells of the released bundle, as it ships and tuned by the evaluation's plan, from all results.

    Detectors of an ablation and those of other authors are no bundle that anybody runs, and are left out.
    """
    detectors = {"untuned": "shipped", results["plan"]: "tuned"}
    cells = [cell for cell in results["cells"] if cell["detector"] in detectors]
    return Evaluation(
        model_sha256=results["base"]["sha256"],
        results_sha256=hashlib.sha256(to_json(results).encode()).hexdigest(),
        triggers=_triggers(results),
        environments=results["environments"],
        regimes={name: results["regimes"][name] for name in REGIMES if name in results["regimes"]},
        sources={
            name: Source(faces=each["test"]["faces"], people=each["test"]["people"])
            for name, each in results["sources"].items()
        },
        cells=tuple(_cell(cell, detectors[cell["detector"]]) for cell in cells),
    )


def _triggers(results: Mapping[str, Any]) -> dict[str, Trigger]:
    """Return those of the paper's tables in their order, then the others."""
    paper = {results["columns"][family]: TITLES[family] for family in TITLES if family in results["columns"]}
    others = {name: name.replace("_", " ") for name in results["triggers"] if name not in paper}
    seen = {name for name, each in results["triggers"].items() if each["seen_as"]}
    named = {**paper, GAN: TITLES[GAN], **others}
    return {name: Trigger(title=title, is_seen=name in seen) for name, title in named.items()}


def _cell(cell: Mapping[str, Any], detector: str) -> Cell:
    measures = cell["measures"]
    found = {name: _found(each) for name, each in measures["triggers"].items()}
    if measures["gan"]:
        gan = measures["gan"]
        found[GAN] = Found(faces=gan["bdr"]["5%"]["n"], auroc=round(gan["auroc"], 3), bdr=_rates(gan["bdr"]))
    values = {name: cell[name] for name in ("source", "environment", "regime")}
    return Cell.model_validate({**values, "detector": detector, "fpr": _rates(measures["fpr"]), "found": found})


def _found(trigger: Mapping[str, Any]) -> Found:
    return Found(faces=trigger["faces"], auroc=round(trigger["auroc"], 3), bdr=_rates(trigger["bdr"]))


def _rates(by_point: Mapping[str, Any]) -> Rates:
    names = [f"{100 * point:g}%" for point in OPERATING_POINTS]
    first, second = (round(float(by_point[name]["value"]), 3) for name in names[:2])
    third = round(float(by_point[names[2]]["value"]), 3) if names[2] in by_point else None
    return first, second, third
