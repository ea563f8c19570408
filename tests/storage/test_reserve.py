"""The reserve: kept while there is room, given up in two parts."""

from pathlib import Path

from gateway.storage.database import total_bytes
from gateway.storage.reserve import FILE_NAME, Reserve


def test_the_reserve_goes_in_two_parts_and_comes_back(tmp_path: Path) -> None:
    """The rest is for what makes room: deleting takes space too."""
    reserve = Reserve(tmp_path, 40_960)
    assert reserve.take()
    assert reserve.is_held
    assert reserve.drop()
    assert (tmp_path / FILE_NAME).stat().st_size == 10_240
    assert not reserve.is_held
    assert not reserve.drop()
    assert reserve.drop_rest()
    assert not reserve.drop_rest()
    assert reserve.take_rest()
    assert (tmp_path / FILE_NAME).stat().st_size == 10_240
    assert reserve.take()
    assert (tmp_path / FILE_NAME).stat().st_size == 40_960


def test_a_reserve_of_nothing_is_always_held(tmp_path: Path) -> None:
    """Whoever wants none gets none."""
    reserve = Reserve(tmp_path, 0)
    assert reserve.take()
    assert reserve.take_rest()
    assert not reserve.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_is_a_part_of_the_disk_at_most(tmp_path: Path) -> None:
    """On a small disk the alerts have more room than what is kept free."""
    assert 4 * 4 * Reserve(tmp_path, 2**60).rest_bytes <= total_bytes(tmp_path)


def test_a_disk_that_is_gone_has_no_reserve(tmp_path: Path) -> None:
    """Where nobody can tell the size of the disk, nothing is kept, and nothing is raised."""
    reserve = Reserve(tmp_path / "gone", 40_960)
    assert reserve.take()
    assert not reserve.drop_rest()
