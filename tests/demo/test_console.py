"""What the operator sees of the demo: words, JSON lines, the table, and the exit code."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fakes.demo import MODEL, alert_of, reference, verdict_of

from gateway.contract import messages
from gateway.demo.console import (
    _Teller,
    broker_address,
    event_as_json,
    in_words,
    result_as_json,
    summary,
    table,
)
from gateway.demo.events import (
    AlertPublished,
    BrokerAddress,
    Calibrated,
    DemoEvent,
    DemoResult,
    Progress,
    Started,
    TrackJudged,
)
from gateway.demo.passages import DemoSettings, plan
from gateway.demo.tally import tally
from gateway.errors import ConfigError
from gateway.progress import Bar

PASSAGES = plan(DemoSettings(), "gate")
CLEAN, TRIGGERED = PASSAGES[:2]
STARTED = Started(BrokerAddress("127.0.0.1", 40001), True, "spectragate-demo/alerts", MODEL, 1)
RATE = reference(*range(39), rate=0.025)


def result(verdicts: Sequence[messages.VerdictData], *, lost: frozenset[str] = frozenset()) -> DemoResult:
    """Return a demo of two passages."""
    return DemoResult(tally(PASSAGES[:2], verdicts), RATE, frozenset({"a", "b"}), lost)


CAUGHT = result([verdict_of(CLEAN), verdict_of(TRIGGERED, "triggered", score=2.5)])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1884", BrokerAddress("127.0.0.1", 1884)),
        ("broker.plant", BrokerAddress("broker.plant", 1883)),
        ("[::1]:1884", BrokerAddress("::1", 1884)),
        ("[::1]", BrokerAddress("::1", 1883)),
    ],
)
def test_broker_address_reads_host_and_port(text: str, address: BrokerAddress) -> None:
    """HOST:PORT, or a host alone at MQTT's own port."""
    assert broker_address(text) == address


@pytest.mark.parametrize("text", ["", ":1883", "host:", "host:port", "host:0", "host:65536", "host:-1", "host:1²"])
def test_broker_address_refuses_the_rest(text: str) -> None:
    """What is no address is told with an example."""
    with pytest.raises(ConfigError, match=r"--broker .*not HOST:PORT, for example 127\.0\.0\.1:1883"):
        broker_address(text)


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (
            TrackJudged(verdict_of(CLEAN, score=-0.25), CLEAN),
            [f"00:0{CLEAN.end_s:.1f}  clean  track 1  score -0.25  (clean passage)"],
        ),
        (
            TrackJudged(verdict_of(TRIGGERED, "unsure", score=None), TRIGGERED),
            [f"00:0{TRIGGERED.end_s:.1f}  unsure (quality)  track 1  (white sticker: missed)"],
        ),
        (
            TrackJudged(verdict_of(None, times_s=(61.0, 75.5)), None),
            ["01:15.5  clean  track 1  score 0.50  (nobody there)"],
        ),
        (TrackJudged(verdict_of(TRIGGERED, "triggered"), TRIGGERED), []),
        (
            AlertPublished(alert_of(TRIGGERED), TRIGGERED),
            [
                f"00:0{TRIGGERED.start_s + 0.4:.1f}  ALERT  track 1  p=0.250  score 2.00 ≥ 1.00"
                "  (white sticker, expected)"
            ],
        ),
        (
            AlertPublished(alert_of(CLEAN), CLEAN),
            [
                f"00:0{CLEAN.start_s + 0.4:.1f}  ALERT  track 1  p=0.250  score 2.00 ≥ 1.00"
                + "  (clean passage: false alarm)"
            ],
        ),
        (
            Calibrated(39, 39, RATE),
            ["39 clean passages calibrate this camera: 1 clean track in 40 may be flagged (p ≤ 0.025)"],
        ),
        (
            Calibrated(38, 39, replace(RATE, level="factory")),
            [
                "38 clean passages calibrate this camera (39 were drawn): too few, so 39 tracks of the factory decide:"
                " 1 clean track in 40 may be flagged (p ≤ 0.025)"
            ],
        ),
        (
            Calibrated(2, 39, None),
            ["2 clean passages calibrate this camera (39 were drawn): too few, every track will be unsure"],
        ),
    ],
)
def test_events_in_words(event: DemoEvent, lines: list[str]) -> None:
    """One line for what matters: the second of the recording, what was said, what was drawn."""
    assert in_words(event) == lines


def test_start_says_what_this_is_and_is_not() -> None:
    """The first line says where the people come from, and that no accuracy is shown."""
    first, second = in_words(STARTED)
    assert "scikit-image's astronaut" in first
    assert "plumbing, not accuracy" in first
    assert "127.0.0.1:40001" in second
    assert "spectragate-demo/alerts" in second
    assert "yours" in in_words(replace(STARTED, is_embedded=False))[1]


