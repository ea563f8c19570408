"""An evaluation of drawn faces by detectors that need no training."""

from pathlib import Path
from typing import Any

import numpy as np
from fakes.drawn_faces import drawn_faces

from trainer.evaluate import Evaluation, Scope, Scorer, measured
from trainer.protocol import Setting, divide
from trainer.triggers import GanEdits, Trigger, TriggerSet

WHITE = Trigger("white", "badnets", lambda face_YXC: np.full_like(face_YXC, 255), side=0.3, place=(0.2, 0.2))
SMALL = Scope(environments=("original", "defocus"), regimes=("authors", "native"), plans=("fc", "last2"))


class Lightness:
    """Makes detectors that score the lightest pixel, and counts how often each is asked for."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def _scorer(self, name: str) -> Scorer:
        self.made.append(name)
        return lambda pixels_NYXC: pixels_NYXC.reshape(len(pixels_NYXC), -1).mean(axis=1).astype(np.float32)

    def untuned(self) -> Scorer:
        """Return a detector."""
        return self._scorer("untuned")

    def tuned(self, setting: Setting, *, plan: str, seed: int) -> Scorer:
        """Return a detector."""
        return self._scorer(plan)

    def autoencoder(self, setting: Setting, *, seed: int) -> tuple[Scorer, dict[str, Any]]:
        """Return a detector and a note."""
        return self._scorer("autoencoder"), {"chosen": {"latent": 1}, "tried": []}


def evaluation(folder: Path, *, makers: Lightness | None = None, scope: Scope = SMALL, made_by: str = "") -> Evaluation:
    """Return an evaluation of drawn faces."""
    faces = drawn_faces(200)
    gan = GanEdits(faces.pixels[:2], (), faces.pixels[2:6], ("a", "b"), (), ("a", "b", "a", "b"))
    division = divide(faces, trained_on=frozenset(), watched=frozenset(), least_px=32)
    return Evaluation(
        makers=makers or Lightness(),
        made_by=made_by,
        base_sha256="0" * 64,
        divisions={"drawn": division},
        triggers=TriggerSet((WHITE,), gan, "1" * 64),
        scope=scope,
        folder=folder,
    )


def run(given: Evaluation) -> list[dict[str, Any]]:
    """Run and return the measures."""
    return [entry for cell, kept in given.run(lambda cell, detector: None) for entry in measured(given, cell, kept)]
