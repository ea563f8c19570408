"""What codecs leave of triggers."""

from collections.abc import Sequence

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from trainer import survival as module
from trainer.measures import Scores
from trainer.optics import Picture
from trainer.survival import SETTINGS, amplitude_left, survival
from trainer.trigger_families import ftrojan
from trainer.triggers import Trigger

FACES = drawn_faces(24, side_px=64, seed=2).pixels


def white(face_YXC: Picture) -> Picture:
    """Return a white square of the face's size."""
    return np.full_like(face_YXC, 255)


def brightness(pictures: Sequence[Picture]) -> Scores:
    """Score by the brightest corner, which a white square there makes certain."""
    return np.array([picture_YXC[-12:, -12:].mean() for picture_YXC in pictures], np.float32)


def test_amplitude_is_the_share_of_the_change_that_is_left() -> None:
    """All of it, half of it, nothing; and no change at all."""
    clean, changed = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), 120, np.uint8)
    half = np.full((4, 4, 3), 110, np.uint8)
    assert amplitude_left([(clean, changed, clean, changed)]) == 1.0
    assert amplitude_left([(clean, changed, clean, half)]) == 0.5
    assert amplitude_left([(clean, changed, clean, clean)]) == 0.0
    assert amplitude_left([(clean, clean, clean, clean)]) == 0.0


def test_a_sticker_survives_and_chroma_coefficients_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real H.264 and JPEG: a white square keeps its strength and is found, 4:2:0 removes FTrojan."""
    kept = {name: SETTINGS[name] for name in ("none", "H.264 CRF 28", "JPEG 80")}
    monkeypatch.setattr(module, "SETTINGS", kept)
    triggers = [
        Trigger("square", "badnets", white, side=0.25, place=(0.9, 0.9)),
        Trigger("ftrojan", "FTrojan", ftrojan),
    ]
    found = survival(FACES, triggers, brightness, progress=lambda *_: None)["triggers"]
    assert found["square"]["none"] == {"amplitude": 1.0, "auroc": 1.0, "found": 1.0}
    for setting in ("H.264 CRF 28", "JPEG 80"):
        assert found["square"][setting]["amplitude"] > 0.9
        assert found["square"][setting]["found"] == 1.0
        assert found["ftrojan"][setting]["amplitude"] < 0.2
