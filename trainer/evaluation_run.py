"""One run of `spectragate-trainer evaluate`: read, divide, judge, write. The only place that knows both sides."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gateway.contract.bundle import Bundle
from trainer.bundles import detector_of, find_bundle, people_seen_by
from trainer.candidates import Candidates
from trainer.data import DataError, read_collections, read_pictures
from trainer.environments import REGIMES
from trainer.evaluate import Cell, Evaluation, Scope, measured
from trainer.examples import Example, environment_examples, perturbation_examples, trigger_examples
from trainer.export import write_whole
from trainer.left_out import left_out_by
from trainer.perturb import ALL_FAMILIES, PerturbSettings
from trainer.perturb_file import read_perturb_file
from trainer.protocol import Division, Setting, divide
from trainer.recipes import recipe_of
from trainer.record import assemble, hard_negatives_to_csv, to_csv, to_json
from trainer.report import page_of
from trainer.triggers import read_triggers, seen_by_wide

PAGE, NUMBERS, TABLE, HARD = "index.html", "results.json", "results.csv", "hard-negatives.csv"

DIVISION_SEED = 1
"""Who is judged does not change with the seed of a run: runs with other seeds can be compared."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command was asked for."""

    clean: Path
    triggers: Path
    out: Path
    base: str
    central: tuple[str, ...]
    environments: tuple[str, ...]
    regimes: tuple[str, ...]
    plans: tuple[str, ...]
    draws: int | None
    perturbations: Path | None
    seed: int
    threads: int
    command: str


def run_evaluation(request: Request, *, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Judge a bundle and write the report; return where it lies and what matters most.

    Raises:
        DataError: The pictures or triggers cannot be used.
        BundleError: The base cannot be opened.
    """
    torch.set_num_threads(request.threads)
    progress("reading", 0, 1)
    base = find_bundle(request.base)
    makers, made_by = makers_of(request, base)
    evaluation = _evaluation(request, base, makers, made_by)
    cells = evaluation.cells()
    numbers = {cell.key: index for index, cell in enumerate(cells)}

    def tell(cell: Cell, detector: str) -> None:
        progress(f"{cell.key}, {detector}", numbers[cell.key], len(cells))

    measures = [entry for cell, kept in evaluation.run(tell) for entry in measured(evaluation, cell, kept)]
    progress("writing", len(cells), len(cells))
    results = assemble(evaluation, measures, base=base, command=request.command)
    for name, content in (
        (NUMBERS, to_json(results)),
        (TABLE, to_csv(results)),
        (HARD, hard_negatives_to_csv(results)),
        (PAGE, page_of(results, examples=_examples(evaluation, makers))),
    ):
        write_whole(request.out / name, content.encode())
    return _summary(request.out, results)


def makers_of(request: Request, base: Bundle) -> tuple[Candidates, str]:
    """Return what makes the detectors, and how it was set in words."""
    perturb = (
        read_perturb_file(request.perturbations) if request.perturbations else PerturbSettings(families=ALL_FAMILIES)
    )
    settings = replace(recipe_of(base.profile).defaults, perturb=perturb)
    settings = replace(settings, draws=request.draws or settings.draws)
    made_by = f"draws {settings.draws}, families {', '.join(perturb.families)}, {perturb.ranges}"
    if base.profile.name == "wide" and (left_out := left_out_by(base)):
        # Tuned on what the base was trained without, it would have seen it after all.
        settings, made_by = replace(settings, left_out=left_out), f"{made_by}, without {', '.join(left_out)}"
    return Candidates(base=detector_of(base), settings=settings), made_by


def _examples(evaluation: Evaluation, makers: Candidates) -> dict[str, list[Example]]:
    """Return the pictures of the report, drawn from the faces that were given."""
    divisions = list(evaluation.divisions.values())
    first = divisions[0]
    stand_in = None
    if "upsampling" in makers.settings.perturb.families:
        passage = REGIMES["native"].passage(side_px=evaluation.scope.side_px, seed=1)
        stand_in = makers.stand_in(Setting(first.name, first.tune, first.tune.stills, passage))
    return {
        "Figure 2: perturbations": perturbation_examples(first, stand_in),
        "Figure 4: environments and codecs": environment_examples(divisions),
        "Triggers": trigger_examples(first, evaluation.triggers),
    }


def _evaluation(request: Request, base: Bundle, makers: Candidates, made_by: str) -> Evaluation:
    everything, recipe = Scope(), recipe_of(base.profile)
    scope = Scope(
        environments=request.environments or everything.environments,
        named=bool(request.environments),
        regimes=request.regimes or everything.regimes,
        plans=request.plans or tuple(plan for plan in everything.plans if plan in recipe.plans),
        plan=recipe.defaults.plan,
        seed=request.seed,
        side_px=base.profile.side_px,
    )
    triggers = read_triggers(request.triggers)
    _claim(request.out)
    return Evaluation(
        makers=makers,
        made_by=made_by,
        base_sha256=base.identity.sha256,
        divisions=_divisions(request, base),
        triggers=seen_by_wide(triggers, trained_on=base.manifest.training.perturbations)
        if base.profile.name == "wide"
        else triggers,
        scope=scope,
        folder=request.out,
    )


def _divisions(request: Request, base: Bundle) -> Mapping[str, Division]:
    trained_on, watched = people_seen_by(base, read_pictures(request.clean))
    shares = _shares(request.central)
    divisions = {
        name: divide(
            pictures,
            trained_on=trained_on,
            watched=watched,
            least_px=base.profile.side_px,
            share=shares.get(name, shares[""]),
            seed=DIVISION_SEED,
        )
        for name, pictures in read_collections(request.clean).items()
    }
    unknown = set(shares) - {"", *divisions}
    if unknown:
        raise DataError(f"--central names {', '.join(sorted(unknown))}; the sources are {', '.join(divisions)}")
    return divisions


def _shares(texts: tuple[str, ...]) -> dict[str, float]:
    """Return the share of each picture's side that is used, by source; the empty name stands for all others."""
    shares = {"": 1.0}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not 0.0 < share <= 1.0:
            raise DataError(f"--central {text}: a share of more than 0 and at most 1 is needed, as in lfw=0.68")
        shares[name] = share
    return shares


def _claim(folder: Path) -> None:
    """Make the folder; refuse one that holds other things than an evaluation."""
    known = {PAGE, NUMBERS, TABLE, HARD, "cells"}
    if folder.exists() and (not folder.is_dir() or {entry.name for entry in folder.iterdir()} - known):
        raise DataError(f"{folder}: holds other things than an evaluation; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 50_000_000:
        raise DataError(f"{folder}: less than 50 MB of disk are free")


def _summary(out: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    parity = results["parity"]
    return {
        "report": str(out / PAGE),
        "numbers": str(out / NUMBERS),
        "table": str(out / TABLE),
        "hard negatives": str(out / HARD),
        "cells compared with the paper": len(parity),
        "of these at least as good, at no higher an FPR": sum(entry["holds"] for entry in parity),
    }
