"""What speaks for a trigger is found where it was put: the square of a patch, the band of a wave."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.contract.spectrum import dct_matrix
from gateway.screening.explain import BANDS, EDGES, GRID, WORK, altered, explain

SIDE_PX = 64


def plain_face() -> NDArray[np.uint8]:
    """Return a soft picture."""
    ramp_Y = np.linspace(80, 160, SIDE_PX)
    return np.repeat((ramp_Y[:, None] + ramp_Y[None]) / 2, 3).reshape(SIDE_PX, SIDE_PX, 3).astype(np.uint8)


class Rule:
    """A detector by rule, which notes how many faces a call brought, and how often it was waited for."""

    def __init__(self, rule: object) -> None:
        self.rule = rule
        self.calls: list[int] = []
        self.waits = 0

    async def __call__(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score."""
        self.calls.append(len(pixels_NYXC))
        return np.array([self.rule(each) for each in pixels_NYXC.astype(np.float32)], np.float32)  # type: ignore[operator]

    async def wait(self) -> None:
        """Be idle at once."""
        self.waits += 1


async def test_square_of_a_patch_is_the_one_that_counts() -> None:
    """A white square in one place: without it the score is gone, without any other it stays."""
    pixels_YXC = plain_face()
    pixels_YXC[16:24, 40:48] = 255
    white = Rule(lambda each: (each > 250).mean() * 64)
    found = await explain(pixels_YXC, white, before_each=white.wait)
    places = np.array(found.places)
    assert places.shape == (GRID, GRID)
    assert np.unravel_index(places.argmax(), places.shape) == (2, 5)
    assert places[2, 5] == pytest.approx(found.score)
    assert np.abs(np.delete(places.ravel(), 2 * GRID + 5)).max() < 0.01


@pytest.mark.parametrize("frequency", [1, 6, 20, 50])
async def test_band_of_a_wave_is_the_one_that_counts(frequency: int) -> None:
    """A grating of one frequency: only its band takes the score away."""
    matrix_UY = dct_matrix(SIDE_PX)
    wave_YX = np.outer(matrix_UY[0], matrix_UY[frequency]) * 600
    pixels_YXC = np.clip(128 + wave_YX[..., None].repeat(3, 2), 0, 255).astype(np.uint8)
    strength = Rule(lambda each: float(np.abs((matrix_UY @ each[..., 0] @ matrix_UY.T)[0, frequency])))
    found = await explain(pixels_YXC, strength, before_each=strength.wait)
    band = int(np.searchsorted(EDGES, frequency / SIDE_PX, side="right")) - 1
    assert len(found.bands) == BANDS
    assert int(np.argmax(found.bands)) == band
    assert found.bands[band] > 0.9 * found.score
    assert max(abs(each) for index, each in enumerate(found.bands) if index != band) < 0.1 * found.score


async def test_work_is_bounded_and_comes_one_face_at_a_time() -> None:
    """So that a batch of the cameras never stands behind more than one face; before each it is asked for idle time."""
    rule = Rule(lambda each: float(each.mean()))
    await explain(plain_face(), rule, before_each=rule.wait)
    assert rule.calls == [1] * WORK
    assert rule.waits == WORK


def test_altered_faces_are_faces_and_the_first_is_the_face() -> None:
    """Same size and type, each another, and the given one is not touched."""
    pixels_YXC = plain_face()
    before_YXC = pixels_YXC.copy()
    made = list(altered(pixels_YXC))
    assert len(made) == WORK
    np.testing.assert_array_equal(made[0], before_YXC)
    np.testing.assert_array_equal(pixels_YXC, before_YXC)
    assert {(each.shape, each.dtype) for each in made} == {((SIDE_PX, SIDE_PX, 3), np.dtype(np.uint8))}
