"""The demo's plan: which passages, when, and that its constants stay what they were before the training."""

import hashlib
import itertools
from dataclasses import replace

import pytest

from gateway.contract.calibration import tracks_needed
from gateway.demo.passages import TRIGGERS, DemoSettings, frame_count, passage_at, plan
from gateway.screening.tracks import TrackRules

SETTINGS = DemoSettings()
FIXED_BEFORE_TRAINING = "2a89e8e7f4cbbae45200b43b83fc819decf2d3f3d0def38cb463564f561046d7"


def test_settings_are_those_fixed_before_the_training() -> None:
    """Triggers, seeds and motion were never fitted to a detector: whoever changes them has to say so here."""
    assert hashlib.sha256(repr(SETTINGS).encode()).hexdigest() == FIXED_BEFORE_TRAINING


def test_clean_passages_are_exactly_as_many_as_the_rate_needs() -> None:
    """25 alerts a day of 1000 tracks is one in 40, which 39 clean tracks support and 38 do not."""
    assert SETTINGS.asked_rate == 0.025
    assert tracks_needed(SETTINGS.asked_rate) == SETTINGS.calibration_passages == 39


@pytest.mark.parametrize("recording", ["calibration", "gate"])
def test_plan_is_the_same_for_the_same_seed_and_differs_for_another(recording: str) -> None:
    """A seed is a demo: anybody who runs it again sees the same passages at the same seconds."""
    assert plan(SETTINGS, recording) == plan(DemoSettings(), recording)
    other = plan(replace(SETTINGS, seed=2), recording)
    assert [passage.frames for passage in other] != [passage.frames for passage in plan(SETTINGS, recording)]


def test_plan_of_the_gate_alternates_clean_and_triggered_passages() -> None:
    """Eight clean and eight triggered passages; every kind of trigger comes twice."""
    passages = plan(SETTINGS, "gate")
    assert [passage.trigger is None for passage in passages] == [True, False] * 8
    assert [passage.trigger for passage in passages[1::2]] == [*TRIGGERS, *TRIGGERS]
    assert [passage.shows for passage in passages[:2]] == ["nothing", "white sticker"]


def test_plan_of_the_calibration_is_clean() -> None:
    """What calibrates the camera carries no trigger."""
    assert {passage.trigger for passage in plan(SETTINGS, "calibration")} == {None}


def test_passages_of_both_recordings_are_drawn_from_different_streams() -> None:
    """No passage at the gate repeats one that the camera was calibrated with."""
    streams = [passage.stream for name in ("calibration", "gate") for passage in plan(SETTINGS, name)]
    assert len(set(streams)) == len(streams)


def test_gaps_are_long_enough_for_tracks_to_end() -> None:
    """Two passages never become one track: a gap outlasts what the tracker forgives, and no gap is a break in time."""
    rules, passages = TrackRules(), plan(SETTINGS, "gate")
    for before, after in itertools.pairwise(passages):
        unseen = after.first_frame - (before.first_frame + before.frames)
        assert unseen == SETTINGS.gap_frames > rules.max_missed_frames
        assert after.start_s - before.end_s > rules.max_missed_s + 1 / SETTINGS.fps
    assert 1 / SETTINGS.fps < rules.max_gap_s
    assert passages[0].first_frame == SETTINGS.gap_frames
    assert frame_count(SETTINGS, passages) == passages[-1].first_frame + passages[-1].frames + SETTINGS.gap_frames


def test_passages_last_twelve_to_sixteen_frames() -> None:
    """Long enough for a statistic, and no longer than a track counts."""
    frames = {passage.frames for name in ("calibration", "gate") for passage in plan(SETTINGS, name)}
    assert frames == {12, 13, 14, 15, 16}


def test_passage_at_finds_the_passage_of_a_track() -> None:
    """A track belongs to the passage it overlaps, with rounding forgiven; in a gap it belongs to none."""
    passages = plan(SETTINGS, "gate")
    second = passages[1]
    assert passage_at(passages, second.start_s, second.end_s) is second
    assert passage_at(passages, second.start_s + 0.4, second.start_s + 0.4) is second
    assert passage_at(passages, second.end_s + 0.05, second.end_s + 0.05) is second
    assert passage_at(passages, second.end_s + 0.4, second.end_s + 0.8) is None
    assert passage_at((), 0.0, 1.0) is None
