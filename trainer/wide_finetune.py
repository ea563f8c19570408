"""Fine-tuning of `wide`: a few hundred clean faces of an environment, and what the library makes of them.

The local branch stays as it is, so what it makes of the faces is computed once, and so are the statistics; only
dense layers move. The statistics are standardised anew by the environment's own clean faces: how bright, sharp and
coded its pictures are then no longer sets them apart.

N faces, F feature, Y/X pixel row/column, C colour (R, G, B).
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.finetune import TuningSet, trimmed_loss
from trainer.library import Library, visibly_differ
from trainer.nuisances import BEFORE_CODEC, NUISANCES, with_nuisance
from trainer.optics import Draw, Passage, Picture, coded
from trainer.wide_model import WideDetector

MOST_TRIES = 10


@dataclass(frozen=True, slots=True)
class WideTuneSettings:
    """How a detector is tuned.

    `draws` is how often each clean face is perturbed. The share `nuisance` of the faces is tuned on once more with
    something that is no trigger. `trim` is the share of each batch's faces of strangers that
    nothing is learnt from: those with the highest loss.
    """

    draws: int = 8
    nuisance: float = 0.1
    epochs: int = 24
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 2e-2
    seed: int = 1
    trim: float = 0.0


def wide_tuning_set(
    stills: Sequence[Picture], passage: Passage, settings: WideTuneSettings, library: Library, *, strangers: int = 0
) -> TuningSet:
    """Return the clean faces as the detector gets them, and their perturbed copies; those with nuisances come last.

    Nobody vouches for the first `strangers` of the faces, so they get no nuisances: what is tuned on with one is
    never doubted.
    """
    own = len(stills)
    carrying = _with_nuisances(stills[strangers:], round(settings.nuisance * own), settings)
    stills = [*stills, *(each.picture_YXC for each in carrying)]

    def lay(number: int, picture_YXC: Picture) -> Picture:
        return carrying[number - own].on_stream(picture_YXC) if number >= own else picture_YXC

    clean_NYXC = passage.finish(stills, lay=lay)
    after_codec = passage.code is not None
    sources: Sequence[Picture] | Picture = clean_NYXC
    if passage.at_native_size:
        # Without a codec there is no stream after the trigger: it is laid on what came out of one.
        sources = stills if after_codec else [lay(number, still_YXC) for number, still_YXC in enumerate(stills)]
    changed = []
    for number in range(settings.draws):
        draw = np.random.default_rng((settings.seed, 7, number))
        made = [_changed(library, source_YXC, draw) for source_YXC in sources]
        if passage.at_native_size:
            changed.append(passage.finish(made, lay=lay if after_codec else None))
        else:
            changed.append(np.stack(made))
    return TuningSet(clean_NYXC, tuple(changed), strangers)


@dataclass(frozen=True, slots=True, eq=False)
class _Carrying:
    """A face with what is worn or made by the camera, and what of the stream is to be laid on it once it is coded."""

    picture_YXC: Picture
    stream: str
    seed: int

    def on_stream(self, picture_YXC: Picture) -> Picture:
        """Return the coded face with what happens to the stream, the same on its clean and on its perturbed copies."""
        return with_nuisance(picture_YXC, self.stream, np.random.default_rng(self.seed)) if self.stream else picture_YXC


def _with_nuisances(stills: Sequence[Picture], wanted: int, settings: WideTuneSettings) -> list[_Carrying]:
    """Return so many of the faces once more, with what would otherwise be new there and so look like a trigger."""
    draw = np.random.default_rng((settings.seed, 9))
    chosen = draw.permutation(len(stills))[:wanted]
    # Every kind as often: one that two faces in five hundred carry is not learnt.
    names = list(NUISANCES)
    return [_carrying(stills[each], str(draw.choice(names)), draw) for each in chosen]


def _carrying(still_YXC: Picture, nuisance: str, draw: Draw) -> _Carrying:
    """Return a face with a nuisance, coded where a camera would have coded it."""
    if nuisance not in BEFORE_CODEC:
        return _Carrying(still_YXC, nuisance, int(draw.integers(2**31)))
    made_YXC = with_nuisance(still_YXC, nuisance, draw)
    return _Carrying(coded(made_YXC, int(draw.integers(80, 98))), "", 0)


def _changed(library: Library, still_YXC: Picture, draw: Draw) -> Picture:
    for _ in range(MOST_TRIES):
        result_YXC = library.apply(library.draw_kind(draw), still_YXC, draw)
        if visibly_differ(still_YXC, result_YXC):
            break
    return result_YXC


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the parts of the network that stay make of pictures."""

    features_NF: Tensor
    shapes_NK: Tensor


