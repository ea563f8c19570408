"""Example pictures: every perturbation, environment and trigger once, from the faces that were given."""

import numpy as np
from fakes.drawn_faces import drawn_faces

from trainer.environments import ENVIRONMENTS
from trainer.examples import environment_examples, perturbation_examples, trigger_examples
from trainer.protocol import Division, divide
from trainer.triggers import PROCEDURAL, TriggerSet


def division() -> Division:
    """Return drawn faces, divided."""
    return divide(drawn_faces(200), trained_on=frozenset(), watched=frozenset(), least_px=32)


class Turned:
    """An upsampler that turns pictures upside down."""

    ways = 1

    def __call__(self, picture_YXC: np.ndarray, *, way: int) -> np.ndarray:
        """Return the picture upside down."""
        return np.ascontiguousarray(picture_YXC[::-1])


def test_every_perturbation_is_shown_beside_the_clean_face() -> None:
    """Figure 2: the paper's six, each different from the clean face."""
    shown = perturbation_examples(division(), Turned())
    assert [each.title for each in shown] == [
        "clean", "white_block", "coloured_block", "gaussian_noise", "shadow", "blend", "upsampling",
    ]  # fmt: skip
    assert len({each.uri for each in shown}) == 7
    assert [each.title for each in perturbation_examples(division(), None)][-1] == "blend"


def test_every_environment_and_codec_is_shown_for_every_source() -> None:
    """Figure 4: light, lens and codec."""
    shown = environment_examples([division()])
    assert [each.title for each in shown] == [f"drawn, {name}" for name in (*ENVIRONMENTS, "jpeg", "h264")]


def test_every_trigger_is_shown() -> None:
    """One picture a trigger, at the face's own size."""
    shown = trigger_examples(division(), TriggerSet(PROCEDURAL, None, ""))
    assert [each.title for each in shown] == [trigger.name for trigger in PROCEDURAL]
    assert all(each.uri.startswith("data:image/png;base64,") for each in shown)
