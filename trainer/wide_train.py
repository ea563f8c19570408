"""Pre-training of `wide`: many passes through a pool of pairs, the weights averaged over the last part of the run.

N faces, P pairs, F feature, H hidden, K value of the local branch.
"""

import copy
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
from torch import Tensor, nn
from torch.nn import functional

from gateway.contract.network import PROFILES
from gateway.contract.wide import HIDDEN, JOINED, JUDGED
from trainer.data import DataError, Pictures
from trainer.optics import Picture
from trainer.upsampling import GeneratorSettings, StandIn, train_stand_in
from trainer.whitening import Whitening, whitening_of
from trainer.wide_chain import WideChainSettings
from trainer.wide_model import WideDetector
from trainer.wide_pool import CLASSES, Drawing, Pool, PoolSettings, open_pool
from trainer.wide_validate import validate_wide, validation_pairs

CHECKPOINT_FORMAT = 3

LEAST_SIDE_PX = 96
"""Smaller stills are left out: enlarged to the detector's size they would show nothing but the enlargement."""

STAND_INS = (GeneratorSettings(), GeneratorSettings(steps=400, channels=(16, 64), seed=2))
"""Two generators of different width, so that the trace of one is not learnt by heart."""

DENSE_ALONE, LOCAL_ALONE = 0.3, 0.5
"""Weights of the losses of either branch alone: a branch that the other does without would hardly learn."""

AVERAGED_EVERY = 4


@dataclass(frozen=True, slots=True)
class WideSettings:
    """What one run is asked for.

    `pairs` are in the pool, and `epochs` passes go through it with `batch` pairs a step, whose norms see a part of
    them at a time (`parts`; on a GPU, which is slow at small things, all at once). `averaged` is the share of the run,
    at its end, over which the weights are averaged. `left_out` names kinds of perturbation that are not learnt from
    (leave one out): the pool is the same, without them. `pool` is where it lies, if not beside the checkpoint.
    `device` is `cpu` or `cuda`; `workers` draw the pool.
    """

    seed: int = 1
    split_seed: int = 1
    base_sha256: str | None = None
    pairs: int = 102_400
    epochs: int = 3
    batch: int = 64
    parts: int = 4
    learning_rate: float = 3e-3
    weight_decay: float = 2e-2
    averaged: float = 0.25
    standardise_pairs: int = 12_000
    whiten_faces: int = 16_000
    validation_draws: int = 2
    left_out: tuple[str, ...] = ()
    chain: WideChainSettings = field(default_factory=WideChainSettings)
    pool: Path | None = None
    device: str = "cpu"
    threads: int = 1
    workers: int = 2


@dataclass(frozen=True, slots=True)
class WideReport:
    """What part of a run is done, and what it reached on people that training never sees.

    While the pool is drawn, `epoch` is 0 and `pairs` says how many there are.
    """

    epoch: int
    of: int
    pairs: int
    loss: float
    validation: dict[str, float]
    seconds: float


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


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a run learns from and is watched by: faces, other people's, and the `stand_ins` of the former."""

    faces: Pictures
    validation: Pictures
    upsamplers: Sequence[StandIn]


