"""Pre-training of `wide`: pairs drawn anew all the time, the weights averaged over the last part of the run.

N faces, P pairs, C colour, Y/X pixel row/column, F feature.
"""

import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gateway.contract.network import PROFILES
from trainer.data import DataError, Pictures
from trainer.library import KINDS, Library
from trainer.measures import auroc, detection_rate
from trainer.network import score_pixels
from trainer.optics import Picture
from trainer.upsampling import GeneratorSettings, StandIn, train_stand_in
from trainer.whitening import Whitening, whitening_of
from trainer.wide_chain import Pair, WideChainSettings, make_pairs
from trainer.wide_model import WideDetector

CHECKPOINT_FORMAT = 1
TOGETHER = 16
"""Stills that pass the chain together: those that are coded as video share a frame."""

LEAST_SIDE_PX = 96
"""Smaller stills are left out: enlarged to the detector's size they would show nothing but the enlargement."""

STAND_INS = (GeneratorSettings(), GeneratorSettings(steps=400, channels=(16, 64), seed=2))
"""Two generators of different width, so that the trace of one is not learnt by heart."""

VALIDATION_FPR = 0.01


@dataclass(frozen=True, slots=True)
class WideSettings:
    """What one run is asked for.

    `pairs` are drawn in all, `batch` of them for a step, and `averaged` is the share of the run, at its end, over which
    the weights are averaged. `left_out` names kinds of perturbation that are not drawn (leave one out).
    """

    seed: int = 1
    split_seed: int = 1
    base_sha256: str | None = None
    pairs: int = 52_000
    batch: int = 32
    learning_rate: float = 1.5e-3
    weight_decay: float = 2e-2
    averaged: float = 0.25
    standardise_pairs: int = 3_072
    validation_draws: int = 4
    left_out: tuple[str, ...] = ()
    chain: WideChainSettings = field(default_factory=WideChainSettings)
    reports: int = 8
    threads: int = 1
    workers: int = 1


@dataclass(frozen=True, slots=True)
class WideReport:
    """What part of a run is done, and what it reached on people that training never sees."""

    pairs: int
    of: int
    loss: float
    validation: dict[str, float]
    seconds: float


Batch = tuple[Tensor, Tensor]
"""Pixels of clean and of perturbed faces, uint8 (P, S, S, 3)."""


class WidePairs(Dataset[Batch]):
    """The steps of a run: step `i` depends on (seed, i) alone, whoever draws it."""

    def __init__(self, stills: Sequence[Picture], upsamplers: Sequence[StandIn], settings: WideSettings) -> None:
        self._stills = stills
        self._settings = settings
        self._library = Library(
            lambda draw: stills[int(draw.integers(len(stills)))], upsamplers, left_out=settings.left_out
        )

    def __len__(self) -> int:
        """Return the number of steps."""
        return self._settings.pairs // self._settings.batch

    def __getitem__(self, step: int) -> Batch:
        """Return the pairs of a step."""
        cv2.setNumThreads(1)
        settings, pairs = self._settings, list[Pair]()
        draw = np.random.default_rng((settings.seed, 3, step))
        while len(pairs) < settings.batch:
            chosen = draw.integers(len(self._stills), size=min(TOGETHER, settings.batch - len(pairs)))
            pairs += make_pairs([self._stills[int(index)] for index in chosen], self._library, draw, settings.chain)
        clean_PYXC = np.stack([pair.clean_YXC for pair in pairs])
        changed_PYXC = np.stack([pair.changed_YXC for pair in pairs])
        return torch.from_numpy(clean_PYXC), torch.from_numpy(changed_PYXC)


def usable_stills(pictures: Pictures) -> list[Picture]:
    """Return the pictures that are large enough.

    Raises:
        DataError: There is none.
    """
    stills = [still for still in pictures.pixels if still.shape[0] >= LEAST_SIDE_PX]
    if not stills:
        raise DataError(
            f"{pictures.name}: no face of at least {LEAST_SIDE_PX} px; the profile `wide` needs larger ones"
        )
    return stills


def stand_ins(faces: Pictures) -> list[StandIn]:
    """Return the generators in place of GANs, trained on clean faces alone; always the same for the same faces."""
    return [train_stand_in(faces, each) for each in STAND_INS]


def fresh_wide(settings: WideSettings) -> WideDetector:
    """Return a detector with drawn weights."""
    torch.manual_seed(settings.seed)
    return WideDetector(PROFILES["wide"])


