"""What the page says in words."""

from typing import get_args

import pytest
from fakes.boxes import alert
from fakes.windows import camera_view

from gateway.contract.fields import Promise
from gateway.contract.states import STATUS_REASONS, DriftState, ModelState, RealisedRate
from gateway.service.page import words
from gateway.service.window import ExplanationView


def test_every_reason_of_the_contract_is_a_sentence() -> None:
    """No operator has to look up a code; one that is new is shown as it stands."""
    assert set(STATUS_REASONS) <= set(words.REASONS)
    assert words.reason("moon_in_the_way") == "moon in the way"
    assert words.reason(None) == ""


@pytest.mark.parametrize(
    ("rate", "said"),
    [(0.05, "1 in 20"), (0.001, "1 in 1\u202f000"), (0.000123, "1 in 8\u202f100"), (1.0, "1 in 1"), (0.0, "none")],
)
def test_rate_is_said_as_one_in_so_many(rate: float, said: str) -> None:
    """Two digits are enough."""
    assert words.one_in(rate) == said


@pytest.mark.parametrize(
    ("span_s", "said"), [(-1.0, "0 s"), (4.2, "4 s"), (125.0, "2 min"), (7300.0, "2 h"), (2e5, "2 d")]
)
def test_duration_is_said_in_its_largest_unit(span_s: float, said: str) -> None:
    """A clock that was set back is no negative time."""
    assert words.duration(span_s) == said


def test_promise_says_what_is_missing_until_the_asked_rate_holds() -> None:
    """Three cases: nothing known, too few passages, enough."""
    missing = Promise(asked_rate=0.001, attainable_rate=0.05, tracks_missing=987)
    assert words.promise(missing) == (
        "asked for 1 in 1\u202f000, can hold 1 in 20 now; 987 more clean passages are needed"
    )
    held = missing.model_copy(update={"tracks_missing": 0})
    assert "holds the asked rate" in words.promise(held)
    borrowed = missing.model_copy(update={"attainable_rate": missing.asked_rate})
    assert "other passages than this camera's" in words.promise(borrowed)
    assert "987 more clean ones of its own are needed" in words.promise(borrowed)
    assert "before its detector runs" in words.promise(None)
    assert words.calibration(None) == "nothing yet"


def test_alert_without_p_value_claims_no_rarity() -> None:
    """Where the calibration supports none, the page says so."""
    assert "too few" in words.rarity(alert(1, p_value=None).data)  # type: ignore[arg-type]
    assert words.p_value(None) == "unknown"
    assert words.p_value(0.000123) == "0.00012"


def test_tone_of_a_camera_is_its_state_unless_a_trigger_is_in_view() -> None:
    """An alarm shows whatever else is wrong."""
    assert words.tone(camera_view("gate")) == "good"
    assert words.tone(camera_view("gate", state="offline", reason="tls")) == "bad"
    assert words.tone(camera_view("gate", state="degraded", reason="overloaded", alarm=True)) == "alarm"
    assert words.state(camera_view("gate", state="disabled", reason="by_command", enabled=False)) == "Off"
    assert words.dropped(camera_view("gate")) == 13


def test_facts_of_a_state_that_may_grow_are_short() -> None:
    """Words of later versions are shown, not refused."""
    state = {"type": "x", "state": "steady", "files": [{"a": 1}], "kinds": ["white_block"], "ok": True, "p": 0.1234567}
    assert words.facts(state) == [  # type: ignore[arg-type]
        ("state", "steady"), ("files", "1"), ("kinds", "white block"), ("ok", "yes"), ("p", "0.1235"),
    ]  # fmt: skip
    assert words.facts({"nested": {"since": None}}) == [("nested", "since –")]
    assert words.facts(None) == []


def test_clock_is_utc_for_the_browser_to_turn() -> None:
    """The box does not guess where its reader sits."""
    assert words.clock(0.0) == "1970-01-01T00:00:00Z"


def test_sentence_keeps_what_is_written_large() -> None:
    """CPU and H.264 are not words of their own in small letters."""
    assert words.sentence(words.reason("cpu_fallback")).startswith("The graphics card fails, the CPU screens")
    assert words.sentence("") == ""


def test_number_stands_with_its_noun() -> None:
    """One passage, two passages, one person, two people."""
    assert words.count(1, "passage") == "1 passage"
    assert words.count(0, "passage") == "0 passages"
    assert words.count(20_742, "picture") == "20\u202f742 pictures"
    assert words.count(2, "person", "people") == "2 people"
    one = Promise(asked_rate=0.001, attainable_rate=0.05, tracks_missing=1)
    assert words.promise(one).endswith("1 more clean passage is needed")
    borrowed = one.model_copy(update={"attainable_rate": 0.001})
    assert words.promise(borrowed).endswith("1 more clean one of its own is needed")


def test_promise_is_compared_with_what_was_done() -> None:
    """Nothing before the first passage; more than chance explains is said."""
    kept = RealisedRate(tracks=1200, promised_alerts=3.1, alerts=1, exceeds=False)
    assert words.realised(None) == ""
    assert words.realised(kept) == "1 alert in 1\u202f200 passages, 3.1 promised"
    broken = kept.model_copy(update={"alerts": 40, "exceeds": True})
    assert words.realised(broken).endswith("3.1 promised: more than chance explains")
    busy = kept.model_copy(update={"last_day_tracks": 8000})
    held = Promise(asked_rate=0.001, attainable_rate=0.001, tracks_missing=0)
    assert words.realised(busy, held).endswith("; 8\u202f000 passages in the last day, which allow 8 false alerts")
    assert words.realised(kept, held) == words.realised(kept)


def test_share_is_said_in_percent_and_as_a_tint() -> None:
    """Five tints; all and none are whole numbers."""
    assert [words.percent(share) for share in (0.0, 0.0814, 0.5, 1.0)] == ["0 %", "8.14 %", "50 %", "100 %"]
    assert [words.heat(share) for share in (0.0, 0.19, 0.2, 0.79, 0.8, 1.0)] == [0, 0, 1, 3, 4, 4]


def test_camera_needs_what_it_knows_and_what_it_lacks() -> None:
    """How far the calibration is."""
    assert words.learnt(camera_view("gate")) == (12, 999)
    assert words.learnt(camera_view("gate", promise=None)) == (12, 12)


def test_states_of_the_contract_have_words() -> None:
    """Of models and of drift."""
    assert set(get_args(ModelState.model_fields["state"].annotation)) == set(words.MODEL_STATES)
    assert set(get_args(DriftState.model_fields["state"].annotation)) == set(words.DRIFTS)


def test_bands_that_speak_against_a_trigger_are_not_named() -> None:
    """The loudest three, loudest first; what the score gains without is no reason."""
    edges = (0.0, 0.25, 0.5, 0.75, 1.0)
    found = ExplanationView(alert_id="a1", state="done", score=1.0, bands=(0.5, -0.4, 2.0, 0.0), edges=edges)
    assert words.top_bands(found) == [("50 to 75 %", 2.0), ("0 to 25 %", 0.5)]