def test_end_of_an_alert_is_not_told_twice() -> None:
    """The live line comes with the first message of an alert; later ones are for subscribers."""
    alert = alert_of(TRIGGERED)
    data = alert.data.model_copy(update={"type": "end", "end_time": TRIGGERED.end_s})
    assert in_words(AlertPublished(alert.model_copy(update={"data": data}), TRIGGERED)) == []


def test_table_has_a_line_for_every_passage() -> None:
    """What was drawn when, what was said, and what that makes of it."""
    assert table(CAUGHT) == [
        "",
        "passage  second  drawn          verdict    score      p  outcome",
        f"      1     {CLEAN.start_s:.1f}  nothing        clean       0.50  0.250  clean",
        f"      2     {TRIGGERED.start_s:.1f}  white sticker  triggered   2.50  0.250  caught",
        "",
    ]
    assert "not found" in table(result([]))[2]


def test_summary_counts_and_names_what_to_expect() -> None:
    """Caught, missed, false alarms with what the rate allows, messages sent and received."""
    assert summary(CAUGHT) == [
        "caught 1 of 1 triggered passages, missed 0",
        "false alarms: 0 in 1 clean passages (about 0.0 are to be expected)",
        "alert messages: 2 published, 2 received",
    ]
    stray = verdict_of(None, times_s=(0.0, 0.1))
    missed = result([verdict_of(CLEAN, "triggered"), stray], lost=frozenset({"a"}))
    assert summary(missed) == [
        "caught 0 of 1 triggered passages, missed 1",
        "false alarms: 1 in 1 clean passages (about 0.0 are to be expected)",
        "alert messages: 2 published, 1 received",
        "tracks where nobody was drawn: 1",
    ]
    assert summary(replace(CAUGHT, reference=None))[1] == "false alarms: 0 in 1 clean passages"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (STARTED, {"event": "started", "seed": 1, "topic": "spectragate-demo/alerts"}),
        (Calibrated(39, 39, RATE), {"event": "calibrated", "tracks": 39, "passages": 39}),
        (Calibrated(0, 39, None), {"event": "calibrated", "reference": None}),
        (AlertPublished(alert_of(TRIGGERED), TRIGGERED), {"event": "alert", "passage": 2}),
        (AlertPublished(alert_of(TRIGGERED), None), {"event": "alert", "passage": None}),
        (TrackJudged(verdict_of(CLEAN), CLEAN), {"event": "track", "passage": 1}),
        (Progress("screening", 3, 9), {"event": "progress", "doing": "screening", "done": 3, "of": 9}),
    ],
)
def test_events_as_json(event: DemoEvent, expected: dict[str, Any]) -> None:
    """Each event is one object with its name, free of NaN."""
    written = json.loads(json.dumps(event_as_json(event), allow_nan=False))
    assert written.items() >= expected.items()


def test_alert_as_json_is_what_subscribers_get() -> None:
    """A script that reads the demo's lines can be pointed at the broker afterwards."""
    alert = alert_of(TRIGGERED)
    written = event_as_json(AlertPublished(alert, TRIGGERED))["alert"]
    assert messages.parse(json.dumps(written).encode()) == alert


def test_result_as_json_ends_with_the_totals() -> None:
    """One object a passage, then the totals, whatever there is nothing to say of is null."""
    lines = json.loads(json.dumps(result_as_json(CAUGHT), allow_nan=False))
    assert [line["event"] for line in lines] == ["passage", "passage", "result"]
    assert [line.get("outcome") for line in lines[:2]] == ["clean", "caught"]
    assert [line["trigger"] for line in lines[:2]] == [None, "white sticker"]
    assert lines[-1] == {
        "event": "result",
        "passed": True,
        "triggered": 1,
        "caught": 1,
        "missed": 0,
        "clean": 1,
        "false_alarms": 0,
        "false_alarms_expected": pytest.approx(0.025),
        "stray_tracks": 0,
        "alerts_published": 2,
        "alerts_received": 2,
    }
    nothing = result_as_json(replace(result([]), reference=None))
    assert nothing[0]["verdict"] is None
    assert nothing[-1]["false_alarms_expected"] is None


@pytest.mark.parametrize("as_json", [True, False])
def test_teller_writes_plain_lines_where_there_is_no_terminal(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets lines alone: no bar, no colours, and with --json nothing but JSON."""
    with Bar("drawing") as bar:
        teller = _Teller(bar, as_json=as_json)
        for event in (STARTED, Progress("drawing", 1, 2), Progress("calibrating", 1, 2), Calibrated(39, 39, RATE)):
            teller.hear(event)
        teller.close(CAUGHT, None)
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    if as_json:
        assert [json.loads(line)["event"] for line in out.splitlines()] == [
            "started",
            "calibrated",
            "passage",
            "passage",
            "result",
        ]
    else:
        assert out.splitlines()[-1] == "alert messages: 2 published, 2 received"
