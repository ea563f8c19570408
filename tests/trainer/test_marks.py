"""Drawn pictures, patches and writing."""

import numpy as np

from trainer import marks
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
            rows, columns = marks.place_of(128, inner, draw)
            assert 0 <= rows.start < rows.stop <= 128
            assert 0 <= columns.start < columns.stop <= 128
            assert rows.stop - rows.start == columns.stop - columns.start == inner


def test_drawings_differ() -> None:
    """No two draws give the same drawing: nothing is learnt by heart."""
    drawn = {marks.drawing(64, np.random.default_rng(seed)).tobytes() for seed in range(30)}
    assert len(drawn) == 30
