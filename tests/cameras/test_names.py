"""Names of picture files."""

import pytest

from gateway.cameras.names import natural_key


def test_names_sort_as_people_count() -> None:
    """Two comes before ten, and upper case does not matter."""
    names = ["b1", "a10", "A2", "a", "a2b", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "A2", "a2b", "a10", "b1"]


@pytest.mark.parametrize("name", ["", "²", "٣", "007", "7"])
def test_any_name_has_a_place_when_sorted(name: str) -> None:
    """Digits of other scripts are letters here, and no two names share a place."""
    assert sorted([name, "a"], key=natural_key)
    assert natural_key(name) != natural_key(name + "x")
