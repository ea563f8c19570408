"""Which faces may teach: few of a time, old enough, widely spread, never the most suspicious, never a pattern again."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.adaptation import faces

from gateway.adaptation.collect import (
    HOLD_S,
    LEAST_SPAN_S,
    LONG_SPAN_S,
    MOST_FACES,
    MOST_IN_WINDOW,
    WANTED,
    WINDOW_S,
    Admission,
    CleanFace,
    Sighting,
    choose,
    missing,
    repeated,
    spread,
)
from gateway.contract.geometry import MAX_CROP_PX
from trainer.service_config import QuotaConfig

BLANK_YXC = np.zeros((32, 32, 3), np.uint8)


def sightings(count: int, *, span_s: float, cameras: int = 2) -> list[Sighting]:
    """Return when such faces were seen."""
    return [Sighting(face.camera, face.time_s) for face in clean_faces(count, span_s=span_s, cameras=cameras)]


def clean_faces(count: int, *, span_s: float, cameras: int = 2) -> list[CleanFace]:
    """Return faces spread evenly over a time and over cameras."""
    return [
        CleanFace(f"gate-{index % cameras}", span_s * index / (count - 1), float(index), BLANK_YXC)
        for index in range(count)
    ]


def test_admission_when_many_pass_at_once() -> None:
    """Five of a camera in ten minutes, whoever they are; another camera has its own five."""
    admission = Admission()
    admitted = [admission.admits("gate", float(second)) for second in range(100)]
    assert admitted.count(True) == MOST_IN_WINDOW
    assert admission.admits("lobby", 100.0)
    assert not admission.admits("gate", WINDOW_S - 1.0)
    assert admission.admits("gate", WINDOW_S)


def test_admission_when_the_clock_was_set_back() -> None:
    """Five in ten minutes by the right time too, not none until it has caught up with a wrong year."""
    admission = Admission()
    assert all(admission.admits("gate", 1e9 + second) for second in range(MOST_IN_WINDOW))
    assert not admission.admits("gate", 1e9 - 60.0)
    admitted = [admission.admits("gate", float(second)) for second in range(100)]
    assert admitted.count(True) == MOST_IN_WINDOW


def test_missing_when_faces_are_few_new_or_close() -> None:
    """Enough of them, a day old, over two hours and two cameras or two days: else it is said what lacks."""
    later_s = LONG_SPAN_S + HOLD_S
    assert "are a day old" in (missing(sightings(WANTED - 1, span_s=LONG_SPAN_S), later_s) or "")
    assert "are a day old" in (missing(sightings(WANTED, span_s=LONG_SPAN_S), LONG_SPAN_S) or "")
    assert "2 h are needed" in (missing(sightings(WANTED, span_s=3600.0), later_s) or "")
    assert "spread over 48 h" in (missing(sightings(WANTED, span_s=LEAST_SPAN_S, cameras=1), later_s) or "")
    assert missing(sightings(WANTED, span_s=LEAST_SPAN_S), later_s) is None
    assert missing(sightings(WANTED, span_s=LONG_SPAN_S, cameras=1), later_s) is None


@pytest.mark.parametrize("count", [MOST_FACES - 1, MOST_FACES, MOST_FACES + 1, 5000])
def test_spread_when_more_are_kept_than_are_taken(count: int) -> None:
    """Each once, in the order of time, from the whole span; and the largest of them fit into one set of a trainer."""
    ripe = sightings(count, span_s=LONG_SPAN_S)
    chosen = spread(ripe)
    assert len(chosen) == len(set(chosen)) == min(count, MOST_FACES)
    assert chosen == sorted(chosen, key=lambda seen: seen.time_s)
    assert chosen[0] == ripe[0]
    assert chosen[-1].time_s >= LONG_SPAN_S * (1 - 2 / MOST_FACES)
    assert QuotaConfig().set_bytes > MOST_FACES * 3 * MAX_CROP_PX**2


def test_choice_when_nothing_is_suspicious() -> None:
    """The third with the highest scores is held back all the same."""
    choice = choose(clean_faces(100, span_s=100.0))
    assert choice.clean == tuple(range(70))
    assert choice.held_back == tuple(range(70, 100))


@pytest.mark.parametrize("marked", [5, 30])
def test_choice_when_people_share_a_pattern(marked: int) -> None:
    """A trigger is found where it is on several people, whatever their scores; nobody else is held back for it."""
    pixels_NYXC = faces(200, seed=1)
    board_YX = (np.indices((8, 8)).sum(0) // 2 % 2 * 255).astype(np.uint8)
    pixels_NYXC[:marked, 20:28, 20:28] = board_YX[..., None]
    found_N = repeated(list(pixels_NYXC))
    assert found_N[:marked].all()
    assert not found_N[marked:].any()
    given = [
        replace(face, score=0.0 if place < marked else 1.0, pixels_YXC=pixels_NYXC[place])
        for place, face in enumerate(clean_faces(200, span_s=100.0))
    ]
    choice = choose(given)
    assert choice.repeated == tuple(range(marked))
    assert not set(choice.clean) & set(range(marked))


def test_choice_when_an_operator_called_alerts_false() -> None:
    """A few teach whatever their scores, and are named apart; more are in no part, and one with a pattern is held back.

    Held back calibrates, so what comes by an operator's word alone must not stand there; nor may it take the place of
    another among the most suspicious, who would then teach.
    """
    pixels_NYXC = faces(200, seed=1)
    board_YX = (np.indices((8, 8)).sum(0) // 2 % 2 * 255).astype(np.uint8)
    pixels_NYXC[[0, 1, 2, 3, 199], 20:28, 20:28] = board_YX[..., None]
    given = [
        replace(face, pixels_YXC=pixels_NYXC[place], alert_id=f"a{place}" if place >= 180 else None)
        for place, face in enumerate(clean_faces(200, span_s=100.0))
    ]
    choice = choose(given)
    assert choice.operator == tuple(range(180, 190))
    assert choice.repeated == (0, 1, 2, 3, 199)
    assert choice.held_back == tuple(range(126, 180))  # 0.3 of the 180 that no operator brought in
    assert choice.clean == tuple(range(4, 126))


def test_repeated_when_there_are_few_or_large_faces() -> None:
    """Three faces have no others to resemble; larger ones are reduced before they are compared."""
    assert not repeated(list(faces(3, seed=1))).any()
    assert not repeated(list(faces(20, seed=1, side_px=64))).any()
