"""From clean pictures to a bundle: train, calibrate on other people, test on yet others, write."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gateway.contract.bundle import Bundle, Calibration, DataDigest, SelfTest, Training
from gateway.contract.calibration import TrackRule
from trainer.card import CardFacts, FamilyResult, model_card
from trainer.data import DataError, FaceSplit, Pictures, split_faces
from trainer.export import make_self_test, write_bundle
from trainer.measures import auroc, detection_rate, threshold_at, wilson_interval
from trainer.model import Detector
from trainer.network import Network, export_weights, load_weights, score_pixels
from trainer.passages import STILLS, Views, plain_faces
from trainer.train import EpochReport, PretrainSettings, Source, fresh_detector, pretrain, validation_pairs
from trainer.walks import tracks_of

LEAST_FACES = 200
"""With fewer, the parts for calibration and test are too small to say anything."""

TRACKS_PER_STILL = 2


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What a bundle is called and how it came about, beside its weights."""

    version: int
    command: str
    created: dt.date


@dataclass(frozen=True, slots=True, eq=False)
class Ingredients:
    """What training is made of.

    `faces` are divided by person into training, validation, calibration and test; `others` (small pictures of anything)
    serve training alone. With a `base`, training goes on from its weights.
    """

    faces: Pictures
    faces_per_epoch: int
    others: Sequence[Source] = ()
    base: Bundle | None = None


def pretrain_bundle(
    ingredients: Ingredients,
    settings: PretrainSettings,
    *,
    facts: BundleFacts,
    folder: Path,
    report: Callable[[EpochReport], None],
) -> str:
    """Pre-train a detector and write `folder/bundle` with its model card; return the bundle's digest.

    `folder` holds the checkpoint too, so that the same call goes on after an interruption.

    Raises:
        DataError: There are too few faces or people to divide, or the folder belongs to another run.
    """
    faces, base = ingredients.faces, ingredients.base
    if len(faces) < LEAST_FACES:
        raise DataError(
            f"{faces.name}: {len(faces)} faces; at least {LEAST_FACES} are needed to train, calibrate and test"
        )
    split = split_faces(faces, seed=settings.split_seed)
    sources = [*ingredients.others, Source(split.train, ingredients.faces_per_epoch)]
    start = fresh_detector(settings)
    if base is not None:
        settings = replace(settings, base_sha256=base.identity.sha256)
        load_weights(start, base.weights)
    detector = pretrain(sources, split.validation, settings, start=start, folder=folder, report=report)
    made = Made(
        split=split,
        seed=settings.seed,
        epochs=settings.epochs,
        perturbations=settings.families,
        data=data_digests(sources, split),
        base=base,
        results=lambda calibration_N: judge(detector, split.test, settings, calibration_N),
    )
    torch.set_num_threads(settings.threads)
    return write_pretrained(detector, made, facts, folder / "bundle")


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """How a detector came about; `results` judges it on the test people by the clean scores of the calibration's."""

    split: FaceSplit
    seed: int
    epochs: int
    perturbations: tuple[str, ...]
    data: tuple[DataDigest, ...]
    base: Bundle | None
    results: Callable[[NDArray[np.float32]], tuple[FamilyResult, ...]]