@torch.no_grad()
def _seen(detector: WideDetector, pixels_NYXC: Picture, *, batch: int = 16) -> _Seen:
    detector.eval()
    features, shapes = [], []
    for start in range(0, len(pixels_NYXC), batch):
        part_NYXC = np.ascontiguousarray(pixels_NYXC[start : start + batch])
        features_NF, places_NFPQ = detector.seen(torch.from_numpy(part_NYXC))
        features.append(features_NF)
        shapes.append(detector.shapes(detector.standardised_places(places_NFPQ)))
    return _Seen(torch.cat(features), torch.cat(shapes))


def finetune_wide(
    base: WideDetector,
    data: TuningSet,
    settings: WideTuneSettings,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> WideDetector:
    """Return a tuned copy of `base`, in evaluation mode; `progress` hears of each epoch and its loss.

    The same base, data and settings give the same weights.
    """
    clean = _seen(base, data.clean_NYXC)
    changed = [_seen(base, pixels_NYXC) for pixels_NYXC in data.changed]
    return tune_on(base, clean, changed, settings, strangers=data.strangers, progress=progress)


def tune_on(
    base: WideDetector,
    clean: _Seen,
    changed: Sequence[_Seen],
    settings: WideTuneSettings,
    *,
    strangers: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> WideDetector:
    """Tune the dense layers on what the other layers made of the faces."""
    detector = copy.deepcopy(base)
    _restandardise(detector, clean.features_NF)
    torch.manual_seed(settings.seed)
    count = len(clean.features_NF)
    clean_NF = detector.standardised(clean.features_NF)
    changed_NF = [detector.standardised(each.features_NF) for each in changed]
    moving = [value for name, value in detector.named_parameters() if name.startswith("dense")]
    optimiser = torch.optim.AdamW(moving, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-count // (settings.batch // 2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    detector.train()
    for epoch in range(settings.epochs):
        which, total = epoch % len(changed), 0.0
        order = torch.randperm(count)
        for first in range(0, count, settings.batch // 2):
            chosen = order[first : first + settings.batch // 2]
            standard_NF = torch.cat([clean_NF[chosen], changed_NF[which][chosen]])
            shapes_NK = torch.cat([clean.shapes_NK[chosen], changed[which].shapes_NK[chosen]])
            labels_N = torch.arange(len(standard_NF)) >= len(chosen)
            doubted_N = torch.cat([chosen < strangers] * 2)
            loss = trimmed_loss(detector.combine(standard_NF, shapes_NK), labels_N.long(), doubted_N, settings.trim)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        if progress is not None:
            progress(epoch + 1, total / count)
    return detector.eval()


@torch.no_grad()
def _restandardise(detector: WideDetector, features_NF: Tensor) -> None:
    """Take mean and scale of the statistics from the environment's clean faces."""
    detector.features_mean.copy_(features_NF.mean(0))
    # Never a smaller scale than half the old one: what does not vary here would be blown up by the first change.
    deviation_F = torch.maximum(features_NF.std(0) + 1e-3, 0.5 / detector.features_scale)
    detector.features_scale.copy_(1 / deviation_F)
