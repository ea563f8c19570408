"""A watch as text: what goes on after a restart is what would have gone on without."""

import json

import pytest
from fakes.adaptation import tracks

from gateway.adaptation.drift import REFERENCE, Watch
from gateway.adaptation.memory import from_text, to_text


@pytest.mark.parametrize("count", [0, 120, REFERENCE + 130, REFERENCE + 260])
def test_watch_when_taken_up_again(count: int) -> None:
    """While it learns, while it is steady and in drift: the same findings as of one that was never put away."""
    samples = tracks(REFERENCE + 150, seed=1) + tracks(200, seed=2, light=0.6)
    watch = Watch()
    for sample in samples[:count]:
        watch.add(sample)
    again = from_text(to_text(watch))
    assert again.finding == watch.finding
    for sample in samples[count:]:
        assert again.add(sample) == watch.add(sample)
    assert again.finding.state == "drifted"


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"kept": {"times_s": [], "values": "AAAA"}}, {"adwins": 3}, {"kept": None}, {"tracks": "many"}],
)
def test_text_when_damaged(change: dict[str, object]) -> None:
    """It is refused as a whole."""
    watch = Watch()
    for sample in tracks(5, seed=1):
        watch.add(sample)
    with pytest.raises(ValueError, match=r"drift|invalid|buffer|padding"):
        from_text(json.dumps(json.loads(to_text(watch)) | change))


def test_text_when_largest() -> None:
    """A camera takes little room on the disk."""
    watch = Watch()
    for sample in tracks(REFERENCE + 100, seed=1):
        watch.add(sample)
    assert len(to_text(watch)) < 60_000
