"""What all messages share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, ModelIdentity, rfc3339

LIVE, REPLAYED = (message for message in EXAMPLES.values() if isinstance(message, Alert))


def test_models_when_changed_after_construction() -> None:
    """Messages are values."""
    with pytest.raises(ValidationError, match="frozen"):
        LIVE.data.score = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        ModelIdentity(version=1, sha256="0" * 64, profile="paper", colour="red")  # type: ignore[call-arg]


@given(st.floats(0, 253_402_300_799.0))
def test_rfc3339_when_given_any_allowed_time(epoch_s: float) -> None:
    """It is always UTC with six digits, so that the same time is always the same text."""
    text = rfc3339(epoch_s)
    assert text.endswith("Z")
    assert len(text) == len("2026-01-31T12:00:00.000000Z")
