"""The chain that both classes pass alike."""

import dataclasses

import numpy as np
import pytest

from trainer.chain import ChainSettings, cut_square, make_pair, vary_optics
from trainer.optics import Draw, Picture
from trainer.perturb import Perturber


def still(side_px: int = 120) -> Picture:
    """Return a smooth gradient with some texture."""
    slope = np.add.outer(np.arange(side_px), np.arange(side_px)) * (120 / side_px)
    noise = np.random.default_rng(1).uniform(0, 60, (side_px, side_px, 3))
    return (slope[..., None] + noise).astype(np.uint8)


class Nothing(Perturber):
    """A perturber that changes nothing: the chain itself must then not tell the two apart."""

    def __init__(self) -> None:
        super().__init__(still)

    def perturb(self, picture_YXC: Picture, draw: Draw) -> tuple[Picture, str]:
        """Return a plain copy, consuming the generator as a real family would."""
        draw.random(3)
        return picture_YXC.copy(), "nothing"


@pytest.mark.parametrize("side_px", [32, 120, 160])
def test_pair_differs_by_the_perturbation_alone(side_px: int) -> None:
    """Whatever is drawn (light, blur, codec, filter, place), clean and perturbed pass the very same chain."""
    for seed in range(60):
        clean_YXC, changed_YXC, _ = make_pair(
            still(side_px), side_px=32, perturber=Nothing(), draw=np.random.default_rng(seed), settings=ChainSettings()
        )
        np.testing.assert_array_equal(clean_YXC, changed_YXC)


def test_perturbation_enters_at_native_size_and_at_the_detectors() -> None:
    """A white block drawn before the reduction has soft edges, one drawn after has none: both occur."""
    perturber = Perturber(still, families=("white_block",))
    settings = dataclasses.replace(ChainSettings(), codec=0.0, codec_after=0.0, light=0.0, blur=0.0)
    soft = hard = 0
    for seed in range(60):
        clean_YXC, changed_YXC, name = make_pair(
            still(), side_px=32, perturber=perturber, draw=np.random.default_rng(seed), settings=settings
        )
        assert name == "white_block"
        values = changed_YXC[(clean_YXC != changed_YXC).any(axis=-1)]
        hard += bool((values == 255).all())
        soft += bool((values != 255).any())
    assert hard > 10
    assert soft > 10


def test_pair_repeats_with_its_seed() -> None:
    """A run can be repeated to the bit."""
    perturber = Perturber(still)
    first, second = (
        make_pair(still(), side_px=32, perturber=perturber, draw=np.random.default_rng(5), settings=ChainSettings())
        for _ in range(2)
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_pictures_of_the_detectors_size_are_taken_whole() -> None:
    """A 32-px picture cannot be cut further: it is used as it is, flipped at most."""
    picture_YXC = still(32)
    for seed in range(8):
        square_YXC = cut_square(picture_YXC, np.random.default_rng(seed), ChainSettings(), least_px=32)
        assert any(np.array_equal(square_YXC, way) for way in (picture_YXC, picture_YXC[:, ::-1]))


def test_optics_can_be_switched_off() -> None:
    """With every share at nothing the picture is left as it was."""
    settings = dataclasses.replace(ChainSettings(), light=0.0, blur=0.0, sensor_noise_grey=(0.0, 0.0))
    np.testing.assert_array_equal(vary_optics(still(), np.random.default_rng(1), settings), still())


def test_noise_below_nothing_is_none() -> None:
    """A range that reaches below zero leaves that share of the pictures without any noise."""
    settings = dataclasses.replace(ChainSettings(), light=0.0, blur=0.0, sensor_noise_grey=(-2.0, 2.0))
    plain_YXC = still()
    altered = [vary_optics(plain_YXC, np.random.default_rng(seed), settings) for seed in range(200)]
    assert 70 < sum(np.array_equal(each_YXC, plain_YXC) for each_YXC in altered) < 130
