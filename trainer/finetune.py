"""Fine-tuning: a detector adapted to an environment from a few hundred of its clean faces (paper, sections IV-D and V).

Layers before the first tuned one stay as they are, so what they make of the faces is computed once and kept. Running
statistics of the norms stay as well: a few hundred faces are too few to estimate them anew, and it makes no difference
to what is found (reference, section 3.2).

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from trainer.model import Detector
from trainer.optics import Draw, Passage, Picture
from trainer.perturb import ALL_FAMILIES, Perturber, PerturbSettings, Upsampler
from trainer.train import PretrainSettings, fresh_detector

PLANS: Mapping[str, int] = MappingProxyType({"fc": 0, "last1": 1, "last2": 2, "last3": 3, "all": 6, "scratch": 6})
"""How many convolutions, from the last, are tuned with the dense layer (Table II); `scratch` draws new weights."""


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How a detector is tuned, as in the paper but for `draws` (500 clean faces are the caller's to give).

    `draws` is how often the perturbed copies are drawn: every epoch sees each clean face and one of its copies. The
    paper's 500 are one draw; four rank perturbed faces of validation people better (AUROC .975 against .972, in
    brightness .926 against .918) and cost the same steps. `trim` is the share of each batch's faces of strangers, those
    with the highest loss, that nothing is learnt from: where some carry a trigger, it is these. `left_out` names kinds
    of the library of `wide` that are not drawn.
    """

    plan: str = "last2"
    epochs: int = 20
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    draws: int = 4
    seed: int = 1
    trim: float = 0.0
    left_out: tuple[str, ...] = ()
    perturb: PerturbSettings = field(default_factory=lambda: PerturbSettings(families=ALL_FAMILIES))

    def __post_init__(self) -> None:
        """Check the plan."""
        if self.plan not in PLANS:
            raise ValueError(f"unknown plan {self.plan!r}; there are {', '.join(PLANS)}")


@dataclass(frozen=True, slots=True, eq=False)
class TuningSet:
    """Inputs of the detector: clean faces, and for every draw one perturbed copy of each, uint8 (N, S, S, 3).

    The first `strangers` of the clean faces are believed clean, but nobody vouches for them.
    """

    clean_NYXC: Picture
    changed: tuple[Picture, ...]
    strangers: int = 0

    def beside(self, reference: "TuningSet") -> "TuningSet":
        """Return these faces, now strangers, with as many draws of reference faces that somebody vouches for."""
        changed = tuple(
            np.concatenate([own_NYXC, theirs_NYXC])
            for own_NYXC, theirs_NYXC in zip(self.changed, reference.changed, strict=True)
        )
        return TuningSet(np.concatenate([self.clean_NYXC, reference.clean_NYXC]), changed, len(self.clean_NYXC))


def tuning_set(
    stills: Sequence[Picture], passage: Passage, settings: TuneSettings, *, upsampler: Upsampler | None = None
) -> TuningSet:
    """Return the clean faces as the detector gets them, and their perturbed copies.

    Raises:
        ValueError: `upsampling` is among the families and there is no upsampler.
    """
    clean_NYXC = passage.finish(stills)
    changed = []
    for number in range(settings.draws):
        draw = np.random.default_rng((settings.seed, 7, number))
        perturber = _perturber(stills, settings, draw, upsampler)
        if passage.at_native_size:
            changed.append(passage.finish([perturber.perturb(still, draw)[0] for still in stills]))
        else:
            made = _perturber(stills, settings, draw, upsampler, only_upsampling=True) if upsampler else None
            changed.append(_small_copies(stills, clean_NYXC, passage, (perturber, made), draw))
    return TuningSet(clean_NYXC, tuple(changed))


def _perturber(
    stills: Sequence[Picture],
    settings: TuneSettings,
    draw: Draw,
    upsampler: Upsampler | None,
    *,
    only_upsampling: bool = False,
) -> Perturber:
    perturb = settings.perturb
    return Perturber(
        lambda: stills[int(draw.integers(len(stills)))],
        families=("upsampling",) if only_upsampling else perturb.families,
        ranges=perturb.ranges,
        upsampler=upsampler,
        own=perturb.own,
    )


