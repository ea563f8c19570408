"""From clean faces to a bundle of the profile `wide`: train, calibrate on other people, test on yet others, write."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gateway.contract.bundle import Bundle
from trainer.card import FamilyResult
from trainer.data import DataError, FaceSplit, Pictures, split_faces
from trainer.library import KINDS
from trainer.network import load_weights, score_pixels
from trainer.pretrain import LEAST_FACES, BundleFacts, Made, data_digests, family_results, write_pretrained
from trainer.train import Source
from trainer.upsampling import StandIn
from trainer.wide_model import WideDetector
from trainer.wide_train import (
    Shown,
    WideReport,
    WideSettings,
    fresh_wide,
    pretrain_wide,
    stand_ins,
    usable_stills,
)
from trainer.wide_validate import validation_pairs

RESULT_DRAWS = 4
"""How often each face of the people for the model card is perturbed."""


def pretrain_wide_bundle(
    faces: Pictures,
    settings: WideSettings,
    *,
    base: Bundle | None,
    facts: BundleFacts,
    folder: Path,
    report: Callable[[WideReport], None],
) -> str:
    """Pre-train a `wide` detector and write `folder/bundle` with its model card; return the bundle's digest.

    `folder` holds the checkpoint too, so that the same call goes on after an interruption.

    Raises:
        DataError: There are too few faces or people to divide, or the folder belongs to another run.
    """
    if len(faces) < LEAST_FACES:
        raise DataError(
            f"{faces.name}: {len(faces)} faces; at least {LEAST_FACES} are needed to train, calibrate and test"
        )
    split = split_faces(faces, seed=settings.split_seed)
    start = fresh_wide(settings)
    if base is not None:
        settings = replace(settings, base_sha256=base.identity.sha256)
        load_weights(start, base.weights)
    torch.set_num_threads(settings.threads)
    shown = Shown(split.train, split.validation, stand_ins(split.train))
    detector = pretrain_wide(shown, settings, start=start, folder=folder, report=report)
    torch.set_num_threads(settings.threads)
    made = Made(
        split=split,
        seed=settings.seed,
        epochs=settings.epochs,
        perturbations=tuple(kind for kind in KINDS if kind not in settings.left_out),
        data=data_digests([Source(split.train, settings.pairs)], split),
        base=base,
        results=lambda calibration_N: _results(detector, split, settings, shown.upsamplers, calibration_N),
    )
    return write_pretrained(detector, made, facts, folder / "bundle")


def _results(
    detector: WideDetector,
    split: FaceSplit,
    settings: WideSettings,
    upsamplers: Sequence[StandIn],
    calibration_N: NDArray[np.float32],
) -> tuple[FamilyResult, ...]:
    """Judge on people used for nothing else; kinds that were left out of training are judged as well."""
    stills = usable_stills(split.test)
    held = validation_pairs(stills, upsamplers, settings.chain, draws=RESULT_DRAWS)
    clean_N = score_pixels(detector, held.clean_NYXC)
    changed_N = score_pixels(detector, held.changed_NYXC)
    named_N = np.array([f"{kind}, {regime}" for kind, regime in zip(held.kinds, held.regimes, strict=True)])
    return family_results(clean_N, changed_N, named_N, calibration_N)
