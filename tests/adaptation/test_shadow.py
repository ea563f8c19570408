"""A bundle on trial: what is counted of it, and when that is enough to believe or to refuse it."""

import numpy as np
import pytest

from gateway.adaptation.shadow import LEAST_FACES, LEAST_TRACKS, Compared, Limits, Outcome, Trial
from gateway.contract.calibration import TrackRule

CLEAN = tuple(index / 1000 for index in range(1000))
RULE = TrackRule(first_face=1, last_face=4)


def trial(*, faces: int = 100, longest_s: float = 600.0, share: float = 0.0) -> Trial:
    """Return a trial that began at 0 s."""
    return Trial(RULE, CLEAN, Limits(faces, longest_s), now_s=0.0, expected_share=share)


def pass_by(
    tried: Trial, track_id: int, *scores: float, is_flagged: bool = False, in_use: float | None = None
) -> float | None:
    """Let a whole track pass."""
    for score in scores:
        tried.see("gate", track_id, score, is_usable=True)
    return tried.finish("gate", track_id, faces_seen=len(scores), is_flagged=is_flagged, in_use=in_use)


def test_passes_after_enough_faces() -> None:
    """A calm bundle is believed when it has seen what it had to see."""
    tried = trial(faces=40)
    for track in range(20):
        assert tried.outcome(1.0) is None
        pass_by(tried, track, 0.1 + track / 100, 0.2)
    assert tried.outcome(1.0) == Outcome(passed=True)


def test_passes_after_long_enough_only_with_some_faces() -> None:
    """A night without anybody teaches nothing."""
    tried = trial()
    assert tried.outcome(10_000.0) is None
    for track in range(LEAST_FACES):
        pass_by(tried, track, track / 100)
    assert tried.outcome(599.0) is None
    assert tried.outcome(600.0) == Outcome(passed=True)


def test_track_that_was_not_seen_whole_does_not_count() -> None:
    """Its statistic would be too low, and the calibration of the new weights with it."""
    tried = trial()
    tried.see("gate", 1, 0.5, is_usable=True)
    assert tried.finish("gate", 1, faces_seen=2, is_flagged=False) is None
    assert tried.finish("gate", 2, faces_seen=1, is_flagged=False) is None
    assert pass_by(tried, 3, 0.25) == 0.25
    assert tried.finished == 1


def test_unusable_faces_are_seen_but_do_not_count() -> None:
    """As in screening, the statistic is of usable faces alone."""
    tried = trial()
    tried.see("gate", 1, 9.0, is_usable=False)
    tried.see("gate", 1, 0.25, is_usable=True)
    assert tried.finish("gate", 1, faces_seen=2, is_flagged=False) == 0.25


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_score_that_is_no_number_fails_at_once(score: float) -> None:
    """One is enough."""
    tried = trial()
    tried.see("gate", 1, score, is_usable=True)
    assert tried.outcome(0.0) == Outcome(passed=False, reason="its score of a face is no number")


def test_one_score_for_everybody_fails() -> None:
    """A detector that looks at nothing is found out after a few faces."""
    tried = trial()
    for track in range(LEAST_FACES):
        pass_by(tried, track, 0.5)
    outcome = tried.outcome(0.0)
    assert outcome is not None
    assert "same score" in outcome.reason


@pytest.mark.parametrize(("flagged_before", "passes"), [(0.0, False), (0.95, True)])
def test_flood_fails_unless_as_many_were_flagged_before(flagged_before: float, passes: bool) -> None:
    """What it flags is measured against its own promise and what was flagged before it judged."""
    tried = trial(faces=LEAST_TRACKS, share=flagged_before)
    for track in range(LEAST_TRACKS):
        pass_by(tried, track, 5.0 + track)
    outcome = tried.outcome(0.0)
    assert outcome is not None
    assert outcome.passed is passes


def test_bundle_that_misses_what_the_one_in_use_sees_fails() -> None:
    """Fewer than half of the flagged passages is blindness; half of them is not."""
    blind, seeing = trial(), trial()
    for track in range(6):
        pass_by(blind, track, track / 100, is_flagged=True)
        pass_by(seeing, track, 5.0 if track % 2 else track / 100, is_flagged=True)
    outcome = blind.outcome(0.0)
    assert outcome is not None
    assert "of 6 passages" in outcome.reason
    assert seeing.outcome(0.0) is None
    assert seeing.share_in_use == 1.0


def drifted(*, attackers: int, seen: int, passages: int = 200) -> Trial:
    """Return a trial in a dark place: in use, a third of all clean passages is flagged; what is new sees so many."""
    tried, draw = trial(faces=10_000), np.random.default_rng(7)
    for track in range(passages):
        in_use = float(draw.normal(0.6, 1.0))  # as `paper` scores faces in low light, whose threshold is 0.17
        pass_by(tried, track, float(draw.uniform(0.0, 0.9)), is_flagged=in_use > 1.0, in_use=in_use)
    for track in range(attackers):
        pass_by(tried, passages + track, 5.0 if track < seen else 0.2, is_flagged=True, in_use=8.0)
    return tried


