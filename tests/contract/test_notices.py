"""Notices: exact about what they speak of."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Command, Flood, Gap, Notice, parse, to_bytes
from gateway.contract.notices import MAX_RANGES, NO_CAMERA, ranges_of
from gateway.contract.topics import RESERVED_WORDS

NOTICES = [message for message in EXAMPLES.values() if isinstance(message, Notice)]
(FLOOD,) = (notice.data for notice in NOTICES if isinstance(notice.data, Flood))


def flood_with(**changes: Any) -> Flood:
    """Return the example's data with some fields changed, checked as at first."""
    return Flood(**{**dict(FLOOD), **changes})


def test_notices_when_shown_cover_every_kind() -> None:
    """Each kind has an example."""
    assert {notice.data.kind for notice in NOTICES} == {"gap", "flood", "command", "degraded", "recovered"}


def test_subject_when_a_camera_is_concerned() -> None:
    """A rule that filters by subject sees what concerns its camera; the rest has a word no camera can have."""
    subjects = {notice.data.kind: notice.subject for notice in NOTICES}

    assert subjects["flood"] == FLOOD.camera
    assert subjects["gap"] == NO_CAMERA
    assert NO_CAMERA in RESERVED_WORDS
    switched = Command(seq=1, time=1.0, command="enabled", value="ON", camera="lobby", alert_id=None)
    assert Notice.of(switched, event_id="box-1", source="s").subject == "lobby"


def test_gap_when_it_counts_more_than_its_range_holds() -> None:
    """A gap cannot claim more losses than there are numbers."""
    with pytest.raises(ValidationError, match="not so many"):
        Gap(seq=9, time=1.0, from_seq=3, to_seq=5, count=4, reason="evicted")
    with pytest.raises(ValidationError, match="not so many"):
        Gap(seq=9, time=1.0, from_seq=5, to_seq=3, count=1, reason="evicted")


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 15},
        {"held": ((21, 30), (32, 36))},
        {"held": ((22, 31), (32, 37))},
        {"held": ((30, 21), (32, 37))},
        {"held": ()},
        {"held": ((21, 37),)},
    ],
)
def test_flood_when_its_numbers_do_not_agree(changes: dict[str, Any]) -> None:
    """Count, list and severities tell of the same messages, or the notice cannot be built."""
    with pytest.raises(ValidationError):
        flood_with(**changes)


def test_flood_when_it_holds_as_many_ranges_as_it_may() -> None:
    """The longest list still fits into a message, also with the largest numbers."""
    first = 2**53 - 1 - 3 * MAX_RANGES
    held = tuple((first + 3 * number, first + 3 * number) for number in range(MAX_RANGES))
    severities = FLOOD.severities.model_copy(update={"watch": MAX_RANGES - 2})
    flood = flood_with(from_seq=held[0][0], to_seq=held[-1][1], count=MAX_RANGES, held=held, severities=severities)

    notice = Notice.of(flood, event_id="box-44", source="spectragate/box")

    assert parse(to_bytes(notice)) == notice


@given(st.lists(st.integers(0, 60)))
def test_ranges_when_made_of_numbers(seqs: list[int]) -> None:
    """They hold exactly the numbers given, ascending, and never touch one another."""
    ranges = ranges_of(seqs)

    assert [seq for first, last in ranges for seq in range(first, last + 1)] == sorted(set(seqs))
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(ranges))
