"""When the demo passed, and how many false alarms it expects."""

import math

import pytest
from fakes.demo import reference, verdict_of

from gateway.demo.events import DemoResult
from gateway.demo.passages import DemoSettings, plan
from gateway.demo.tally import tally

PASSAGES = plan(DemoSettings(), "gate")


def result(*, missed: int = 0, false_alarms: int = 0, lost: frozenset[str] = frozenset()) -> DemoResult:
    """Return a result with so many misses and false alarms."""
    triggered = [passage for passage in PASSAGES if passage.trigger][missed:]
    alarmed = [passage for passage in PASSAGES if not passage.trigger][:false_alarms]
    verdicts = [verdict_of(passage, "triggered" if passage in triggered + alarmed else "clean") for passage in PASSAGES]
    return DemoResult(tally(PASSAGES, verdicts), reference(1.0, 2.0, 3.0), frozenset({"a", "b"}), lost)


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ({}, True),
        ({"missed": 1}, False),
        ({"false_alarms": 3}, True),
        ({"lost": frozenset({"a"})}, False),
    ],
)
def test_demo_passes_when_nothing_was_missed_or_lost(given: dict[str, object], passed: bool) -> None:
    """A miss and a lost alert fail the demo; false alarms are what the rate allows."""
    assert result(**given).passed is passed


def test_expected_false_alarms_follow_the_rate_that_decided() -> None:
    """Eight clean passages at one in four: two on average; without a reference nothing can be said."""
    whole = result()
    assert whole.false_alarms_expected == pytest.approx(2.0)
    assert math.isnan(DemoResult(whole.tally, None, frozenset(), frozenset()).false_alarms_expected)
