"""The command `demo`: what the operator sees of it, in words or as JSON lines."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.contract import messages
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
from gateway.demo.passages import DemoSettings, Passage
from gateway.demo.run import DemoOptions, run_demo
from gateway.demo.tally import Row
from gateway.errors import ConfigError
from gateway.progress import Bar

PASSED, FAILED = 0, 1
_OF = {"drawing": "drawing clean passages", "calibrating": "calibrating", "screening": "watching the gate"}


async def demo_command(*, seed: int | None, broker: str | None, keep: Path | None, as_json: bool) -> int:
    """Run the demo, tell the operator, and return the exit code: 1 where a trigger was missed or an alert was lost.

    Raises:
        ConfigError: An option cannot be used, or a package of the extra `demo` is missing.
        DeliveryError: The broker refuses, or cannot be reached.
        RuntimeFault: The detector fails, or the recordings can be neither written nor read.
    """
    settings = DemoSettings() if seed is None else replace(DemoSettings(), seed=seed)
    options = DemoOptions(settings, None if broker is None else broker_address(broker), keep)
    with Bar(_OF["drawing"]) as bar:
        teller = _Teller(bar, as_json=as_json)
        result = await run_demo(options, listen=teller.hear)
        teller.close(result, keep)
    return PASSED if result.passed else FAILED


def broker_address(text: str) -> BrokerAddress:
    """Return HOST:PORT as an address; without a port it is 1883, an IPv6 address stands in brackets.

    Raises:
        ConfigError: It is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "1883"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ConfigError(f"--broker {text}: not HOST:PORT, for example 127.0.0.1:1883")
    return BrokerAddress(host, int(port))


class _Teller:
    """Hears what happens in the demo and tells the operator."""

    def __init__(self, bar: Bar, *, as_json: bool) -> None:
        self._bar = bar
        self._as_json = as_json
        self._doing = "drawing"

    def hear(self, event: DemoEvent) -> None:
        """Take one event."""
        if isinstance(event, Progress):
            self._advance(event)
        elif self._as_json:
            self._bar.result(json.dumps(event_as_json(event), allow_nan=False))
        else:
            for line in in_words(event):
                self._bar.result(line)

    def _advance(self, progress: Progress) -> None:
        if progress.doing != self._doing:
            self._doing = progress.doing
            self._bar.restart(_OF[progress.doing])
        self._bar.show(progress.done, progress.of)

    def close(self, result: DemoResult, keep: Path | None) -> None:
        """Tell how it ended."""
        if self._as_json:
            for line in result_as_json(result):
                self._bar.result(json.dumps(line, allow_nan=False))
        else:
            for text in (*table(result), *summary(result)):
                self._bar.result(text)
        if keep is not None:
            self._bar.remark(f"recordings, labels, and a gateway's state that knows the clean passages: {keep}")


def in_words(event: DemoEvent) -> list[str]:
    """Return the lines that tell of an event; none where there is nothing to tell."""
    match event:
        case Started():
            where = f"{event.broker.host}:{event.broker.port}"
            kind = "the demo's own, on this machine alone" if event.is_embedded else "yours"
            return [
                "People are drawn from one photograph (scikit-image's astronaut): this shows plumbing, not accuracy.",
                f"seed {event.seed}, model version {event.model.version} ({event.model.profile}), MQTT broker {where}"
                f" ({kind}), topic {event.topic}",
            ]
        case Calibrated():
            return [_calibration_in_words(event)]
        case AlertPublished(alert=messages.Alert(data=data)):
            return [_alert_in_words(data, event.passage)] if data.type == "new" else []
        case TrackJudged(verdict=verdict) if verdict.verdict != "triggered":
            why = "" if verdict.reason is None else f" ({verdict.reason})"
            score = "" if verdict.score is None else f"  score {verdict.score:.2f}"
            line = f"{_clock(verdict.end_time)}  {verdict.verdict}{why}  track {verdict.track_id}{score}"
            return [f"{line}  ({_drawn(event.passage, is_alarm=False)})"]
    return []


def _calibration_in_words(event: Calibrated) -> str:
    line = f"{event.tracks} clean passages calibrate this camera"
    if event.tracks != event.passages:
        line += f" ({event.passages} were drawn)"
    if event.reference is None:
        return f"{line}: too few, every track will be unsure"
    rate, tracks = event.reference.false_alarm_rate, len(event.reference.ordered_clean)
    if event.reference.level != "camera":
        line += f": too few, so {tracks} tracks of the {event.reference.level} decide"
    return f"{line}: 1 clean track in {1 / rate:.3g} may be flagged (p ≤ {rate:.3g})"


