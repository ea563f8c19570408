"""The detectors that an evaluation judges: the base as it is, tuned ones, and the autoencoder.

They are made here and not by the evaluation, which must not reach what training uses; this module in turn never sees a
trigger. Import rules in pyproject.toml hold both.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from gateway.contract.geometry import reduce_to
from trainer.baseline import (
    AUTOENCODER_PX,
    GRID,
    AutoencoderSettings,
    choose_autoencoder,
    reconstruction_error,
    train_autoencoder,
)
from trainer.data import Pictures
from trainer.finetune import TuneSettings, tuning_set
from trainer.measures import Scores
from trainer.network import Network, score_pixels
from trainer.optics import Picture
from trainer.perturb import FAMILIES, PerturbSettings
from trainer.protocol import Setting
from trainer.recipes import Material, recipe_of
from trainer.upsampling import GeneratorSettings, StandIn, train_stand_in

HELD_SHARE = 0.2
"""Share of the faces to tune on that chooses the autoencoder's settings."""


@dataclass(slots=True)
class Candidates:
    """Makes detectors of one base for the faces of a source; what is costly is made once a source."""

    base: Network
    settings: TuneSettings
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    grid: Sequence[AutoencoderSettings] = GRID
    _stand_ins: dict[str, StandIn] = field(default_factory=dict)
    _chosen: dict[str, tuple[AutoencoderSettings, list[dict[str, Any]]]] = field(default_factory=dict)

    def untuned(self) -> Callable[[Picture], Scores]:
        """Return the base as it is."""
        return lambda pixels_NYXC: score_pixels(self.base, pixels_NYXC)

    def tuned(self, setting: Setting, *, plan: str, seed: int) -> Callable[[Picture], Scores]:
        """Return the base tuned for a setting by one of the plans of `trainer.finetune`."""
        settings = replace(self.settings, plan=plan, seed=seed)
        upsamplers = (self.stand_in(setting),) if "upsampling" in settings.perturb.families else ()
        material = Material(setting.stills, setting.passage, upsamplers=upsamplers)
        detector = recipe_of(self.base.profile).tune(self.base, material, settings)
        return lambda pixels_NYXC: score_pixels(detector, pixels_NYXC)

    def autoencoder(self, setting: Setting, *, seed: int) -> tuple[Callable[[Picture], Scores], dict[str, Any]]:
        """Return the baseline trained on the same faces, and how its settings were chosen.

        They are chosen once a source, on the first environment it is asked for.
        """
        choice, tried = self._choice(setting, seed)
        model = train_autoencoder(_small(setting.passage.finish(setting.stills)), replace(choice, seed=seed))
        return (
            lambda pixels_NYXC: reconstruction_error(model, _small(pixels_NYXC), worst_patch=choice.worst_patch),
            {"chosen": asdict(choice), "tried": tried},
        )

    def _choice(self, setting: Setting, seed: int) -> tuple[AutoencoderSettings, list[dict[str, Any]]]:
        if setting.source not in self._chosen:
            kept = _kept_people(setting.tune.people)
            held = [index for index, person in enumerate(setting.tune.people) if person not in kept]
            rest = [index for index, person in enumerate(setting.tune.people) if person in kept]
            chooser = replace(self.settings, draws=3, seed=seed, perturb=PerturbSettings(families=FAMILIES))
            held_set = tuning_set([setting.stills[index] for index in held], setting.passage, chooser)
            self._chosen[setting.source] = choose_autoencoder(
                _small(setting.passage.finish([setting.stills[index] for index in rest])),
                _small(held_set.clean_NYXC),
                _small(np.concatenate(held_set.changed)),
                grid=self.grid,
            )
        return self._chosen[setting.source]

    def stand_in(self, setting: Setting) -> StandIn:
        """Return the generator of the sixth perturbation, trained on the source's faces."""
        if setting.source not in self._stand_ins:
            tune = setting.tune
            faces = Pictures(setting.source, tune.stills, tune.people, tune.sha256)
            self._stand_ins[setting.source] = train_stand_in(faces, self.generator)
        return self._stand_ins[setting.source]


def _small(pixels_NYXC: Picture) -> Picture:
    """Return faces at the size of the autoencoder."""
    return np.stack([reduce_to(pixels_YXC, AUTOENCODER_PX) for pixels_YXC in pixels_NYXC])


def _kept_people(people: Sequence[str]) -> frozenset[str]:
    """Return who trains the autoencoder while its settings are chosen by the faces of the others."""
    order = list(dict.fromkeys(people))
    wanted = (1 - HELD_SHARE) * len(people)
    kept: list[str] = []
    count = 0
    for person in order[:-1]:
        if count >= wanted:
            break
        kept.append(person)
        count += people.count(person)
    return frozenset(kept)
