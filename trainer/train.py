"""Pre-training: clean pictures against perturbed copies of themselves, re-drawn every epoch (paper, section IV-B).

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from gateway.contract.network import PROFILES, Profile
from trainer.chain import ChainSettings, make_pair
from trainer.data import DataError, Pictures
from trainer.measures import auroc, detection_rate
from trainer.model import Detector
from trainer.network import score_pixels
from trainer.optics import Picture
from trainer.perturb import FAMILIES, Perturber

CHECKPOINT_FORMAT = 1

VALIDATION_FPR = (0.10, 0.05, 0.01)
"""Where BDR is watched, as far as there are enough validation faces."""


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """What one run of pre-training is asked for.

    `split_seed` divides the people and stays the same over runs that build on one another; `base_sha256` names the
    bundle whose weights the run starts from, None for drawn ones.
    """

    profile: str = "paper"
    seed: int = 1
    split_seed: int = 1
    base_sha256: str | None = None
    epochs: int = 24
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    families: tuple[str, ...] = FAMILIES
    chain: ChainSettings = field(default_factory=ChainSettings)
    threads: int = 2
    workers: int = 1


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch reached; `validation` is by family, on people that training never sees."""

    epoch: int
    epochs: int
    loss: float
    validation: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Clean pictures and how many of them one epoch draws."""

    pictures: Pictures
    per_epoch: int


class PairDataset(Dataset[tuple[NDArray[np.uint8], NDArray[np.uint8]]]):
    """The pairs of one epoch: pair `i` depends on (seed, epoch, i) alone, whoever draws it."""

    def __init__(self, sources: Sequence[Source], settings: PretrainSettings, *, epoch: int) -> None:
        self._sources = sources
        self._settings = settings
        self._epoch = epoch
        self._side_px = PROFILES[settings.profile].side_px
        draw = np.random.default_rng((settings.seed, epoch))
        self._stills = [
            (which, int(index))
            for which, source in enumerate(sources)
            for index in _drawn_indices(len(source.pictures), source.per_epoch, draw)
        ]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._stills)

    def __getitem__(self, item: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return (clean, perturbed)."""
        which, index = self._stills[item]
        draw = np.random.default_rng((self._settings.seed, self._epoch, item))
        source = self._sources[which].pictures

        def other() -> Picture:
            return source.pixels[int(draw.integers(len(source)))]

        perturber = Perturber(other, families=self._settings.families)
        clean_YXC, changed_YXC, _ = make_pair(
            source.pixels[index], side_px=self._side_px, perturber=perturber, draw=draw, settings=self._settings.chain
        )
        return clean_YXC, changed_YXC