def _alert_in_words(data: messages.AlertData, passage: Passage | None) -> str:
    rarity = "" if data.p_value is None else f"  p={data.p_value:.3f}"
    score = f"score {data.score:.2f} ≥ {data.threshold:.2f}"
    what = _drawn(passage, is_alarm=True)
    return f"{_clock(data.frame_time)}  ALERT  track {data.track_id}{rarity}  {score}  ({what})"


def _drawn(passage: Passage | None, *, is_alarm: bool) -> str:
    if passage is None:
        return "nobody there"
    if passage.trigger is None:
        return "clean passage: false alarm" if is_alarm else "clean passage"
    return f"{passage.shows}, expected" if is_alarm else f"{passage.shows}: missed"


def _clock(time_s: float) -> str:
    tenths = round(time_s * 10)
    return f"{tenths // 600:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def table(result: DemoResult) -> list[str]:
    """Return the closing table: one line per passage, columns aligned."""
    heads = ("passage", "second", "drawn", "verdict", "score", "p", "outcome")
    rows = [heads, *(_cells(row) for row in result.tally.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    right = {0, 1, 4, 5}
    return [
        "",
        *(
            "  ".join(
                cell.rjust(width) if column in right else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ),
        "",
    ]


def _cells(row: Row) -> tuple[str, ...]:
    verdict = row.verdict
    return (
        f"{row.passage.number}",
        f"{row.passage.start_s:.1f}",
        row.passage.shows,
        "not found" if verdict is None else verdict.verdict,
        _number(None if verdict is None else verdict.score, ".2f"),
        _number(None if verdict is None else verdict.p_value, ".3f"),
        row.outcome,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def summary(result: DemoResult) -> list[str]:
    """Return the totals in words."""
    tally = result.tally
    clean = len(tally.rows) - tally.triggered
    expected = result.false_alarms_expected
    about = "" if math.isnan(expected) else f" (about {expected:.1f} are to be expected)"
    lines = [
        f"caught {tally.count('caught')} of {tally.triggered} triggered passages, missed {tally.count('missed')}",
        f"false alarms: {tally.count('false alarm')} in {clean} clean passages{about}",
        f"alert messages: {len(result.published)} published, {len(result.published) - len(result.lost)} received",
    ]
    if tally.strays:
        lines.append(f"tracks where nobody was drawn: {len(tally.strays)}")
    return lines


def event_as_json(event: DemoEvent) -> dict[str, Any]:
    """Return an event as one JSON object; the alerts are what subscribers get."""
    match event:
        case Started():
            broker = {"host": event.broker.host, "port": event.broker.port, "embedded": event.is_embedded}
            model = event.model.model_dump(mode="json")
            return {"event": "started", "broker": broker, "topic": event.topic, "model": model, "seed": event.seed}
        case Calibrated(reference=reference):
            decides = None
            if reference is not None:
                decides = {
                    "calibration": reference.level,
                    "false_alarm_rate": reference.false_alarm_rate,
                    "threshold": reference.threshold,
                }
            return {"event": "calibrated", "tracks": event.tracks, "passages": event.passages, "reference": decides}
        case AlertPublished():
            return {
                "event": "alert",
                "passage": _number_of(event.passage),
                "alert": json.loads(messages.to_bytes(event.alert)),
            }
        case TrackJudged():
            return {
                "event": "track",
                "passage": _number_of(event.passage),
                "verdict": event.verdict.model_dump(mode="json"),
            }
        case Progress():
            return {"event": "progress", "doing": event.doing, "done": event.done, "of": event.of}


def _number_of(passage: Passage | None) -> int | None:
    return None if passage is None else passage.number


def result_as_json(result: DemoResult) -> list[dict[str, Any]]:
    """Return one object per passage, then the totals."""
    tally, expected = result.tally, result.false_alarms_expected
    totals = {
        "event": "result",
        "passed": result.passed,
        "triggered": tally.triggered,
        "caught": tally.count("caught"),
        "missed": tally.count("missed"),
        "clean": len(tally.rows) - tally.triggered,
        "false_alarms": tally.count("false alarm"),
        "false_alarms_expected": None if math.isnan(expected) else expected,
        "stray_tracks": len(tally.strays),
        "alerts_published": len(result.published),
        "alerts_received": len(result.published) - len(result.lost),
    }
    return [*(_row_as_json(row) for row in tally.rows), totals]


def _row_as_json(row: Row) -> dict[str, Any]:
    verdict, passage = row.verdict, row.passage
    return {
        "event": "passage",
        "passage": passage.number,
        "start_s": passage.start_s,
        "end_s": passage.end_s,
        "trigger": None if passage.trigger is None else passage.trigger.name,
        "tracks": row.tracks,
        "verdict": None if verdict is None else verdict.verdict,
        "score": None if verdict is None else verdict.score,
        "threshold": None if verdict is None else verdict.threshold,
        "p_value": None if verdict is None else verdict.p_value,
        "outcome": row.outcome,
    }
