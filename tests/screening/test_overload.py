"""When a camera counts as overloaded: after a while, not for ever, and never flickering."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.screening.overload import CALM_S, HOLD_S, SUSTAINED_S, TOGETHER_S, Overload, replaces_too_many


def lose_every(overload: Overload, step_s: float, *, since_s: float, until_s: float) -> float | None:
    """Lose something again and again; return when a change was said, None where there was none."""
    for count in range(round((until_s - since_s) / step_s) + 1):
        now_s = since_s + count * step_s
        overload.lose(now_s)
        if overload.advance(now_s):
            return now_s
    return None


def test_losses_that_go_on_are_said_and_taken_back_when_calm() -> None:
    """On once they have gone on for a while; off when nothing was lost for a while."""
    overload = Overload()
    assert not overload.advance(0.0)
    assert lose_every(overload, 1.0, since_s=1.0, until_s=10.0) == 1.0 + SUSTAINED_S
    assert overload.is_on
    assert not overload.advance(SUSTAINED_S + CALM_S)
    assert overload.advance(1.0 + SUSTAINED_S + CALM_S)
    assert not overload.is_on


def test_losses_of_a_start_are_not_said() -> None:
    """However many in its first seconds, and again with the next start."""
    overload = Overload()
    for start_s in (0.0, 20.0, 40.0):
        assert lose_every(overload, 0.1, since_s=start_s, until_s=start_s + 0.8 * SUSTAINED_S) is None
        assert not overload.advance(start_s + SUSTAINED_S + 0.1)


def test_losses_far_apart_are_not_said() -> None:
    """One now and then is none that goes on."""
    assert lose_every(Overload(), TOGETHER_S + 0.1, since_s=0.0, until_s=100.0) is None


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
