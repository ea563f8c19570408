"""Which cameras teach: a recording that begins again at its end shows the same people each time, and teaches nothing.

Counted as new, the same passages would make whatever is in them normal: a trigger among ten passages is, after a few
rounds, a tenth of what the camera knows as clean.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.lane import Witness
from gateway.screening import decide
from gateway.values import Screening, TrackedFace

Teaches = Callable[[str], bool]
"""Returns whether a camera's passages are new ones."""


def all_teach(_camera: str) -> bool:
    """Return that every camera teaches."""
    return True


class OfTeachers:
    """Shows a witness what cameras saw that teach, and nothing of others."""

    def __init__(self, witness: Witness, teaches: Teaches) -> None:
        self._witness = witness
        self._teaches = teaches

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Hand on the faces of a batch that come from such cameras."""
        chosen = [index for index, face in enumerate(faces) if self._teaches(face.crop.camera)]
        if len(chosen) == len(faces):
            self._witness.on_scored(environment, faces, pixels_NYXC, screenings)
        elif chosen:
            self._witness.on_scored(
                environment,
                [faces[index] for index in chosen],
                pixels_NYXC[chosen],
                [screenings[index] for index in chosen],
            )

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Hand on the end of a track of such a camera."""
        if self._teaches(camera):
            self._witness.on_finished(camera, environment, verdict)


def witnesses(*of_all: Witness | None, of_teachers: Sequence[Witness | None], teaches: Teaches) -> tuple[Witness, ...]:
    """Return those who see every camera, and those who see only cameras that teach; None stands for nobody."""
    taught = (OfTeachers(each, teaches) for each in of_teachers if each is not None)
    return *(each for each in of_all if each is not None), *taught
