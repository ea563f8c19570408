"""Alerts and verdicts: which fields belong together."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, AlertData, Evidence, LatencyMs, Verdict, to_bytes

LIVE, REPLAYED = (message for message in EXAMPLES.values() if isinstance(message, Alert))
(UNSURE,) = (message for message in EXAMPLES.values() if isinstance(message, Verdict))


def alert_with(**changes: Any) -> AlertData:
    """Return the live example's data with some fields changed, checked as at first."""
    return AlertData(**{**dict(LIVE.data), **changes})


def test_alert_when_a_replay_carries_a_latency() -> None:
    """It cannot be built, so it cannot slip out."""
    with pytest.raises(ValidationError, match="a replay has no latency"):
        alert_with(replay=True, latency_ms=LatencyMs(decode=1.0, queue=1.0, infer=1.0, publish=1.0))


def test_end_time_when_the_type_does_not_fit() -> None:
    """An end has an end time, and nothing else has."""
    with pytest.raises(ValidationError, match="end_time"):
        alert_with(type="end")
    with pytest.raises(ValidationError, match="end_time"):
        alert_with(type="update", end_time=1_769_860_802.0)


def test_verdict_when_reason_or_score_do_not_fit() -> None:
    """`unsure` says why, nothing else does, and what is decided has a score."""
    data = dict(UNSURE.data)
    with pytest.raises(ValidationError, match="reason"):
        type(UNSURE.data)(**{**data, "reason": None})
    with pytest.raises(ValidationError, match="reason"):
        type(UNSURE.data)(**{**data, "verdict": "clean"})
    with pytest.raises(ValidationError, match="score"):
        type(UNSURE.data)(**{**data, "verdict": "clean", "reason": None})


def test_evidence_when_there_is_none() -> None:
    """An alert without evidence still has the three keys, as nulls."""
    assert json.loads(to_bytes(REPLAYED))["data"]["evidence"] == {"snapshot": None, "heatmap": None, "top_bands": None}
    assert REPLAYED.data.evidence == Evidence()
