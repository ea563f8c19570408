"""Rows: stored as they were given, and never read otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.storage.rows import OutboxRow, checksum, pack, read, unpack


@given(st.binary(max_size=3000))
def test_payloads_come_back_as_they_were(payload: bytes) -> None:
    """Whatever the bytes, compressed or not."""
    assert unpack(pack(payload)) == payload


@given(st.binary(max_size=200))
def test_what_was_not_packed_is_refused(stored: bytes) -> None:
    """Rubbish raises one error or is a payload; it never ends in another."""
    try:
        unpack(stored)
    except ValueError as error:
        assert "stored payload" in str(error)  # noqa: PT017


@given(st.integers(0, 10), st.integers(1, 2**40))
def test_a_change_of_any_column_is_found(column: int, other: int) -> None:
    """The checksum covers number, topic, time and payload alike."""
    columns: list[object] = [7, 3, "alert", 2, "t", "json", "lobby", "a", 5.5, 170, pack(b"{}")]
    crc = checksum(columns)
    assert read([*columns, crc]) == OutboxRow(7, 3, "alert", 2, "t", "json", "lobby", "a", 5.5, b"{}")
    changed = [*columns]
    changed[column] = pack(str(other).encode()) if column == 10 else (other if columns[column] != other else -1)
    assert read([*changed, crc]) is None


def test_a_payload_that_would_explode_is_refused() -> None:
    """A packed megabyte more than is kept is not unpacked."""
    with pytest.raises(ValueError, match="too long"):
        unpack(pack(bytes(2**20 + 1)))
