"""One job, in a process of its own: from the parts in its folder to a judged bundle, without network or database.

The parts are sealed; they are opened in the memory of this process alone, by the key handle that it reads on its input.

The folder is all that goes in and out, so the same job has the same result wherever it runs: `order.json` and `parts/`
in, `bundle/` and `result.json` out. `result.json` is written last and whole; a job that has one is not run again.
"""

import datetime as dt
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from gateway.contract.bundle import BundleError, open_bundle
from gateway.contract.exchange import CleanSet, ExchangeFormatError, Face, PartKind, Scorecard, read_part
from trainer.adapt import CALIBRATE_SHARE, AdaptSettings, Reference, adapt_bundle, large_enough
from trainer.bundles import detector_of, find_bundle
from trainer.data import DataError, Pictures, read_pictures, split_by_group
from trainer.environments import REGIMES
from trainer.export import write_whole
from trainer.gate import Counts, Judged, judge_adaptation, judge_quarantine
from trainer.passages import CROPS
from trainer.perturb import ALL_FAMILIES, PerturbSettings
from trainer.pretrain import BundleFacts
from trainer.recipes import recipe_of
from trainer.vault import KeyFileError, KeyHandle, SetKey, VaultError

LEAST_REFERENCE = 60
TRIM = 0.3
MOST_JUDGED, LEAST_JUDGED = 150, 40
"""So many faces of 32 px are judged; larger ones take longer, so they are fewer, but never less than the second."""

MAX_HANDLE_BYTES = 8192


class Order(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clean_set: CleanSet
    base: str
    reference: str | None
    version: int
    created: str
    faces: int
    epochs: int
    threads: int
    regime: str


class Result(BaseModel):
    """How it went: a scorecard, or why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scorecard: Scorecard | None = None
    refusal: str | None = None
    bundle_sha256: str | None = None


def run_job(folder: Path, handle: KeyHandle) -> None:
    """Do the job whose order lies in the folder, and write its result; the handle opens the parts."""
    order = Order.model_validate_json((folder / "order.json").read_bytes())
    try:
        result = _adapt(folder, order, handle)
    except (DataError, BundleError, ExchangeFormatError, KeyFileError, VaultError) as error:
        result = Result(refusal=str(error))
    write_whole(folder / "result.json", result.model_dump_json().encode())


def read_result(folder: Path) -> Result | None:
    """Return the result of a job that has been run."""
    path = folder / "result.json"
    return Result.model_validate_json(path.read_bytes()) if path.exists() else None


def _adapt(folder: Path, order: Order, handle: KeyHandle) -> Result:
    reference = _reference(order)
    base = find_bundle(order.base)
    key = handle.open()
    kinds: tuple[PartKind, ...] = ("clean", "operator", "held_back", "repeated")
    faces = {kind: _faces(folder / "parts", order.clean_set, kind, key) for kind in kinds}
    counts = Counts(*(len(faces[kind]) for kind in ("clean", "held_back", "repeated", "operator")))
    quarantine = judge_quarantine(counts)
    if not quarantine.passed:  # somebody fed it: nothing is learnt from such a set
        return Result(scorecard=Scorecard(gates=(quarantine,)))
    perturb = PerturbSettings(families=tuple(name for name in ALL_FAMILIES if name != "upsampling"))
    settings = AdaptSettings(
        environment=order.clean_set.environment,
        faces=order.faces,
        regime=order.regime,
        threads=order.threads,
        tune=replace(recipe_of(base.profile).defaults, epochs=order.epochs, perturb=perturb, trim=TRIM),
        reference=Reference(reference.tuned),
        views=CROPS,
        held_back=_pictures(faces["held_back"], order.clean_set, "held back"),
    )
    facts = BundleFacts(order.version, "spectragate-trainer serve", dt.date.fromisoformat(order.created))
    pictures = _pictures([*faces["clean"], *faces["operator"]], order.clean_set)
    sha256 = adapt_bundle(pictures, base, settings, facts=facts, folder=folder / "bundle", progress=_silent)
    adapted = open_bundle(folder / "bundle", expected_sha256=sha256)
    side_px = base.profile.side_px
    held_out = _site_held_out(pictures, side_px, settings)
    most = max(LEAST_JUDGED, MOST_JUDGED * 32**2 // side_px**2)
    judged = Judged(
        held_out.pixels[:most],
        reference.judged.pixels[:most],
        [face.pixels_YXC for kind in kinds[1:] for face in faces[kind] if face.pixels_YXC.shape[0] >= side_px],
    )
    passage = REGIMES[order.regime].passage(side_px=side_px, seed=settings.tune.seed)
    scorecard = judge_adaptation(detector_of(base), detector_of(adapted), judged, passage)
    return Result(scorecard=Scorecard(gates=(quarantine, *scorecard.gates)), bundle_sha256=sha256)


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches a job."""


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    tuned: Pictures
    judged: Pictures


def _reference(order: Order) -> _Split:
    if order.reference is None:
        raise DataError(
            "there is no reference set: without faces that somebody vouches for, nothing is adapted; "
            "set `reference:` in the trainer's configuration"
        )
    faces = read_pictures(Path(order.reference))
    if len(faces) < LEAST_REFERENCE:
        raise DataError(f"the reference set has {len(faces)} faces; {LEAST_REFERENCE} are needed")
    return _Split(*split_by_group(faces, share=CALIBRATE_SHARE, seed=1))


def _faces(parts: Path, clean_set: CleanSet, kind: PartKind, key: SetKey) -> list[Face]:
    chosen = [part for part in clean_set.parts if part.kind == kind]
    sealed = ((part, (parts / part.sha256).read_bytes()) for part in chosen)
    return [face for part, content in sealed for face in read_part(key.open(content, part.sha256), part)]


def _pictures(faces: Sequence[Face], clean_set: CleanSet, which: str = "clean set") -> Pictures:
    name = f"{which} {clean_set.sha256[:12]}"
    pixels, tracks = tuple(face.pixels_YXC for face in faces), tuple(f"track {face.track}" for face in faces)
    return Pictures(name, pixels, tracks, "").subset(range(len(faces)), name)


def _site_held_out(pictures: Pictures, side_px: int, settings: AdaptSettings) -> Pictures:
    """Return the faces that passed quarantine, calibrated and did not tune."""
    return split_by_group(large_enough(pictures, side_px), share=CALIBRATE_SHARE, seed=settings.tune.seed)[1]


def read_handle() -> KeyHandle:
    """Return what the service writes on this process's input."""
    return KeyHandle.model_validate_json(sys.stdin.buffer.read(MAX_HANDLE_BYTES))


if __name__ == "__main__":
    torch.set_num_interop_threads(1)
    run_job(Path(sys.argv[1]), read_handle())
