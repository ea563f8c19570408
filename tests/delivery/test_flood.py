"""Flood control: what is held and what never is; pure, with the time in the test's hand."""

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.fields import Severity
from gateway.delivery.flood import Flood
from gateway.settings import FloodSettings

Says = Literal["new", "update", "end"]


def holds(flood: Flood, alert_id: str, now_s: float = 0.0, *, says: Says = "new", severity: Severity = "watch") -> bool:
    """Return whether a message of the camera `lobby` is held."""
    return flood.holds("lobby", alert_id, says=says, severity=severity, now_s=now_s)


def test_flood_when_alerts_come_faster_than_allowed() -> None:
    """The burst goes out, the rest is held, and with the time tokens come back, never more than a burst."""
    flood = Flood(FloodSettings(burst=3, per_minute=60, summary_s=30))

    assert [holds(flood, f"a{number}") for number in range(5)] == [False, False, False, True, True]
    assert [holds(flood, f"b{number}", 2.0) for number in range(3)] == [False, False, True]
    assert [holds(flood, f"c{number}", 1e6) for number in range(4)] == [False, False, False, True]
    assert flood.counts == {"lobby": 4}


def test_flood_when_another_camera_is_quiet() -> None:
    """One camera's flood costs another nothing."""
    flood = Flood(FloodSettings(burst=1, per_minute=1))
    assert [holds(flood, "a"), holds(flood, "b")] == [False, True]

    assert not flood.holds("gate", "c", says="new", severity="watch", now_s=0.0)


def test_flood_when_an_alert_goes_on() -> None:
    """What was begun outside is finished outside, and what was held stays held to its end."""
    flood = Flood(FloodSettings(burst=1, per_minute=0.001))
    assert [holds(flood, "out"), holds(flood, "held")] == [False, True]

    assert not holds(flood, "out", says="update")
    assert not holds(flood, "out", says="end")
    assert holds(flood, "held", says="update")
    assert holds(flood, "held", says="end")


def test_flood_when_it_gets_critical() -> None:
    """Critical always goes out, and from then on so does the rest of that alert."""
    flood = Flood(FloodSettings(burst=1, per_minute=0.001))
    assert [holds(flood, "a"), holds(flood, "b")] == [False, True]

    assert not holds(flood, "c", severity="critical")
    assert not holds(flood, "b", says="update", severity="critical")
    assert not holds(flood, "b", says="end")


def test_summary_when_it_is_due() -> None:
    """It is due so long after the first held message, and not at all when nothing is held."""
    flood = Flood(FloodSettings(burst=1, per_minute=0.001, summary_s=30))
    assert flood.due_in_s(0.0) is None
    holds(flood, "a", 1.0)
    holds(flood, "b", 2.0)
    holds(flood, "c", 9.0)

    assert flood.due_in_s(12.0) == 20.0
    assert flood.due_in_s(99.0) == 0.0
    flood.begin_anew()
    assert flood.due_in_s(99.0) is None
    flood.begin_anew(since_s=100.0)
    assert flood.due_in_s(101.0) == 29.0


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=300), st.integers(1, 9), st.floats(0.1, 600))
def test_flood_when_alerts_come_at_any_pace(steps: list[tuple[float, bool]], burst: int, per_minute: float) -> None:
    """No more than burst + rate × time go out beside the critical ones; every message is held or goes."""
    flood = Flood(FloodSettings(burst=burst, per_minute=per_minute))
    now_s, went = 0.0, 0
    for number, (pause_s, critical) in enumerate(steps):
        now_s += pause_s
        held = holds(flood, f"a{number}", now_s, severity="critical" if critical else "watch")
        assert not (held and critical)
        went += not held and not critical
    assert went <= burst + now_s * per_minute / 60 + 1e-6
    assert flood.counts.get("lobby", 0) == sum(not critical for _, critical in steps) - went
