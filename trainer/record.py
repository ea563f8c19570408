"""The results of an evaluation as they are kept: one JSON document with seeds and digests, and a CSV beside it.

No picture of a face is in either; the report is drawn from the JSON alone.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.contract.bundle import Bundle
from gateway.contract.spectrum import spectrum
from trainer.data import DataError
from trainer.environments import ENVIRONMENTS, REGIMES
from trainer.evaluate import FORMAT, MOST_TRIGGERED, Evaluation, triggered_inputs
from trainer.optics import Picture
from trainer.parity import compare
from trainer.protocol import Division
from trainer.published import TITLES
from trainer.triggers import Trigger

PREFERRED = ("badnets_white_square_4x4",)
"""Where a family has several files: the one of the authors' code stands in the paper's tables."""


def columns_of(triggers: Sequence[Trigger]) -> dict[str, str]:
    """Return the trigger of each column of the paper's tables, of those that were judged."""
    columns: dict[str, str] = {}
    for trigger in sorted(triggers, key=lambda each: each.name not in PREFERRED):
        if trigger.family in TITLES:
            columns.setdefault(trigger.family, trigger.name)
    return columns


def assemble(
    evaluation: Evaluation, measures: Sequence[Mapping[str, Any]], *, base: Bundle, command: str
) -> dict[str, Any]:
    """Return the whole document."""
    is_native = all(REGIMES[cell["regime"]].at_native_size for cell in measures)
    columns = columns_of(evaluation.triggers.at(native=is_native))
    known = {trigger.name: trigger for trigger in evaluation.triggers.triggers}
    return {
        "format": FORMAT,
        "command": command,
        "seed": evaluation.scope.seed,
        "plan": evaluation.scope.plan,
        "base": {
            "profile": base.identity.profile, "version": base.identity.version, "sha256": base.identity.sha256,
            "trained_on": list(base.manifest.training.perturbations),
        },
        "triggers_sha256": evaluation.triggers.sha256,
        "triggers": {
            name: {
                "family": each.family, "seen_as": each.seen_as, "side": each.side, "place": list(each.place),
                "opacity": each.opacity,
            }
            for name, each in known.items()
        },
        "columns": columns,
        "environments": {name: each.words for name, each in ENVIRONMENTS.items()},
        "regimes": {name: each.words for name, each in REGIMES.items()},
        "sources": {name: _source(division) for name, division in evaluation.divisions.items()},
        "cells": list(measures),
        "parity": compare(measures, columns),
        "spectra": _spectra(evaluation, [known[name] for name in columns.values()]),
    }  # fmt: skip


def _source(division: Division) -> dict[str, Any]:
    parts = {"tune": division.tune, "calibrate": division.calibrate, "test": division.test}
    return {
        name: {"faces": len(part), "people": len(set(part.people)), "sha256": part.sha256}
        for name, part in parts.items()
    } | {"base_was_trained_on": division.seen_may_tune, "too_small": division.too_small}


def mean_spectrum(pixels_NYXC: Picture) -> list[list[float]]:
    """Return the mean over faces and colours of log |DCT|, as Figure 1 shows it."""
    mean_UV = np.log(np.abs(spectrum(pixels_NYXC)) + 1e-3).mean(axis=(0, 3))
    return [[round(float(value), 2) for value in row] for row in mean_UV]


def _spectra(evaluation: Evaluation, triggers: Sequence[Trigger]) -> dict[str, Any]:
    """Return the mean spectra of the first source's faces: clean, with each of the paper's triggers, and edited."""
    division = next(iter(evaluation.divisions.values()))
    stills = division.test.stills[:MOST_TRIGGERED]
    passage = REGIMES["authors"].passage(side_px=evaluation.scope.side_px, seed=1)
    clean_NYXC = passage.finish(stills)
    found = {"clean": mean_spectrum(clean_NYXC)}
    for trigger in triggers:
        found[trigger.name] = mean_spectrum(triggered_inputs(stills, clean_NYXC, trigger, passage))
    if evaluation.triggers.gan is not None:
        found["gan"] = mean_spectrum(passage.finish(evaluation.triggers.gan.edits))
    return {"source": division.name, "faces": len(stills), "mean_log": found}


