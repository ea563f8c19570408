"""The reserve: kept while there is room, given up in two parts."""

from pathlib import Path

from gateway.storage.reserve import FILE_NAME, Reserve


def test_the_reserve_goes_in_two_parts_and_comes_back(tmp_path: Path) -> None:
    """The last part is for what makes room: deleting takes space too."""
    reserve = Reserve(tmp_path, 40_960)
    assert reserve.take()
    assert reserve.is_held
    assert reserve.drop()
    assert (tmp_path / FILE_NAME).stat().st_size == 10_240
    assert not reserve.is_held
    assert reserve.drop()
    assert not reserve.drop()
    assert reserve.take()
    assert (tmp_path / FILE_NAME).stat().st_size == 40_960


def test_a_reserve_of_nothing_is_always_held(tmp_path: Path) -> None:
    """Whoever wants none gets none."""
    reserve = Reserve(tmp_path, 0)
    assert reserve.take()
    assert not reserve.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_larger_than_the_disk_is_not_taken(tmp_path: Path) -> None:
    """Keeping space free must not fill the disk."""
    reserve = Reserve(tmp_path, 2**60)
    assert not reserve.take()
    assert list(tmp_path.iterdir()) == []
