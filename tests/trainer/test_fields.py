"""Fields, gratings, coefficients, levels, warps: what they do to a spectrum."""

import numpy as np

from gateway.contract.spectrum import spectrum
from trainer import fields
from trainer.optics import Floats, Picture

GREY = np.full((128, 128, 3), 120, np.float32)


def _other(_: np.random.Generator) -> Picture:
    return np.zeros((128, 128, 3), np.uint8)


def _energy(change_YXC: Floats) -> Floats:
    return np.asarray((spectrum(change_YXC[None])[0] ** 2).sum(axis=2), dtype=np.float32)  # type: ignore[arg-type]


def test_smooth_fields_are_smooth() -> None:
    """Nearly all energy lies below a quarter of the band."""
    for seed in range(10):
        energy = _energy(fields.smooth_field(GREY, np.random.default_rng(seed), _other) - GREY)
        assert energy[:32, :32].sum() > 0.97 * energy.sum()


def test_gratings_are_lines() -> None:
    """Few coefficients hold most of the energy."""
    for seed in range(10):
        energy = np.sort(_energy(fields.grating(GREY, np.random.default_rng(seed), _other) - GREY).ravel())[::-1]
        assert energy[:400].sum() > 0.8 * energy.sum()


def test_levels_are_few() -> None:
    """Without dithering a ramp is left with as many values as there are levels."""
    ramp = np.linspace(0, 255, 128, dtype=np.float32)[None, :, None].repeat(128, 0).repeat(3, 2)
    for seed in range(10):
        assert len(np.unique(fields.levels(ramp, np.random.default_rng(seed), _other))) <= 25


def test_warp_moves_and_keeps_the_light() -> None:
    """A warp changes where things are and hardly how bright the face is."""
    face = np.random.default_rng(1).uniform(0, 255, (16, 16, 3)).repeat(8, 0).repeat(8, 1).astype(np.float32)
    for seed in range(10):
        moved = fields.warp(face, np.random.default_rng(seed), _other)
        assert np.abs(moved - face).max() > 5
        assert abs(float(moved.mean() - face.mean())) < 3