def write_pretrained(detector: Network, made: Made, facts: BundleFacts, folder: Path) -> str:
    """Calibrate, judge and write a pre-trained detector with its model card; return the bundle's digest."""
    detector.eval()
    profile = detector.profile
    calibration = calibrate(detector, made.split.calibration, TrackRule(), seed=made.seed)
    self_test_NYXC = make_self_test(profile)
    training = Training(
        command=facts.command,
        seed=made.seed,
        epochs=made.epochs,
        perturbations=made.perturbations,
        data=made.data,
    )
    sha256 = write_bundle(
        folder,
        profile=profile,
        weights=export_weights(detector),
        calibration=calibration,
        self_test=SelfTest(self_test_NYXC, score_pixels(detector, self_test_NYXC)),
        facts={
            "version": facts.version,
            "environment": "factory",
            "parent_sha256": made.base.identity.sha256 if made.base else None,
            "created": facts.created.isoformat(),
            "training": training,
        },
    )
    card = model_card(
        CardFacts(
            profile=profile,
            sha256=sha256,
            version=facts.version,
            parent=made.base,
            training=training,
            calibration=calibration,
            people_tested=len(set(made.split.test.groups)),
            results=made.results(np.array(calibration.clean_faces, np.float32)),
        )
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return sha256


def calibrate(detector: Network, stills: Pictures, rule: TrackRule, *, seed: int, views: Views = STILLS) -> Calibration:
    """Return the factory calibration: clean scores of people that training never saw.

    Faces smaller than the detector's input are left out: it never judges such.

    Raises:
        DataError: None is large enough.
    """
    usable = [index for index, still in enumerate(stills.pixels) if still.shape[0] >= detector.profile.side_px]
    if not usable:
        raise DataError(f"{stills.name}: no face of at least {detector.profile.side_px} px to calibrate by")
    stills = stills.subset(usable, stills.name)
    faces_NYXC = plain_faces(stills, side_px=detector.profile.side_px, seed=seed, views=views)
    tracks = tracks_of(detector.profile, views)
    return Calibration(
        rule=rule,
        clean_faces=tuple(sorted(score_pixels(detector, faces_NYXC).tolist())),
        clean_tracks=tracks.statistics(detector, stills, rule, per_still=TRACKS_PER_STILL, seed=seed),
        source=f"{tracks.source}; {len(stills)} stills of {len(set(stills.groups))} people",
    )


def judge(
    detector: Detector, test: Pictures, settings: PretrainSettings, calibration_N: NDArray[np.float32]
) -> tuple[FamilyResult, ...]:
    """Return what the detector does with perturbed faces of people used for nothing else, family by family.

    Clean faces pass the same chain as perturbed ones; thresholds come from the calibration faces.
    """
    clean_NYXC, changed_NYXC, families = validation_pairs(test, settings, detector.profile)
    clean_N, changed_N = score_pixels(detector, clean_NYXC), score_pixels(detector, changed_NYXC)
    return family_results(clean_N, changed_N, np.array(families), calibration_N)


def family_results(
    clean_N: NDArray[np.float32],
    changed_N: NDArray[np.float32],
    family_N: NDArray[np.str_],
    calibration_N: NDArray[np.float32],
) -> tuple[FamilyResult, ...]:
    """Return what was found of each family, by the threshold that flags 5 % of the calibration faces."""
    threshold = threshold_at(calibration_N, false_positive_rate=0.05)
    flagged = int((clean_N > threshold).sum())
    results = [
        FamilyResult("clean (false alarms)", len(clean_N), None, None, flagged, wilson_interval(flagged, len(clean_N)))
    ]
    for family in sorted(set(family_N.tolist())):
        scores_M = changed_N[family_N == family]
        hits = int((scores_M > threshold).sum())
        results.append(
            FamilyResult(
                family,
                len(scores_M),
                auroc(clean_N, scores_M),
                detection_rate(clean_N, scores_M, false_positive_rate=0.05),
                hits,
                wilson_interval(hits, len(scores_M)),
            )
        )
    return tuple(results)


def data_digests(sources: Sequence[Source], split: FaceSplit) -> tuple[DataDigest, ...]:
    """Return what a manifest says of the pictures: which, how many and what for."""
    used = [(source.pictures, "train") for source in sources]
    used += [(split.validation, "validation"), (split.calibration, "calibration"), (split.test, "test")]
    return tuple(
        DataDigest.model_validate(
            {"name": pictures.name, "sha256": pictures.sha256, "pictures": len(pictures), "use": use}
        )
        for pictures, use in used
    )
