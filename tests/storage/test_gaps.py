"""Gaps: neighbours are one, counts stay exact, their number is bounded."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.storage.database import Connection, connect, prepare
from gateway.storage.gaps import MAX_OPEN, add_gap, missing_ranges, open_gaps, ranges_of


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    """Return an open, empty file."""
    connection = connect(tmp_path / "state.db")
    prepare(connection, tmp_path / "state.db")
    return connection


def test_neighbours_become_one_gap(connection: Connection) -> None:
    """Ten losses in a row are one notice, in whatever order they came."""
    for seq in (5, 3, 4, 9, 1):
        add_gap(connection, (seq, seq), count=1, reason="evicted", time_s=0.0)
    gaps = [(gap.from_seq, gap.to_seq, gap.count) for gap in open_gaps(connection)]
    assert gaps == [(1, 1, 1), (3, 5, 3), (9, 9, 1)]
    connection.close()


def test_gaps_of_other_reasons_and_announced_ones_stay_apart(connection: Connection) -> None:
    """What was told is not told again, and each loss keeps its reason."""
    add_gap(connection, (1, 2), count=2, reason="evicted", time_s=0.0)
    add_gap(connection, (3, 3), count=1, reason="forgotten", time_s=0.0)
    connection.execute("UPDATE gaps SET announced = 1 WHERE reason = 'forgotten'")
    add_gap(connection, (4, 4), count=1, reason="forgotten", time_s=0.0)
    assert [(gap.from_seq, gap.reason) for gap in open_gaps(connection)] == [(1, "evicted"), (4, "forgotten")]
    connection.close()


def test_the_number_of_gaps_is_bounded_and_their_counts_stay_exact(connection: Connection) -> None:
    """Scattered losses are told as ranges that say how many of their numbers are gone."""
    for seq in range(1, 2 * MAX_OPEN + 100, 2):
        add_gap(connection, (seq, seq), count=1, reason="evicted", time_s=0.0)
    gaps = open_gaps(connection, limit=10_000)
    assert len(gaps) <= MAX_OPEN
    assert sum(gap.count for gap in gaps) == MAX_OPEN + 50
    connection.close()


def test_gaps_that_are_joined_get_a_number_of_their_own(connection: Connection) -> None:
    """A notice under way tells what one half was: it must not end the other half untold."""
    for seq in range(1, 2 * MAX_OPEN + 1, 2):
        add_gap(connection, (seq, seq), count=1, reason="evicted", time_s=0.0)
    read = {gap.number: gap for gap in open_gaps(connection)}
    add_gap(connection, (10_000, 10_000), count=1, reason="evicted", time_s=0.0)
    for number in read:
        connection.execute("UPDATE gaps SET announced = 1 WHERE number = ?", (number,))
    assert [(gap.from_seq, gap.to_seq, gap.count) for gap in open_gaps(connection)] == [(1, 3, 2), (10_000, 10_000, 1)]
    connection.close()


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.integers(0, 60), st.integers(0, 60))
def test_missing_ranges_are_what_is_neither_present_nor_told(
    present: set[int], told: set[int], floor_seq: int, last_seq: int
) -> None:
    """Compared with sets, number by number."""
    missing = missing_ranges(sorted(present), ranges_of(sorted(told)), floor_seq, last_seq)
    expected = set(range(max(1, floor_seq), last_seq + 1)) - present - told
    assert [seq for first, last in missing for seq in range(first, last + 1)] == sorted(expected)
