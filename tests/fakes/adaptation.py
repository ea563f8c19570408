"""Faces drawn by chance whose light and sharpness can be turned, and the tracks that they make."""

import numpy as np
from numpy.typing import NDArray

from gateway.adaptation.drift import Sample
from gateway.adaptation.features import frequency_features


def faces(count: int, *, seed: int, light: float = 1.0, blurred: bool = False, side_px: int = 32) -> NDArray[np.uint8]:
    """Return uint8 (count, side, side, 3): broad shapes and fine grain, as faces have, each another."""
    draw = np.random.default_rng(seed)
    place_Y = np.linspace(0, np.pi, side_px)
    weights_NUV = draw.normal(size=(count, 4, 4)) * 18
    waves_UY = np.cos(np.arange(4)[:, None] * place_Y[None])
    values_NYX = 110 + draw.normal(0, 12, (count, 1, 1)) + waves_UY.T @ weights_NUV @ waves_UY
    grain_NYX = draw.normal(size=(count, side_px, side_px)) * draw.uniform(4, 8, (count, 1, 1))
    values_NYX = (values_NYX + grain_NYX) * light
    if blurred:
        values_NYX = sum(np.roll(values_NYX, shift, axis=2) for shift in range(5)) / 5
    return np.repeat(np.clip(np.rint(values_NYX), 0, 255).astype(np.uint8)[..., None], 3, axis=3)


def tracks(
    count: int, *, seed: int, light: float = 1.0, blurred: bool = False, first_s: float = 0.0, score: float = 0.0
) -> list[Sample]:
    """Return a sample a minute."""
    features_NF = frequency_features(faces(count, seed=seed, light=light, blurred=blurred))
    scores = score + np.random.default_rng(seed).normal(size=count)
    return [
        Sample.of(features_NF[index : index + 1], [scores[index]], time_s=first_s + 60.0 * index)
        for index in range(count)
    ]