def _small_copies(
    stills: Sequence[Picture],
    clean_NYXC: Picture,
    passage: Passage,
    perturbers: tuple[Perturber, Perturber | None],
    draw: Draw,
) -> Picture:
    """Perturb inputs of the detector, except that a generator works at the faces' own size, as generators do."""
    anywhere, made = perturbers
    changed_NYXC = np.empty_like(clean_NYXC)
    share = 1 / len(anywhere.families) if made is not None and "upsampling" in anywhere.families else 0.0
    at_native = [index for index in range(len(stills)) if draw.random() < share / 2]
    for index, clean_YXC in enumerate(clean_NYXC):
        if index not in at_native:
            changed_NYXC[index] = anywhere.perturb(clean_YXC, draw)[0]
    if made is not None and at_native:
        changed_NYXC[at_native] = passage.finish([made.perturb(stills[index], draw)[0] for index in at_native])
    return changed_NYXC


def finetune(
    base: Detector,
    data: TuningSet,
    settings: TuneSettings,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> Detector:
    """Return a tuned copy of `base`, in evaluation mode; `progress` hears of each epoch and its loss.

    The same base, data and settings give the same weights.
    """
    scratch = settings.plan == "scratch"
    detector = fresh_detector(PretrainSettings(seed=settings.seed)) if scratch else copy.deepcopy(base)
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    first = detector.convolutions - PLANS[settings.plan] + 1
    frozen, tuned = range(1, first), range(first, detector.convolutions + 1)
    kept = [_features(detector, pixels_NYXC, frozen) for pixels_NYXC in (data.clean_NYXC, *data.changed)]
    torch.manual_seed(settings.seed)
    parameters = [value for name, value in detector.named_parameters() if _is_tuned(name, tuned)]
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-2 * len(data.clean_NYXC) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    # Only `scratch` has no statistics to keep; dropout works in the tuned layers alone.
    detector.train()
    if not scratch:
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    for epoch in range(settings.epochs):
        x = torch.cat([kept[0], kept[1 + epoch % len(data.changed)]])
        trimmed = (data.strangers, settings.trim)
        loss = _epoch(detector, x, tuned, (optimiser, schedule), batch=settings.batch, trimmed=trimmed)
        if progress is not None:
            progress(epoch + 1, loss)
    return detector.eval()


def _is_tuned(name: str, tuned: range) -> bool:
    layer = name.partition(".")[0]
    return layer == "dense" or any(layer in {f"conv{index}", f"norm{index}"} for index in tuned)


@torch.no_grad()
def _features(detector: Detector, pixels_NYXC: Picture, frozen: range, *, batch: int = 250) -> Tensor:
    """Return what the frozen layers make of the faces."""
    detector.eval()
    parts = [
        detector.convolve(detector.spectrum(torch.from_numpy(np.ascontiguousarray(part_NYXC))), frozen)
        for part_NYXC in np.array_split(pixels_NYXC, max(1, len(pixels_NYXC) // batch))
    ]
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


def _epoch(
    detector: Detector,
    x: Tensor,
    tuned: range,
    moving: tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler],
    *,
    batch: int,
    trimmed: tuple[int, float],
) -> float:
    """Pass once over clean (the first half of `x`) and perturbed faces, and return the mean loss.

    Of the first `trimmed[0]` faces, each batch leaves the share `trimmed[1]` with the highest loss out.
    """
    optimiser, schedule = moving
    labels_N = torch.arange(len(x)) >= len(x) // 2
    total = 0.0
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch):
        chosen = order[start : start + batch]
        logits_N2 = detector.classify(detector.convolve(x[chosen], tuned))
        loss = trimmed_loss(logits_N2, labels_N[chosen].long(), chosen < trimmed[0], trimmed[1])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += float(loss.detach()) * len(chosen)
    return total / len(x)


def trimmed_loss(logits_N2: Tensor, labels_N: Tensor, strangers_N: Tensor, trim: float) -> Tensor:
    """Return the mean loss without the `trim` share of the strangers that the detector believes least."""
    count = int(trim * int(strangers_N.sum()))
    if count == 0:
        return nn.functional.cross_entropy(logits_N2, labels_N)
    losses_N = nn.functional.cross_entropy(logits_N2, labels_N, reduction="none")
    doubted_N = losses_N.detach().masked_fill(~strangers_N, -torch.inf)
    kept_N = torch.ones_like(strangers_N)
    kept_N[doubted_N.topk(count).indices] = False
    return losses_N[kept_N].mean()
