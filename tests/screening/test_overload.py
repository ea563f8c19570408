"""When a camera counts as overloaded: at once, not for ever, and never flickering."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.screening.overload import HOLD_S, Overload, replaces_too_many


def test_loss_is_said_at_once_and_taken_back_when_calm() -> None:
    """On with the first loss; off when nothing was lost for a while."""
    overload = Overload()
    assert not overload.advance(0.0)
    overload.lose(1.0)
    assert overload.advance(1.0)
    assert overload.is_on
    assert not overload.advance(10.9)
    assert overload.advance(11.0)
    assert not overload.is_on


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=200))
def test_changes_are_never_close_together(steps: list[tuple[float, bool]]) -> None:
    """Whatever is lost when, two changes lie `HOLD_S` apart."""
    overload, now_s, changes = Overload(), 0.0, []
    for step_s, loses in steps:
        now_s += step_s
        if loses:
            overload.lose(now_s)
        if overload.advance(now_s):
            changes.append(now_s)
    assert all(later - earlier >= HOLD_S for earlier, later in itertools.pairwise(changes))


def test_a_tenth_of_the_frames_may_be_replaced() -> None:
    """A single late frame is no overload; with none due there is none either."""
    assert not replaces_too_many(replaced=0, looked_at=0)
    assert not replaces_too_many(replaced=1, looked_at=9)
    assert replaces_too_many(replaced=2, looked_at=8)