def to_json(results: Mapping[str, Any]) -> str:
    """Return the document as text, the same for the same results."""
    return json.dumps(results, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def read_results(path: Path) -> dict[str, Any]:
    """Read the document of an earlier evaluation.

    Raises:
        DataError: It is none, or of another version.
    """
    results = read_any_results(path)
    if "cells" not in results:
        raise DataError(f"{path}: not the results of an evaluation but of whole passages")
    return results


def read_any_results(path: Path) -> dict[str, Any]:
    """Read the document of an earlier evaluation, or of whole passages.

    Raises:
        DataError: It is neither, or of another version.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not the results of an evaluation: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT or not {"cells", "synthetic"} & results.keys():
        raise DataError(f"{path}: not the results of an evaluation of this version")
    return results


def joined(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one document of an evaluation that was run in parts; of a cell that is in two of them, the last.

    Raises:
        DataError: They are not of one bundle, seed, plan, set of triggers and division of people.
    """
    first = documents[0]
    for other in documents[1:]:
        for what in ("base", "seed", "plan", "triggers_sha256"):
            # What a base was trained on was not written down by earlier versions.
            mine, theirs = (
                {key: value for key, value in each[what].items() if key != "trained_on"}
                if what == "base"
                else each[what]
                for each in (first, other)
            )
            if mine != theirs:
                raise DataError(f"results of another {what.removesuffix('_sha256')} cannot be joined: {theirs}")
        for source, facts in other["sources"].items():
            if facts != first["sources"].get(source, facts):
                raise DataError(f"results of {source} with other people cannot be joined")
    found = {
        tuple(cell[key] for key in ("source", "environment", "regime", "detector")): cell
        for document in documents
        for cell in document["cells"]
    }
    cells = list(found.values())
    merged = {key: value for document in reversed(documents) for key, value in document.items()}
    for key in ("sources", "triggers", "environments", "regimes"):
        merged[key] = {name: each for document in documents for name, each in document[key].items()}
    commands = list(dict.fromkeys(document["command"] for document in documents))
    return merged | {"command": "; ".join(commands), "cells": cells, "parity": compare(cells, merged["columns"])}


def hard_negatives_to_csv(results: Mapping[str, Any]) -> str:
    """Return one line a source, regime, detector, kind of hard negative and operating point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("source", "environment", "regime", "detector", "hard_negative", "faces", "people", "auroc", "threshold",
         "plain_fpr", "fpr", "fpr_low", "fpr_high", "fpr_low_by_person", "fpr_high_by_person", "times_plain",
         "times_plain_low", "times_plain_high")
    )  # fmt: skip
    for cell in results["cells"]:
        place = [cell[key] for key in ("source", "environment", "regime", "detector")]
        for name, found in cell["measures"].get("hard_negatives", {}).items():
            head = [*place, name, found["faces"], found["people"], found["auroc"]]
            for threshold, share in found["fpr"].items():
                plain = cell["measures"]["fpr"][threshold]["value"]
                numbers = [share[key] for key in ("value", "low", "high")]
                times = [found["times_plain"][threshold][key] for key in ("value", "low", "high")]
                writer.writerow([*head, threshold, plain, *numbers, *share["by_person"], *times])
    return out.getvalue()


def to_csv(results: Mapping[str, Any]) -> str:
    """Return one line a source, environment, regime, detector, trigger and operating point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("source", "environment", "regime", "detector", "trigger", "family", "seen_as", "faces", "people", "auroc",
         "auroc_low", "auroc_high", "threshold", "fpr", "fpr_low", "fpr_high", "bdr", "bdr_low", "bdr_high", "acc")
    )  # fmt: skip
    for cell in results["cells"]:
        place = [cell[key] for key in ("source", "environment", "regime", "detector")]
        measures = cell["measures"]
        for name, found in measures["triggers"].items():
            trigger = results["triggers"][name]
            head = [*place, name, trigger["family"], trigger["seen_as"] or "", found["faces"], found["people"]]
            for threshold, bdr in found["bdr"].items():
                fpr = measures["fpr"][threshold]
                numbers = [each[key] for each in (fpr, bdr) for key in ("value", "low", "high")]
                auroc = [found["auroc"], *found["auroc_interval"]]
                writer.writerow([*head, *auroc, threshold, *numbers, found["acc"][threshold]])
    return out.getvalue()
