"""Caught, missed, false alarm: every combination of truth and verdict."""

import pytest
from fakes.demo import verdict_of

from gateway.demo.passages import DemoSettings, plan
from gateway.demo.tally import tally
from gateway.screening import decide

PASSAGES = plan(DemoSettings(), "gate")
CLEAN, TRIGGERED = PASSAGES[0], PASSAGES[1]


@pytest.mark.parametrize(
    ("number", "label", "outcome"),
    [
        (1, "clean", "clean"),
        (1, "triggered", "false alarm"),
        (1, "unsure", "clean"),
        (1, None, "clean"),
        (2, "clean", "missed"),
        (2, "triggered", "caught"),
        (2, "unsure", "missed"),
        (2, None, "missed"),
    ],
)
def test_outcome_of_a_passage(number: int, label: decide.Label | None, outcome: str) -> None:
    """Only `triggered` catches; a passage that was not found or is unsure counts as missed where a trigger was."""
    passage = PASSAGES[number - 1]
    result = tally([passage], [] if label is None else [verdict_of(passage, label)])
    assert [row.outcome for row in result.rows] == [outcome]
    assert result.rows[0].tracks == (label is not None)
    assert result.count(outcome) == 1


def test_tally_counts_every_passage_once() -> None:
    """The totals are those of the rows."""
    verdicts = [verdict_of(passage, "triggered" if passage.number < 9 else "clean") for passage in PASSAGES]
    result = tally(PASSAGES, verdicts)
    assert result.triggered == 8
    counts = [result.count(outcome) for outcome in ("caught", "missed", "false alarm", "clean")]
    assert counts == [4, 4, 4, 4]


def test_most_suspicious_track_speaks_for_a_passage() -> None:
    """A passage that fell into pieces is caught when one piece was."""
    pieces = [
        verdict_of(TRIGGERED, "triggered", score=2.0, track_id=2),
        verdict_of(TRIGGERED, "clean", score=9.0, track_id=3),
        verdict_of(TRIGGERED, "unsure", score=None, track_id=4),
    ]
    (row,) = tally([TRIGGERED], pieces).rows
    assert (row.tracks, row.outcome, row.verdict.track_id) == (3, "caught", 2)
    (row,) = tally([CLEAN], [verdict_of(CLEAN, score=-2.0), verdict_of(CLEAN, "unsure", score=None)]).rows
    assert row.verdict.score == -2.0


def test_track_of_nobody_is_a_stray() -> None:
    """A face that the finder saw in the wall belongs to no passage; raising an alarm, it counts as a false one."""
    gap_s = (CLEAN.end_s + 0.5, CLEAN.end_s + 0.6)
    strays = [verdict_of(None, "triggered", times_s=gap_s), verdict_of(None, times_s=gap_s)]
    result = tally(PASSAGES[:2], [*strays, verdict_of(CLEAN), verdict_of(TRIGGERED, "triggered")])
    assert len(result.strays) == 2
    assert [result.count(outcome) for outcome in ("caught", "missed", "false alarm", "clean")] == [1, 0, 1, 1]
