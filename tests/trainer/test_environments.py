"""Environments and regimes: what light, lens and codec do, repeatably and to everybody alike."""

import cv2
import numpy as np
import pytest

from gateway.contract.geometry import reduce_to
from trainer.environments import ENVIRONMENTS, REGIMES


def faces(count: int = 6, side_px: int = 96) -> list[np.ndarray]:
    """Return soft pictures with some texture."""
    draw = np.random.default_rng(1)
    soft = [cv2.GaussianBlur(draw.uniform(0, 255, (side_px, side_px, 3)), (0, 0), 2) for _ in range(count)]
    return [np.clip(each * 1.2 - 40, 0, 255).astype(np.uint8) for each in soft]


def sharpness(pictures: list[np.ndarray]) -> float:
    """Return the mean absolute difference of neighbours."""
    return float(np.mean([np.abs(np.diff(each.astype(float), axis=1)).mean() for each in pictures]))


def test_environments_do_what_they_say() -> None:
    """Brightness brightens, low light darkens and is noisy, both blurs soften, original leaves every bit."""
    clean = faces()
    made = {name: environment.of(clean, seed=3) for name, environment in ENVIRONMENTS.items()}
    level = {name: float(np.mean([each.mean() for each in pictures])) for name, pictures in made.items()}
    np.testing.assert_array_equal(np.stack(made["original"]), np.stack(clean))
    assert level["bright"] > 1.08 * level["original"]
    assert level["original"] * 0.7 < level["brightness"] < level["original"] * 1.4
    assert level["low_light"] < 0.55 * level["original"]
    for name in ("motion", "defocus"):
        assert level[name] == pytest.approx(level["original"], rel=0.03)
        assert sharpness(made[name]) < 0.9 * sharpness(clean)
    assert [name for name, each in ENVIRONMENTS.items() if each.in_paper] == ["original", "brightness", "motion"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment_repeats_face_by_face(name: str) -> None:
    """Face i depends on the seed and i alone: a longer list begins as the shorter one, another seed differs."""
    environment = ENVIRONMENTS[name]
    first, longer = environment.of(faces(3), seed=5), environment.of(faces(6), seed=5)
    np.testing.assert_array_equal(np.stack(first), np.stack(longer[:3]))
    if name != "original":
        assert (np.stack(environment.of(faces(3), seed=6)) != np.stack(first)).any()


@pytest.mark.parametrize("name", REGIMES)
def test_regime_gives_inputs_of_the_detector(name: str) -> None:
    """Whatever is coded on the way, 32-px uint8 inputs come out, the same for the same seed."""
    regime = REGIMES[name]
    inputs = regime.finish(faces(), side_px=32, seed=9)
    assert (inputs.shape, inputs.dtype) == ((6, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(regime.finish(faces(), side_px=32, seed=9), inputs)


def test_regime_d_only_reduces_and_c_codes() -> None:
    """Nothing touches a digital trigger but the reduction; a camera's codec touches everything."""
    reduced = np.stack([reduce_to(each, 32) for each in faces()])
    for name in ("authors", "native"):
        np.testing.assert_array_equal(REGIMES[name].finish(faces(), side_px=32, seed=1), reduced)
    for name in ("jpeg", "h264"):
        assert (REGIMES[name].finish(faces(), side_px=32, seed=1) != reduced).any()
    assert not REGIMES["authors"].at_native_size
