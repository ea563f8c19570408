"""The values that travel with a face."""

import dataclasses
from typing import get_args

import numpy as np
import pytest

from gateway import values
from gateway.contract.messages import FrameTimeSource
from gateway.values import ClockSource, FaceBox, FaceCrop

KINDS = [kind for kind in vars(values).values() if dataclasses.is_dataclass(kind)]


def make_crop() -> FaceCrop:
    """Return a grey crop."""
    box = FaceBox(x1=10, y1=20, x2=40, y2=60, confidence=0.9)
    pixels_YXC = np.full((60, 60, 3), 128, np.uint8)
    return FaceCrop(camera="gate", seq=0, captured_at_s=0.0, box=box, pixels_YXC=pixels_YXC, square_px=60)


def test_box_knows_its_size() -> None:
    """Width, height and area follow from the corners."""
    box = make_crop().box
    assert (box.width_px, box.height_px, box.area_px) == (30, 40, 1200)


@pytest.mark.parametrize(("x2", "y2"), [(5, 60), (40, 5), (10, 20)])
def test_area_is_never_negative_when_corners_are_swapped(x2: float, y2: float) -> None:
    """A box turned inside out is empty, so sorting by area puts it last."""
    assert FaceBox(x1=10, y1=20, x2=x2, y2=y2, confidence=0.9).area_px == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_value_cannot_be_changed(kind: type) -> None:
    """A value may be handed to any thread or task, because nobody can change it."""
    assert kind.__dataclass_params__.frozen
    assert hasattr(kind, "__slots__")


def test_crops_are_compared_by_identity() -> None:
    """Comparing crops never compares their pixels, which would raise; they can be kept in sets."""
    one, other = make_crop(), make_crop()
    assert one != other
    assert len({one, other}) == 2


def test_clock_sources_are_those_of_the_messages() -> None:
    """What a camera says of its clock is what a subscriber may read."""
    assert {source.value for source in ClockSource} == set(get_args(FrameTimeSource))
