"""The detectors that are judged: made from the same faces, what is costly once."""

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from trainer.baseline import AutoencoderSettings
from trainer.candidates import Candidates
from trainer.environments import REGIMES
from trainer.finetune import TuneSettings
from trainer.perturb import ALL_FAMILIES, PerturbSettings
from trainer.protocol import Part, Setting
from trainer.train import PretrainSettings, fresh_detector
from trainer.upsampling import GeneratorSettings


@pytest.fixture
def setting() -> Setting:
    """Return thirty drawn faces in the authors' protocol."""
    faces = drawn_faces(30)
    part = Part(faces.pixels, faces.groups, faces.sha256)
    return Setting("drawn", part, faces.pixels, REGIMES["authors"].passage(side_px=32, seed=1))


@pytest.fixture
def candidates() -> Candidates:
    """Return candidates that are made quickly."""
    return Candidates(
        base=fresh_detector(PretrainSettings()).eval(),
        settings=TuneSettings(epochs=1, draws=1, perturb=PerturbSettings(families=ALL_FAMILIES)),
        generator=GeneratorSettings(steps=2, batch=2, squares_px=(32,)),
        grid=(AutoencoderSettings(latent=8, epochs=1), AutoencoderSettings(latent=16, epochs=1)),
    )


def test_every_candidate_scores_faces(candidates: Candidates, setting: Setting) -> None:
    """Base, tuned and autoencoder each give one score a face; tuning changes the scores."""
    pixels_NYXC = setting.passage.finish(setting.stills)
    autoencoder, note = candidates.autoencoder(setting, seed=1)
    scores = [
        scorer(pixels_NYXC)
        for scorer in (candidates.untuned(), candidates.tuned(setting, plan="fc", seed=1), autoencoder)
    ]
    assert [each.shape for each in scores] == [(30,)] * 3
    assert not np.array_equal(scores[0], scores[1])
    assert len(note["tried"]) == 4
    assert note["chosen"]["latent"] in {8, 16}


def test_generator_and_choice_are_made_once_a_source(candidates: Candidates, setting: Setting) -> None:
    """Another environment of the same source uses the same generator and the same autoencoder settings."""
    assert candidates.stand_in(setting) is candidates.stand_in(setting)
    first, again = (candidates.autoencoder(setting, seed=1)[1] for _ in range(2))
    assert first["tried"] is again["tried"]
