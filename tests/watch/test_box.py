"""One box's line of numbers: its timing and its position."""

import itertools

import pytest

from gateway.watch.box import Box, Fate, Position, backoff_s


def test_backoff_grows_to_a_limit() -> None:
    """Half a second first, half a minute at most."""
    waits = [backoff_s(attempts) for attempts in range(12)]
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert waits == sorted(waits)
    assert waits[-1] == backoff_s(10**6) == 30.0


@pytest.mark.parametrize("order", list(itertools.permutations(range(5, 9))))
def test_every_order_of_arrival_ends_the_same(order: tuple[int, ...]) -> None:
    """Each number is new or late once, then a duplicate; the position tells all that arrived."""
    box = Box.beginning_at(order[0], "spectragate/box", name="w", now_s=0.0)
    fates = [box.take(seq, float(seq), now_s=1.0, known=False)[0] for seq in order]
    assert Fate.DUPLICATE not in fates
    assert [box.take(seq, float(seq), now_s=1.0, known=False)[0] for seq in order] == [Fate.DUPLICATE] * 4
    assert box.position == Position("spectragate/box", 8, 8.0, quiet=((0, 4),))


def test_line_that_begins_at_zero_has_nothing_before() -> None:
    """The very first alert of a box is number 0."""
    box = Box.beginning_at(0, "spectragate/box", name="w", now_s=0.0)
    assert box.take(0, 1.0, now_s=0.0, known=False)[0] is Fate.NEW
    assert box.position.quiet == ()