def test_bundle_that_cures_false_alarms_of_a_drifted_place_passes_there() -> None:
    """That the bundle in use flags them is why it is to be replaced; without drift the same is blindness."""
    cure = drifted(attackers=0, seen=0)
    assert cure.share_in_use > 0.2
    assert cure.outcome(1.0, has_drifted=True) is None
    assert cure.outcome(2.0) is None  # the light is back; what passed before it was is still counted
    outcome = drifted(attackers=0, seen=0).outcome(1.0)
    assert outcome is not None
    assert "that the bundle in use flags it sees" in outcome.reason


@pytest.mark.parametrize(("seen", "passes"), [(0, False), (9, False), (10, True), (20, True)])
def test_bundle_that_goes_blind_to_what_stands_out_fails_in_a_drifted_place(seen: int, passes: bool) -> None:
    """Whoever poisoned the clean set passes with the trigger, and stands out among those who do not."""
    outcome = drifted(attackers=20, seen=seen).outcome(1.0, has_drifted=True)
    assert (outcome is None) is passes
    if outcome is not None:
        assert outcome.reason.endswith(f"that the bundle in use flags and that stand out it sees {seen}")


def test_few_that_stand_out_in_a_drifted_place_may_be_chance() -> None:
    """Scores of clean faces have a tail too; and a handful of passages says nothing about what is usual."""
    assert drifted(attackers=9, seen=0).outcome(1.0, has_drifted=True) is None
    assert drifted(attackers=12, seen=0).outcome(1.0, has_drifted=True) is not None
    assert drifted(attackers=9, seen=0, passages=9).outcome(1.0, has_drifted=True) is None


def test_blindness_to_what_is_planted_fails_with_and_without_drift() -> None:
    """Planted triggers need nobody who shows one, and no trust in what the bundle in use says of passages."""
    for has_drifted in (False, True):
        blind = watched()
        blind.compare(compared(scores=[0.5] * 20, in_use=[5.0] * 20))
        assert blind.outcome(1.0, has_drifted=has_drifted) is not None


def test_fault_is_kept() -> None:
    """The first word on what broke stands."""
    tried = trial()
    tried.fail("first")
    tried.fail("second")
    assert tried.outcome(0.0) == Outcome(passed=False, reason="first")


def test_tracks_that_never_end_do_not_pile_up() -> None:
    """The oldest are forgotten, and then count as not seen whole."""
    tried = trial()
    for track in range(2000):
        tried.see("gate", track, 0.5, is_usable=True)
    assert tried.finish("gate", 0, faces_seen=1, is_flagged=False) is None
    assert tried.finish("gate", 1999, faces_seen=1, is_flagged=False) == 0.5


def compared(*, scores: list[float], in_use: list[float], took_s: float = 0.001) -> Compared:
    """Return what both bundles made of faces with planted triggers."""
    return Compared(scores, in_use, took_s, in_use_took_s=0.001)


def watched() -> Trial:
    """Return a trial beside a bundle that judges by the same clean tracks."""
    return Trial(RULE, CLEAN, Limits(10_000, 600.0), now_s=0.0, in_use_tracks=CLEAN)


def test_fails_when_it_does_not_see_what_is_planted() -> None:
    """A bundle that flags nobody looks well as long as nobody shows a trigger; half of what is seen is enough."""
    blind, fair = watched(), watched()
    for _ in range(10):
        blind.compare(compared(scores=[0.5, 5.0, 0.5], in_use=[5.0, 5.0, 0.1]))
        fair.compare(compared(scores=[5.0, 5.0, 0.5], in_use=[5.0, 5.0, 0.1]))
    assert blind.outcome(1.0) is None  # half
    blind.compare(compared(scores=[0.5], in_use=[5.0]))
    outcome = blind.outcome(1.0)
    assert outcome == Outcome(passed=False, reason="of 21 planted triggers that the bundle in use sees it sees 10")
    assert fair.outcome(1.0) is None


def test_fails_when_it_cannot_judge_what_the_bundle_in_use_can() -> None:
    """A rule that no passage fills would leave everybody unjudged."""
    tried = Trial(TrackRule(first_face=9, last_face=9), CLEAN, Limits(10_000, 600.0), now_s=0.0)
    for track in range(LEAST_TRACKS):
        assert tried.outcome(1.0) is None
        tried.see("gate", track, track / 10, is_usable=True)
        tried.finish("gate", track, faces_seen=1, is_flagged=False, in_use=0.5)
    outcome = tried.outcome(1.0)
    assert outcome is not None
    assert "can judge it can judge 0" in outcome.reason


@pytest.mark.parametrize(
    ("times_s", "is_refused"),
    [
        ([0.0021] * 20, True),
        ([0.0021] * 19, False),
        ([0.002] * 100, False),
        ([0.001] * 60 + [0.009] * 40, False),  # a machine that was busy for a while
    ],
)
def test_fails_when_it_takes_more_than_twice_as_long(times_s: list[float], is_refused: bool) -> None:
    """In the middle and at the slow end: one alone is the machine's doing."""
    tried = watched()
    for took_s in times_s:
        tried.compare(compared(scores=[], in_use=[], took_s=took_s))
    assert (tried.outcome(1.0) is not None) is is_refused