def pretrain_wide(
    shown: Shown,
    settings: WideSettings,
    *,
    start: WideDetector,
    folder: Path,
    report: Callable[[WideReport], None],
) -> WideDetector:
    """Train the detector `start` and return the average of its last weights, in evaluation mode.

    `folder/pool`, or `settings.pool`, keeps the pairs' statistics. After every epoch `folder` gets a checkpoint, from
    which the same call goes on, and a line in `metrics.jsonl`. `shown.validation` is only watched: nothing is chosen by
    it.

    Raises:
        DataError: No face is large enough, there are too few pairs, or the folder's checkpoint or pool belongs to
            other settings or data, or there is no such device.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise DataError("no GPU that this torch can use; train with --device cpu, or install a torch built for CUDA")
    # Rounded to short mantissas, the logarithm of what is next to nothing in a picture is off by 0.06.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(settings.threads)
    started = time.monotonic()
    pool = _pool(shown, settings, start=start, folder=folder, report=report)
    chosen_P = np.flatnonzero(~np.isin(pool.kinds, settings.left_out))
    if len(chosen_P) < settings.batch:
        raise DataError(f"{len(chosen_P)} pairs to learn from, and a step takes {settings.batch}: give more --pairs")
    steps = settings.epochs * (len(chosen_P) // settings.batch)
    run = _Run(folder, _fingerprint(shown, settings), start, settings, steps=steps)
    first = run.resume()
    white = _whitened(run, pool, chosen_P, settings, fresh=first == 0)
    stills = usable_stills(shown.validation)
    held = validation_pairs(stills, shown.upsamplers, settings.chain, draws=settings.validation_draws)
    for epoch in range(first, settings.epochs):
        order = np.random.default_rng((settings.seed, epoch)).permutation(chosen_P)
        starts = range(0, len(order) - settings.batch + 1, settings.batch)
        losses = [run.step(pool, white, np.sort(order[at : at + settings.batch])) for at in starts]
        loss = float(torch.stack(losses).mean())
        found, seconds = validate_wide(run.result(), held), time.monotonic() - started
        done = WideReport(epoch + 1, settings.epochs, len(chosen_P), loss, found, seconds)
        run.save(epoch + 1, done)
        report(done)
    return run.result().cpu()


def _pool(
    shown: Shown,
    settings: WideSettings,
    *,
    start: WideDetector,
    folder: Path,
    report: Callable[[WideReport], None],
) -> Pool:
    """Draw the pool, or open it, and let the local branch standardise as it does."""
    started = time.monotonic()
    scale = (start.places_mean.numpy().copy(), start.places_scale.numpy().copy()) if settings.base_sha256 else None
    drawing = Drawing(
        usable_stills(shown.faces),
        shown.upsamplers,
        settings.workers,
        lambda pairs: report(WideReport(0, settings.epochs, pairs, float("nan"), {}, time.monotonic() - started)),
        settings.device,
    )
    pool_settings = PoolSettings(shown.faces.sha256, settings.pairs, chain=settings.chain)
    # The processes that draw need the other cores: threads that wait for one spin away most of what there is.
    torch.set_num_threads(1)
    pool = open_pool(settings.pool or folder / "pool", pool_settings, drawing, scale=scale)
    torch.set_num_threads(settings.threads)
    with torch.no_grad():
        start.places_mean.copy_(torch.from_numpy(pool.places_mean))
        start.places_scale.copy_(torch.from_numpy(pool.places_scale))
    return pool


def _whitened(
    run: "_Run", pool: Pool, chosen_P: NDArray[np.int64], settings: WideSettings, *, fresh: bool
) -> list[Tensor]:
    """Return the whitened features of clean and of perturbed faces, float16 (P, F), standardised by chosen pairs."""
    both = [np.concatenate(pool.features[name]) for name in CLASSES]
    if fresh:
        first_P = chosen_P[: max(settings.standardise_pairs, settings.whiten_faces)]
        first = [torch.from_numpy(each[first_P]).to(settings.device) for each in both]
        run.prepare(first[0], first[1], settings)
    return [run.white(features_PF) for features_PF in both]


def _fingerprint(shown: Shown, settings: WideSettings) -> str:
    where = asdict(settings) | {"pool": None, "threads": None, "workers": None}
    del where["device"]
    facts = {
        "format": CHECKPOINT_FORMAT,
        "settings": where,
        "faces": shown.faces.sha256,
        "validation": shown.validation.sha256,
    }
    return json.dumps(facts, sort_keys=True)


class _Alone(nn.Module):
    """What either branch would say alone: helps both to learn, and is no part of the detector."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(HIDDEN, 2)
        self.local1 = nn.Linear(JUDGED, JOINED)
        self.local2 = nn.Linear(JOINED, 2)
        self.dropout = nn.Dropout(0.3)

    def forward(self, hidden_NH: Tensor, shapes_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the dense and of the local branch."""
        local_NH = functional.relu(self.local1(self.dropout(shapes_NK)))
        return self.dense(hidden_NH), self.local2(self.dropout(local_NH))


class _Run:
    """The moving parts of a run and their checkpoint on disk."""

    def __init__(
        self, folder: Path, fingerprint: str, detector: WideDetector, settings: WideSettings, *, steps: int
    ) -> None:
        self._checkpoint = folder / "checkpoint.pt"
        self._metrics = folder / "metrics.jsonl"
        self._fingerprint = fingerprint
        self._device = settings.device
        self._detector = detector.to(self._device)
        torch.manual_seed(settings.seed)
        self._alone = _Alone().to(self._device)
        self._average = copy.deepcopy(detector)
        self._averaged = self._number = 0
        self._parts = settings.parts if settings.device == "cpu" else 1
        # Dropout of every seed goes on where that of the seed before ends.
        self._first_mask = (settings.seed - 1) * steps * self._parts
        self._averages_from = round(steps * (1 - settings.averaged))
        self._whitening: Whitening | None = None
        self._optimiser = torch.optim.AdamW(self._groups(settings), lr=settings.learning_rate)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, settings.learning_rate, total_steps=steps, pct_start=0.1
        )
        folder.mkdir(parents=True, exist_ok=True)

    def _groups(self, settings: WideSettings) -> list[dict[str, Any]]:
        moving = [each for part in (self._detector, self._alone) for each in part.parameters() if each.requires_grad]
        matrices = [each for each in moving if each.ndim > 1]
        others = [each for each in moving if each.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def prepare(self, clean_PF: Tensor, changed_PF: Tensor, settings: WideSettings) -> None:
        """Set mean and scale of the statistics by clean and perturbed faces, and whiten them by clean ones."""
        detector = self._detector
        if settings.base_sha256 is None:
            both_NF = torch.cat([each[: settings.standardise_pairs] for each in (clean_PF, changed_PF)])
            detector.features_mean.copy_(both_NF.mean(0))
            # A feature that hardly varies would be blown up by the first picture that differs.
            detector.features_scale.copy_(1 / (both_NF.std(0) + 1e-3))
        self._whitening = whitening_of(detector.standardised(clean_PF[: settings.whiten_faces]))
        if settings.base_sha256 is not None:
            self._whitening.unfold(detector.dense1)
        self._average.load_state_dict(detector.state_dict())

    @torch.no_grad()
    def white(self, features_PF: NDArray[np.float32]) -> Tensor:
        """Return features whitened, as the first layer learns from them, float16."""
        assert self._whitening is not None  # noqa: S101 - prepared or loaded before
        parts = [torch.from_numpy(features_PF[first : first + 1024]) for first in range(0, len(features_PF), 1024)]
        standard = (self._detector.standardised(part.to(self._device)) for part in parts)
        return torch.cat([self._whitening.apply(part).half() for part in standard])

    def step(self, pool: Pool, white: Sequence[Tensor], pairs: NDArray[np.int64]) -> Tensor:
        """Learn from pairs of the pool and return the loss of the detector, where it is computed."""
        self._optimiser.zero_grad(set_to_none=True)
        losses = [self.learn(pool, white, pairs, part) for part in range(self._parts)]
        self.finish()
        return torch.stack(losses).mean()

    def learn(self, pool: Pool, white: Sequence[Tensor], pairs: NDArray[np.int64], part: int) -> Tensor:
        """Add the gradient of one part of a step's pairs, which its norms see alone, and return its loss."""
        detector, alone = self._detector.train(), self._alone.train()
        torch.manual_seed(self._first_mask + self._number * self._parts + part)
        some = pairs[part :: self._parts]
        places_NFPQ = torch.cat([pool.places_of(name, some, device=self._device) for name in CLASSES])
        labels_N = (torch.arange(2 * len(some)) >= len(some)).long().to(self._device)
        hidden_NH = detector.hidden(torch.cat([each[some] for each in white]).float())
        shapes_NK = detector.shapes(places_NFPQ.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(detector.joined(hidden_NH, shapes_NK), labels_N)
        dense, local = (functional.cross_entropy(each, labels_N) for each in alone(hidden_NH, shapes_NK))
        total: Tensor = (loss + DENSE_ALONE * dense + LOCAL_ALONE * local) / self._parts
        total.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def finish(self) -> None:
        """Move the weights by the gradients that were added."""
        self._optimiser.step()
        self._schedule.step()
        if self._number >= self._averages_from and self._number % AVERAGED_EVERY == 0:
            self._average_in()
        self._number += 1

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
        """Load the checkpoint, if there is one, and return the number of epochs done."""
        if not self._checkpoint.exists():
            self._metrics.write_text("", encoding="utf-8")
            return 0
        saved: dict[str, Any] = torch.load(self._checkpoint, weights_only=True, map_location=self._device)
        if saved["fingerprint"] != self._fingerprint:
            raise DataError(f"{self._checkpoint}: belongs to other settings or data; give another --out or remove it")
        self._detector.load_state_dict(saved["detector"])
        self._alone.load_state_dict(saved["alone"])
        self._average.load_state_dict(saved["average"])
        self._averaged, self._number = int(saved["averaged"]), int(saved["number"])
        self._whitening = Whitening(*saved["whitening"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._schedule.load_state_dict(saved["schedule"])
        return int(saved["epochs_done"])

    def save(self, epochs_done: int, report: WideReport) -> None:
        """Write the checkpoint whole, then the line of metrics."""
        assert self._whitening is not None  # noqa: S101 - prepared or loaded before
        partial = self._checkpoint.with_suffix(".partial")
        whitening = self._whitening
        state = {
            "whitening": (whitening.mean_F, whitening.turn_FF, whitening.back_FF),
            "fingerprint": self._fingerprint,
            "epochs_done": epochs_done,
            "number": self._number,
            "detector": self._detector.state_dict(),
            "alone": self._alone.state_dict(),
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
