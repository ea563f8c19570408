"""Example pictures for a report: drawn from the user's own faces when the report is made, and kept nowhere else.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.charts import png_uri
from trainer.environments import ENVIRONMENTS, REGIMES
from trainer.evaluate import TEST_SEED
from trainer.optics import Picture, resized
from trainer.perturb import PLAIN_FAMILIES, Perturber, Upsampler
from trainer.protocol import Division
from trainer.triggers import TriggerSet

SHOWN_PX = 112


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with its caption."""

    title: str
    uri: str


def _shown(picture_YXC: Picture) -> str:
    return png_uri(resized(picture_YXC, SHOWN_PX))


def perturbation_examples(division: Division, upsampler: Upsampler | None) -> list[Example]:
    """Return the perturbations on one face of the tuned people (Figure 2)."""
    face_YXC, other_YXC = division.tune.stills[0], division.tune.stills[-1]
    families = [*PLAIN_FAMILIES, "blend", *(["upsampling"] if upsampler is not None else [])]
    found = [Example("clean", _shown(face_YXC))]
    for family in families:
        perturber = Perturber(lambda: other_YXC, families=(family,), upsampler=upsampler)
        found.append(Example(family, _shown(perturber.perturb(face_YXC, np.random.default_rng(3))[0])))
    return found


def environment_examples(divisions: Sequence[Division]) -> list[Example]:
    """Return one face of each source in every environment, and coded (Figure 4)."""
    found = []
    for division in divisions:
        still_YXC = division.tune.stills[0]
        for name, environment in ENVIRONMENTS.items():
            found.append(Example(f"{division.name}, {name}", _shown(environment.of([still_YXC], seed=TEST_SEED)[0])))
        for name, regime in REGIMES.items():
            if regime.code is not None:
                coded_YXC = regime.code([still_YXC], np.random.default_rng(TEST_SEED))[0]
                found.append(Example(f"{division.name}, {name}", _shown(coded_YXC)))
    return found


def trigger_examples(division: Division, triggers: TriggerSet) -> list[Example]:
    """Return every trigger on one face, at the face's own size, and one edited face."""
    face_YXC = division.tune.stills[0]
    found = [Example(each.name, _shown(each.apply(face_YXC))) for each in triggers.at(native=True)]
    if triggers.gan is not None:
        found.append(Example("GAN edit", _shown(triggers.gan.edits[0])))
    return found
