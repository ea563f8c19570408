"""ADWIN: quiet while a mean stays, quick when it moves, and small however long it runs."""

import numpy as np
import pytest

from gateway.adaptation.adwin import Adwin


def test_window_when_the_mean_stays() -> None:
    """Ten thousand values without a change: no cut, all of them in the window, in a few dozen rows."""
    adwin = Adwin(1e-6)
    values = np.random.default_rng(1).uniform(0.2, 0.8, 10_000)
    assert [adwin.add(float(value)) for value in values].count(True) == 0
    assert adwin.width == 10_000
    assert adwin.mean == pytest.approx(values.mean())
    assert len(adwin.rows) < 100


@pytest.mark.parametrize("step", [0.3, -0.3])
def test_window_when_the_mean_moves(step: float) -> None:
    """A move by a third of the range is seen within a hundred values, and the window forgets what was before."""
    adwin = Adwin(1e-3)
    draw = np.random.default_rng(2)
    for value in draw.uniform(0.4, 0.6, 1000):
        adwin.add(float(value))
    seen = [adwin.add(float(value)) for value in draw.uniform(0.4, 0.6, 400) + step]
    assert seen.index(True) < 100
    assert adwin.mean == pytest.approx(0.5 + step, abs=0.05)


def test_window_when_values_leave_the_range() -> None:
    """They count as its ends, so that the bound holds."""
    adwin = Adwin(1e-6)
    for value in (-5.0, 7.0):
        adwin.add(value)
    assert adwin.mean == 0.5
