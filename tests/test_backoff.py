"""Pauses before the next try: doubled, capped, never in step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backoff import pause_s


@pytest.mark.parametrize(("failures", "expected_s"), [(0, 0.1), (1, 0.1), (2, 0.2), (4, 0.8), (5, 1.0), (10**9, 1.0)])
def test_pause_doubles_up_to_a_second(failures: int, expected_s: float) -> None:
    """Without chance the pause is 0.1 s, doubled at every further failure, and 1 s for ever after."""
    assert pause_s(failures, chance=0.0) == pytest.approx(expected_s)


@given(st.integers(1, 10**6), st.floats(0.0, 1.0, exclude_max=True))
def test_chance_only_shortens(failures: int, chance: float) -> None:
    """The cap holds whatever chance says, and at most three tenths are taken off."""
    whole_s = pause_s(failures, chance=0.0)
    assert 0.7 * whole_s <= pause_s(failures, chance=chance) <= whole_s <= 1.0