def pretrain_wide(
    faces: Pictures,
    validation: Pictures,
    settings: WideSettings,
    *,
    start: WideDetector,
    folder: Path,
    report: Callable[[WideReport], None],
) -> WideDetector:
    """Train the detector `start` and return the average of its last weights, in evaluation mode.

    At every report `folder` gets a checkpoint, from which the same call goes on, and a line in `metrics.jsonl`.
    `validation` (other people) is only watched: nothing is chosen by it.

    Raises:
        DataError: No face is large enough, or the folder's checkpoint belongs to other settings or data.
    """
    torch.set_num_threads(settings.threads)
    stills = usable_stills(faces)
    upsamplers = stand_ins(faces) if "generator" not in settings.left_out else []
    pairs = WidePairs(stills, upsamplers, settings)
    run = _Run(folder, _fingerprint(faces, validation, settings), start, settings, steps=len(pairs))
    first, every = run.resume(), -(-len(pairs) // settings.reports)
    if first == 0:
        run.prepare(_first_features(start, pairs, settings), standardise=settings.base_sha256 is None)
    held = validation_pairs(usable_stills(validation), upsamplers, settings)
    loader = DataLoader(pairs, batch_size=None, sampler=range(first, len(pairs)), num_workers=settings.workers)
    started, losses = time.monotonic(), list[float]()
    for step, (clean_PYXC, changed_PYXC) in enumerate(loader, start=first):
        losses.append(run.step(clean_PYXC, changed_PYXC, step))
        if (step + 1) % every == 0 or step + 1 == len(pairs):
            found = validate_wide(run.result(), held)
            done = WideReport(
                (step + 1) * settings.batch,
                settings.pairs,
                float(np.mean(losses)),
                found,
                time.monotonic() - started,
            )
            run.save(step + 1, done)
            report(done)
            losses.clear()
    return run.result()


@torch.no_grad()
def _first_features(detector: WideDetector, pairs: WidePairs, settings: WideSettings) -> tuple[Tensor, Tensor]:
    """Return the statistics of clean and of perturbed faces of the first pairs."""
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(max(1, settings.standardise_pairs // settings.batch)):
        for kept, pixels_NYXC in zip(parts, pairs[step], strict=True):
            rgb_NCYX = detector.planes(pixels_NYXC)
            kept.append(detector.statistics(rgb_NCYX, detector.statistics.residuals(rgb_NCYX)))
    return torch.cat(parts[0]), torch.cat(parts[1])


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Pairs of people that training never sees."""

    clean_NYXC: Picture
    changed_NYXC: Picture
    kinds: NDArray[np.str_]
    regimes: NDArray[np.str_]
    nuisances: NDArray[np.str_]


def validation_pairs(stills: Sequence[Picture], upsamplers: Sequence[StandIn], settings: WideSettings) -> HeldOut:
    """Return pairs of all kinds, also of those that are left out of training, the same on every call."""
    draw = np.random.default_rng(2**31)
    library = Library(lambda each: stills[int(each.integers(len(stills)))], upsamplers)
    pairs: list[Pair] = []
    for start in _starts(len(stills), settings.validation_draws):
        pairs += make_pairs(stills[start : start + TOGETHER], library, draw, settings.chain)
    return HeldOut(
        np.stack([pair.clean_YXC for pair in pairs]),
        np.stack([pair.changed_YXC for pair in pairs]),
        np.array([pair.kind for pair in pairs]),
        np.array([pair.regime for pair in pairs]),
        np.array([pair.nuisance or "plain" for pair in pairs]),
    )


def _starts(count: int, draws: int) -> Iterator[int]:
    for _ in range(draws):
        yield from range(0, count, TOGETHER)


def validate_wide(detector: WideDetector, held: HeldOut) -> dict[str, float]:
    """Return AUROC and BDR by regime and kind, and the false alarms on each nuisance, at a 1 % FPR of the regime."""
    clean_N = score_pixels(detector, held.clean_NYXC)
    changed_N = score_pixels(detector, held.changed_NYXC)
    found: dict[str, float] = {}
    for regime in ("D", "C"):
        here_N = held.regimes == regime
        if here_N.sum() * VALIDATION_FPR < 1:
            continue
        found[f"{regime} auroc"] = auroc(clean_N[here_N], changed_N[here_N])
        rate = {"false_positive_rate": VALIDATION_FPR}
        found[f"{regime} bdr"] = detection_rate(clean_N[here_N], changed_N[here_N], **rate)
        for kind in KINDS:
            chosen_N = here_N & (held.kinds == kind)
            if chosen_N.any():
                found[f"{regime} auroc/{kind}"] = auroc(clean_N[here_N], changed_N[chosen_N])
                found[f"{regime} bdr/{kind}"] = detection_rate(clean_N[here_N], changed_N[chosen_N], **rate)
    limit = float(np.quantile(clean_N, 1 - VALIDATION_FPR))
    for nuisance in sorted(set(held.nuisances.tolist())):
        found[f"fpr/{nuisance}"] = float((clean_N[held.nuisances == nuisance] > limit).mean())
    return found


def _fingerprint(faces: Pictures, validation: Pictures, settings: WideSettings) -> str:
    facts = {
        "format": CHECKPOINT_FORMAT,
        "settings": asdict(settings) | {"threads": None, "workers": None},
        "faces": faces.sha256,
        "validation": validation.sha256,
    }
    return json.dumps(facts, sort_keys=True)


class _Run:
    """The moving parts of a run and their checkpoint on disk."""

    def __init__(
        self, folder: Path, fingerprint: str, detector: WideDetector, settings: WideSettings, *, steps: int
    ) -> None:
        self._checkpoint = folder / "checkpoint.pt"
        self._metrics = folder / "metrics.jsonl"
        self._fingerprint = fingerprint
        self._detector = detector
        self._average = copy.deepcopy(detector)
        self._averaged = 0
        self._averages_from = round(steps * (1 - settings.averaged))
        self._whitening: Whitening | None = None
        self._optimiser = torch.optim.AdamW(
            detector.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, settings.learning_rate, total_steps=steps, pct_start=0.1
        )
        folder.mkdir(parents=True, exist_ok=True)

    @torch.no_grad()
    def prepare(self, features: tuple[Tensor, Tensor], *, standardise: bool) -> None:
        """Set mean and scale of the statistics by clean and perturbed faces, and whiten them by clean ones."""
        clean_NF, detector = features[0], self._detector
        if standardise:
            both_NF = torch.cat(features)
            detector.features_mean.copy_(both_NF.mean(0))
            # A feature that hardly varies would be blown up by the first picture that differs.
            detector.features_scale.copy_(1 / (both_NF.std(0) + 1e-3))
        self._whitening = whitening_of(detector.standardised(clean_NF))
        if not standardise:
            self._whitening.unfold(detector.dense1)

    def step(self, clean_PYXC: Tensor, changed_PYXC: Tensor, number: int) -> float:
        """Learn from the pairs of one step and return the loss."""
        assert self._whitening is not None  # noqa: S101 - prepared or loaded before
        detector = self._detector.train()
        torch.manual_seed(number)
        labels_N = torch.cat([torch.zeros(len(clean_PYXC)), torch.ones(len(changed_PYXC))]).long()
        rgb_NCYX = detector.planes(torch.cat([clean_PYXC, changed_PYXC]))
        with torch.no_grad():
            residuals_NRYX = detector.statistics.residuals(rgb_NCYX)
            white_NF = self._whitening.apply(detector.standardised(detector.statistics(rgb_NCYX, residuals_NRYX)))
        logits_N2 = detector.combine(white_NF, detector.shapes(rgb_NCYX, residuals_NRYX))
        loss = nn.functional.cross_entropy(logits_N2, labels_N)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        if number >= self._averages_from:
            self._average_in()
        return float(loss.detach())

    @torch.no_grad()
    def _average_in(self) -> None:
        self._averaged += 1
        now = self._detector.state_dict()
        for name, value in self._average.state_dict().items():
            moved = value + (now[name] - value) / self._averaged if value.is_floating_point() else now[name]
            value.copy_(moved)

    def result(self) -> WideDetector:
        """Return the average so far, or the weights as they are before there is one, in evaluation mode."""
        assert self._whitening is not None  # noqa: S101 - prepared or loaded before
        result = copy.deepcopy(self._average if self._averaged else self._detector).eval()
        self._whitening.fold(result.dense1)
        return result

    def resume(self) -> int:
        """Load the checkpoint, if there is one, and return the number of steps done."""
        if not self._checkpoint.exists():
            self._metrics.write_text("", encoding="utf-8")
            return 0
        saved: dict[str, Any] = torch.load(self._checkpoint, weights_only=True)
        if saved["fingerprint"] != self._fingerprint:
            raise DataError(f"{self._checkpoint}: belongs to other settings or data; give another --out or remove it")
        self._detector.load_state_dict(saved["detector"])
        self._average.load_state_dict(saved["average"])
        self._averaged = int(saved["averaged"])
        self._whitening = Whitening(*saved["whitening"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._schedule.load_state_dict(saved["schedule"])
        return int(saved["steps_done"])

    def save(self, steps_done: int, report: WideReport) -> None:
        """Write the checkpoint whole, then the line of metrics."""
        assert self._whitening is not None  # noqa: S101 - prepared or loaded before
        partial = self._checkpoint.with_suffix(".partial")
        whitening = self._whitening
        state = {
            "whitening": (whitening.mean_F, whitening.turn_FF, whitening.back_FF),
            "fingerprint": self._fingerprint,
            "steps_done": steps_done,
            "detector": self._detector.state_dict(),
            "average": self._average.state_dict(),
            "averaged": self._averaged,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        with partial.open("wb") as handle:
            torch.save(state, handle)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(self._checkpoint)
        with self._metrics.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(report), sort_keys=True) + "\n")
