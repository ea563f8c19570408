"""From a base and the clean faces of an environment to a bundle: tune, calibrate on other people, write."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from gateway.contract.bundle import Bundle, DataDigest, SelfTest, Training
from trainer.bundles import detector_of
from trainer.calibrating import calibrate_adapted, expected_of
from trainer.card import CardFacts, model_card
from trainer.data import DataError, Pictures, split_by_group
from trainer.environments import REGIMES
from trainer.export import make_self_test, write_bundle
from trainer.finetune import TuneSettings
from trainer.network import Network, export_weights, score_pixels
from trainer.optics import Picture
from trainer.passages import STILLS, Views
from trainer.pretrain import BundleFacts
from trainer.recipes import Material, recipe_of
from trainer.upsampling import GeneratorSettings, train_stand_in

LEAST_FACES = 60
"""With fewer clean faces nothing is left to calibrate by."""

CALIBRATE_SHARE = 0.3

NOBODY = Pictures("nobody", (), (), "")


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Faces that somebody vouches for: half of every batch, so that strangers alone never teach the detector."""

    faces: Pictures


@dataclass(frozen=True, slots=True)
class AdaptSettings:
    """How a base is adapted to an environment.

    `regime` says how faces reach the detector there (`trainer.environments`): `authors` perturbs at the detector's
    size, `native` at the faces' own; `jpeg` and `h264` code them as well. `views` says what is calibrated by:
    photographs, or faces as a camera cut them. `held_back` are those that quarantine held back for their scores: they
    teach nothing.
    """

    environment: str
    faces: int = 500
    regime: str = "authors"
    threads: int = 2
    tune: TuneSettings = field(default_factory=TuneSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    reference: Reference | None = None
    views: Views = STILLS
    held_back: Pictures = NOBODY


def adapt_bundle(
    clean: Pictures,
    base: Bundle,
    settings: AdaptSettings,
    *,
    facts: BundleFacts,
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> str:
    """Tune a base on clean faces of one environment, write the bundle and return its digest.

    At most `settings.faces` of them tune; people who do not, calibrate, with what can be believed of `held_back`.

    Raises:
        DataError: There are too few faces, or too few people to calibrate by others than were tuned on.
    """
    usable, chosen, calibration = _divided(clean, base, settings)
    material = _material(chosen, base, settings, progress)
    detector = _tuned(material, base, settings, progress)
    progress("calibrating", 0, 1)
    held_back = expected_of(large_enough(settings.held_back, base.profile.side_px), usable, detector_of(base))
    calibrated = calibrate_adapted(
        detector, calibration, held_back,
        held_share=len(held_back) / (len(held_back) + len(usable)), seed=settings.tune.seed, views=settings.views,
    )  # fmt: skip
    self_test_NYXC = make_self_test(base.profile)
    training = Training(
        command=facts.command,
        seed=settings.tune.seed,
        epochs=settings.tune.epochs,
        perturbations=recipe_of(base.profile).perturbations(material, settings.tune),
        # What the base was trained on stays in the record: whoever judges must know whom the weights have seen.
        data=(
            *(data for data in base.manifest.training.data if data.use == "train"),
            _digest(chosen, "train"),
            *([_digest(settings.reference.faces, "train")] if settings.reference else []),
            _digest(calibration, "calibration"),
            *([_digest(held_back, "calibration")] if len(held_back) else []),
        ),
    )
    sha256 = write_bundle(
        folder,
        profile=base.profile,
        weights=export_weights(detector),
        calibration=calibrated,
        self_test=SelfTest(self_test_NYXC, score_pixels(detector, self_test_NYXC)),
        facts={
            "version": facts.version,
            "environment": settings.environment,
            "parent_sha256": base.identity.sha256,
            "created": facts.created.isoformat(),
            "training": training,
        },
    )
    card = CardFacts(base.profile, sha256, facts.version, base, training, calibrated, 0, ())
    (folder / "MODEL_CARD.md").write_text(model_card(card), encoding="utf-8")
    return sha256


def _divided(clean: Pictures, base: Bundle, settings: AdaptSettings) -> tuple[Pictures, Pictures, Pictures]:
    """Return the faces that can be used, those of them that tune, and those of other people."""
    usable = large_enough(clean, base.profile.side_px)
    if len(usable) < LEAST_FACES:
        side_px = base.profile.side_px
        raise DataError(f"{clean.name}: {len(usable)} faces of at least {side_px} px; {LEAST_FACES} are needed")
    rest, others = split_by_group(usable, share=CALIBRATE_SHARE, seed=settings.tune.seed)
    if min(len(rest), len(others)) < LEAST_FACES // 3:
        raise DataError(f"{clean.name}: too few people to calibrate by others than were tuned on; give more people")
    chosen = rest.subset(range(min(settings.faces, len(rest))), f"{clean.name}, tuned on")
    return usable, chosen, replace(others, name=f"{clean.name}, calibration people")


def large_enough(pictures: Pictures, side_px: int) -> Pictures:
    """Return the pictures that a detector of this side judges."""
    usable = [index for index, still in enumerate(pictures.pixels) if still.shape[0] >= side_px]
    return pictures.subset(usable, pictures.name)


def _material(
    chosen: Pictures, base: Bundle, settings: AdaptSettings, progress: Callable[[str, int, int], None]
) -> Material:
    torch.set_num_threads(settings.threads)
    side_px, upsamplers = base.profile.side_px, []
    if "upsampling" in settings.tune.perturb.families:
        upsamplers.append(
            train_stand_in(chosen, settings.generator, progress=lambda done, total: progress("generator", done, total))
        )
    return Material(
        chosen.pixels,
        REGIMES[settings.regime].passage(side_px=side_px, seed=settings.tune.seed),
        () if settings.reference is None else _as_many(settings.reference.faces, len(chosen), side_px),
        upsamplers,
    )


def _tuned(
    material: Material, base: Bundle, settings: AdaptSettings, progress: Callable[[str, int, int], None]
) -> Network:
    progress("perturbing", 0, 1)
    return recipe_of(base.profile).tune(
        detector_of(base), material, settings.tune,
        progress=lambda epoch, loss: progress(f"fine-tuning, loss {loss:.3f}", epoch, settings.tune.epochs),
    )  # fmt: skip


def _as_many(reference: Pictures, count: int, side_px: int) -> list[Picture]:
    usable = [still for still in reference.pixels if still.shape[0] >= side_px]
    if not usable:
        raise DataError(f"{reference.name}: no reference face of at least {side_px} px")
    return [usable[index % len(usable)] for index in range(count)]


def _digest(pictures: Pictures, use: str) -> DataDigest:
    return DataDigest.model_validate(
        {"name": pictures.name, "sha256": pictures.sha256, "pictures": len(pictures), "use": use}
    )
