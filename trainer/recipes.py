"""What differs between profiles when a detector is built and tuned; whoever adapts or judges asks here, and knows none.

A new profile needs its tensors in `gateway.contract.network`, its graph in `trainer.export`, and a recipe here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from gateway.contract.network import PROFILES, Profile
from trainer.data import DataError
from trainer.finetune import PLANS, TuneSettings, finetune, tuning_set
from trainer.library import Library
from trainer.model import Detector
from trainer.network import Network
from trainer.optics import Passage, Picture
from trainer.perturb import Upsampler
from trainer.wide_finetune import WideTuneSettings, finetune_wide, wide_tuning_set
from trainer.wide_model import WideDetector

Progress = Callable[[int, float], None]
"""Hears of each epoch and its loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Clean faces to tune on, how they reach the detector, and as many that somebody vouches for, or none.

    `upsamplers` are the generators in place of GANs.
    """

    stills: Sequence[Picture]
    passage: Passage
    vouched: Sequence[Picture] = ()
    upsamplers: Sequence[Upsampler] = ()


class Recipe(Protocol):
    """How detectors of one profile are made; `plans` are what may be tuned, the usual one is in `defaults`."""

    plans: tuple[str, ...]
    defaults: TuneSettings

    def build(self, profile: Profile) -> Network:
        """Return the network with weights that are yet to be loaded."""

    def tune(
        self, base: Network, material: Material, settings: TuneSettings, *, progress: Progress | None = None
    ) -> Network:
        """Return a tuned copy of `base`, in evaluation mode; the same arguments give the same weights.

        Raises:
            DataError: The settings ask for what this profile does not have.
        """

    def perturbations(self, material: Material, settings: TuneSettings) -> tuple[str, ...]:
        """Return what the faces are perturbed by, for the record in the manifest."""


class PaperRecipe:
    """The paper's: perturbed copies by six families, some of the last layers tuned."""

    plans: tuple[str, ...] = tuple(PLANS)
    defaults = TuneSettings()

    def build(self, profile: Profile) -> Network:
        """Do `Recipe.build`."""
        return Detector(profile)

    def tune(
        self, base: Network, material: Material, settings: TuneSettings, *, progress: Progress | None = None
    ) -> Network:
        """Do `Recipe.tune`."""
        if not isinstance(base, Detector):
            raise DataError(f"a detector of the profile {base.profile.name!r} is not tuned by the recipe of `paper`")
        upsampler = material.upsamplers[0] if material.upsamplers else None
        data = tuning_set(material.stills, material.passage, settings, upsampler=upsampler)
        if material.vouched:
            data = data.beside(tuning_set(material.vouched, material.passage, settings, upsampler=upsampler))
        return finetune(base, data, settings, progress=progress)

    def perturbations(self, material: Material, settings: TuneSettings) -> tuple[str, ...]:  # noqa: ARG002
        """Do `Recipe.perturbations`."""
        return settings.perturb.families


class WideRecipe:
    """That of `wide`: the whole library, the dense layers tuned, the statistics standardised by the place's own faces.

    Families, ranges and an operator's own perturbations are the paper's recipe's: the library has its own kinds.
    """

    plans: tuple[str, ...] = ("fc",)
    defaults = TuneSettings(plan="fc", epochs=24, draws=8)

    def build(self, profile: Profile) -> Network:
        """Do `Recipe.build`."""
        return WideDetector(profile)

    def tune(
        self, base: Network, material: Material, settings: TuneSettings, *, progress: Progress | None = None
    ) -> Network:
        """Do `Recipe.tune`."""
        if not isinstance(base, WideDetector):
            raise DataError(f"a detector of the profile {base.profile.name!r} is not tuned by the recipe of `wide`")
        if settings.plan not in self.plans:
            raise DataError(f"plan {settings.plan}: the profile 'wide' tunes its dense layers alone (fc)")
        if settings.perturb.own:
            raise DataError("perturbations of your own are for the profile 'paper'; 'wide' perturbs by its library")
        wide = WideTuneSettings(
            draws=settings.draws,
            epochs=settings.epochs,
            batch=settings.batch,
            seed=settings.seed,
            trim=settings.trim,
        )
        stills = [*material.stills, *material.vouched]
        strangers = len(material.stills) if material.vouched else 0
        data = wide_tuning_set(stills, material.passage, wide, _library(material, settings), strangers=strangers)
        return finetune_wide(base, data, wide, progress=progress)

    def perturbations(self, material: Material, settings: TuneSettings) -> tuple[str, ...]:
        """Do `Recipe.perturbations`."""
        return _library(material, settings).kinds


def _library(material: Material, settings: TuneSettings) -> Library:
    stills = [*material.stills, *material.vouched]
    return Library(
        lambda draw: stills[int(draw.integers(len(stills)))], material.upsamplers, left_out=settings.left_out
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType({"paper": PaperRecipe(), "wide": WideRecipe()})
"""By the name of the profile; as many as there are profiles."""


def recipe_of(profile: Profile) -> Recipe:
    """Return how detectors of a profile are made.

    Raises:
        DataError: This version can only judge it.
    """
    recipe = RECIPES.get(profile.name)
    if recipe is None:
        raise DataError(f"profile {profile.name!r}: no recipe; there are {', '.join(RECIPES)} of {', '.join(PROFILES)}")
    return recipe
