"""Ranges of missing numbers against a plain set."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.watch import gaps
from gateway.watch.gaps import Missing, Range


def missing(*spans: tuple[int, int], ask_at_s: float = 0.0) -> Missing:
    """Return these ranges as missing."""
    return Missing(Range(*span, noticed_s=0.0, ask_at_s=ask_at_s) for span in spans)


def spans(one: Missing) -> list[tuple[int, int]]:
    """Return the ranges as pairs."""
    return [(each.first, each.last) for each in one.ranges]


@pytest.mark.parametrize(
    ("seq", "left"),
    [
        (3, [(4, 6), (9, 9)]),
        (6, [(3, 5), (9, 9)]),
        (5, [(3, 4), (6, 6), (9, 9)]),
        (9, [(3, 6)]),
        (7, [(3, 6), (9, 9)]),
        (2, [(3, 6), (9, 9)]),
    ],
)
def test_take_strikes_out_one_number(seq: int, left: list[tuple[int, int]]) -> None:
    """At an end, in the middle, alone, and where it is not missing."""
    one = missing((3, 6), (9, 9))
    hit = one.take(seq, ask_at_s=1.0)
    assert (hit is None) == (seq in {2, 7})
    assert spans(one) == left


@pytest.mark.parametrize(
    ("given_spans", "now_s", "asked"),
    [
        ([], 1.0, None),
        ([(1, 2)], -1.0, None),
        ([(1, 2), (60, 61)], 1.0, (1, 61)),
        ([(1, 2), (160, 161)], 1.0, (1, 2)),
        ([(1, 5_000)], 1.0, (1, 100)),
    ],
)
def test_due_joins_what_lies_close_together(
    given_spans: list[tuple[int, int]], now_s: float, asked: tuple[int, int] | None
) -> None:
    """One request for neighbours, never more than a request may ask for."""
    assert missing(*given_spans).due(now_s, at_most=100) == asked


def test_silence_cuts_ranges_at_its_ends() -> None:
    """What lies inside is asked for no more, what lies beside it still is; what is quiet already is not told again."""
    one = missing((1, 10), (20, 30))
    silenced = [(each.first, each.last) for each in one.silence(5, 25)]
    assert silenced == [(5, 10), (20, 25)]
    assert [(each.first, each.last, each.quiet) for each in one.ranges] == [
        (1, 4, False),
        (5, 10, True),
        (20, 25, True),
        (26, 30, False),
    ]
    assert one.silence(5, 25) == []


def test_ranges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the quiet ones go first, then the oldest; only what was asked for is told."""
    monkeypatch.setattr(gaps, "MAX_RANGES", 2)
    one = missing((1, 1), (3, 3))
    one.silence(3, 3)
    assert one.add(Range(5, 5, noticed_s=0.0, ask_at_s=0.0)) == []
    assert [each.first for each in one.add(Range(7, 7, noticed_s=0.0, ask_at_s=0.0))] == [1]
    assert spans(one) == [(5, 5), (7, 7)]
    one = missing((1, 9), (20, 29))
    one.take(5, ask_at_s=0.0)
    assert spans(one) == [(6, 9), (20, 29)]


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_ranges_agree_with_a_set_of_numbers(seed: int) -> None:
    """Whatever the order of operations: sorted, disjoint, and the very numbers that are missing."""
    rng = random.Random(seed)
    one, numbers, loud = Missing(), set(), set()
    highest = 0
    for _ in range(80):
        first = highest + rng.randrange(2, 5)
        highest = first + rng.randrange(6)
        one.add(Range(first, highest, noticed_s=0.0, ask_at_s=0.0))
        numbers |= set(range(first, highest + 1))
        loud |= set(range(first, highest + 1))
        seq = rng.randrange(highest + 1)
        assert (one.take(seq, ask_at_s=0.0) is not None) == (seq in numbers)
        numbers.discard(seq)
        loud.discard(seq)
        low = rng.randrange(highest + 1)
        silenced = {n for each in one.silence(low, low + 2) for n in range(each.first, each.last + 1)}
        assert silenced == loud & set(range(low, low + 3))
        loud -= silenced
    found = [n for each in one.ranges for n in range(each.first, each.last + 1)]
    assert found == sorted(numbers)
    assert {n for each in one.ranges if not each.quiet for n in range(each.first, each.last + 1)} == loud
