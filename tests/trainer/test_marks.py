"""Drawn pictures, patches and writing."""

import numpy as np

from trainer import marks
from trainer.library import CHANGES
from trainer.optics import Picture

GREY = np.full((128, 128, 3), 120, np.float32)


def _other(_: np.random.Generator) -> Picture:
    return np.random.default_rng(2).integers(0, 256, (150, 150, 3), dtype=np.uint8)


def test_patch_changes_a_part_and_leaves_the_rest() -> None:
    """A patch covers at most about a fifth of the face and is in a place of its own each time."""
    places = set()
    for seed in range(40):
        changed = np.abs(marks.patch(GREY, np.random.default_rng(seed), _other) - GREY).max(axis=2) > 1
        assert changed.mean() < 0.35
        if changed.any():
            places.add(tuple(np.argwhere(changed).mean(axis=0).astype(int) // 16))
    assert len(places) > 15


def test_writing_is_an_opacity() -> None:
    """Between 0 and 1, and there is something written."""
    written = [marks.writing(128, np.random.default_rng(seed)) for seed in range(20)]
    assert all(each.min() >= 0 and each.max() <= 1 for each in written)
    assert sum(each.max() > 0.9 for each in written) >= 18


def test_place_stays_inside() -> None:
    """Patches never hang over the edge, whatever their size."""
    draw = np.random.default_rng(1)
    for inner in (1, 40, 128):
        for _ in range(50):
            rows, columns = marks.place_of(128, (inner, 7), draw)
            assert 0 <= rows.start < rows.stop <= 128
            assert 0 <= columns.start < columns.stop <= 128
            assert (rows.stop - rows.start, columns.stop - columns.start) == (inner, 7)


def test_blocks_are_of_any_size_and_place_and_often_near_a_corner() -> None:
    """One is white and covers all that is under it; the other has a colour or noise."""
    near, areas = 0, set()
    for seed in range(200):
        changed_YXC = CHANGES["white_block"](GREY, np.random.default_rng(seed), _other)
        rows, columns = np.nonzero((changed_YXC == 255).all(axis=2))
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == (changed_YXC != GREY).any(axis=2).sum()
        areas.add(len(rows))
        near += min(rows.min(), 127 - rows.max()) <= 11 and min(columns.min(), 127 - columns.max()) <= 11
    assert len(areas) > 50
    assert 60 <= near <= 130
    flat = [CHANGES["coloured_block"](GREY, np.random.default_rng(seed), _other) for seed in range(40)]
    colours = [len(np.unique(each[(each != GREY).any(axis=2)], axis=0)) for each in flat]
    assert 8 <= sum(count == 1 for count in colours) <= 24


def test_drawings_differ() -> None:
    """No two draws give the same drawing: nothing is learnt by heart."""
    drawn = {marks.drawing(64, np.random.default_rng(seed)).tobytes() for seed in range(30)}
    assert len(drawn) == 30