def _drawn_indices(available: int, wanted: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return `wanted` indices; each picture is drawn once before any is drawn again."""
    rounds = -(-wanted // available)
    return np.concatenate([draw.permutation(available) for _ in range(rounds)])[:wanted]


def pretrain(
    sources: Sequence[Source],
    validation: Pictures,
    settings: PretrainSettings,
    *,
    start: Detector,
    folder: Path,
    report: Callable[[EpochReport], None],
) -> Detector:
    """Train the detector `start` (see `fresh_detector`) and return it, in evaluation mode.

    After every epoch `folder` holds a checkpoint, from which the same call goes on, and a line in `metrics.jsonl`.
    `validation` (other people) is only watched: nothing is chosen by it, the last epoch is the result.

    Raises:
        DataError: A source is empty, or the folder's checkpoint belongs to other settings or data.
    """
    if not sources or any(len(source.pictures) == 0 for source in sources) or len(validation) == 0:
        raise DataError("training needs at least one clean source, and validation pictures of other people")
    torch.set_num_threads(settings.threads)
    profile, detector = start.profile, start
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(detector.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(PairDataset(sources, settings, epoch=0)) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps, pct_start=0.1)
    run = _Run(folder, _fingerprint(sources, validation, settings), detector, optimiser, schedule)
    held_clean, held_changed, held_families = validation_pairs(validation, settings, profile)
    for epoch in range(run.resume(), settings.epochs):
        started = time.monotonic()
        loss = _train_epoch(run, sources, settings, epoch)
        by_family = _validate(detector, held_clean, held_changed, held_families)
        done = EpochReport(epoch + 1, settings.epochs, loss, by_family, time.monotonic() - started)
        run.save(epoch + 1, done)
        report(done)
    return detector.eval()


def fresh_detector(settings: PretrainSettings) -> Detector:
    """Return a detector with drawn weights."""
    torch.manual_seed(settings.seed)
    detector = Detector(PROFILES[settings.profile])
    # Spectra reach 8,160: with the usual initial weights the first activations would be a hundred times too large.
    with torch.no_grad():
        detector.get_parameter("conv1.weight").mul_(0.02)
    return detector


def _train_epoch(run: "_Run", sources: Sequence[Source], settings: PretrainSettings, epoch: int) -> float:
    run.detector.train()
    torch.manual_seed(settings.seed * 100_003 + epoch)
    loader = DataLoader(
        PairDataset(sources, settings, epoch=epoch),
        batch_size=settings.batch,
        shuffle=True,
        generator=torch.Generator().manual_seed(settings.seed + epoch),
        num_workers=settings.workers,
    )
    total, count = 0.0, 0
    for clean_NYXC, changed_NYXC in loader:
        pixels_NYXC = torch.cat([clean_NYXC, changed_NYXC])
        labels_N = torch.cat([torch.zeros(len(clean_NYXC)), torch.ones(len(changed_NYXC))]).long()
        loss = torch.nn.functional.cross_entropy(run.detector(pixels_NYXC), labels_N)
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimiser.step()
        run.schedule.step()
        total, count = total + float(loss.detach()) * len(labels_N), count + len(labels_N)
    return total / count


def validation_pairs(
    pictures: Pictures, settings: PretrainSettings, profile: Profile
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[str, ...]]:
    """Return (clean, perturbed, families) of pictures that training never sees, the same on every call."""
    draw = np.random.default_rng((settings.seed, 2**31))
    perturber = Perturber(lambda: pictures.pixels[int(draw.integers(len(pictures)))], families=settings.families)
    rows = [
        make_pair(still, side_px=profile.side_px, perturber=perturber, draw=draw, settings=settings.chain)
        for still in pictures.pixels
    ]
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows]), tuple(row[2] for row in rows)


def _validate(
    detector: Detector, clean_NYXC: NDArray[np.uint8], changed_NYXC: NDArray[np.uint8], families: tuple[str, ...]
) -> dict[str, float]:
    clean_N, changed_N = score_pixels(detector, clean_NYXC), score_pixels(detector, changed_NYXC)
    family_N = np.array(families)
    result = {f"auroc/{name}": auroc(clean_N, changed_N[family_N == name]) for name in sorted(set(families))}
    result["auroc"] = auroc(clean_N, changed_N)
    for rate in VALIDATION_FPR:
        if len(clean_N) * rate >= 1:
            result[f"bdr at fpr {rate:.0%}"] = detection_rate(clean_N, changed_N, false_positive_rate=rate)
    result["fpr at arg-max"] = float((clean_N > 0).mean())
    return result


def _fingerprint(sources: Sequence[Source], validation: Pictures, settings: PretrainSettings) -> str:
    facts = {
        "format": CHECKPOINT_FORMAT,
        "settings": asdict(settings) | {"threads": None, "workers": None},
        "sources": [(source.pictures.sha256, source.per_epoch) for source in sources],
        "validation": validation.sha256,
    }
    return json.dumps(facts, sort_keys=True)


@dataclass(slots=True)
class _Run:
    """The moving parts of a run and their checkpoint on disk."""

    folder: Path
    fingerprint: str
    detector: Detector
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.OneCycleLR

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def resume(self) -> int:
        """Load the checkpoint, if there is one, and return the number of epochs done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.checkpoint.exists():
            (self.folder / "metrics.jsonl").write_text("", encoding="utf-8")
            return 0
        saved: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        if saved["fingerprint"] != self.fingerprint:
            raise DataError(f"{self.checkpoint}: belongs to other settings or data; give another --out or remove it")
        self.detector.load_state_dict(saved["detector"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        return int(saved["epochs_done"])

    def save(self, epochs_done: int, report: EpochReport) -> None:
        """Write the checkpoint whole, then the line of metrics."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "fingerprint": self.fingerprint,
            "epochs_done": epochs_done,
            "detector": self.detector.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        with partial.open("wb") as handle:
            torch.save(state, handle)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(self.checkpoint)
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(report), sort_keys=True) + "\n")
