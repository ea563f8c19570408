"""What `--keep` leaves: the labels that a replay reads, and its report of this very run."""

import json
from collections import Counter
from pathlib import Path

import pytest
from fakes.demo import MODEL, SMALL, alert_of, reference, verdict_of

from gateway.contract import messages
from gateway.demo.passages import plan
from gateway.demo.report import GATE_FILE, LABELS_FILE, REPORT_FOLDER, Run, write_report
from gateway.demo.stage import CAMERA, Screened
from gateway.errors import ConfigError
from gateway.lane import SourceSummary
from gateway.replay.labels import read_labels

PASSAGES = plan(SMALL, "gate")


def run_of(*labels: str) -> Run:
    """Return a run whose tracks at the gate got these labels."""
    verdicts = [
        messages.Verdict.of(
            verdict_of(passage, label, track_id=passage.number),
            event_id=f"run-{passage.number}-0",
            source="spectragate/demo",
        )
        for passage, label in zip(PASSAGES, labels, strict=True)
    ]
    summary = SourceSummary(CAMERA, frames=30, faces=11, tracks=2, verdicts=Counter(labels))
    gate = Screened(summary, [alert_of(PASSAGES[1])], verdicts, [(1.2, -0.5), (1.4, 0.5)])
    return Run(reference(0.1, 0.2, 0.3), Screened(), gate)


def test_report_holds_what_the_run_said(tmp_path: Path) -> None:
    """The numbers are those of the demo's own table, the messages are those that were published."""
    run = run_of("clean", "triggered")
    write_report(tmp_path, SMALL, run, MODEL)
    report = tmp_path / REPORT_FOLDER
    numbers = json.loads((report / "metrics.json").read_text())
    assert [row["file"] for row in numbers["recordings"]] == ["calibration.mkv", "gate.mkv"]
    assert numbers["promise"]["attainable_rate"] == 0.25
    assert (numbers["metrics"]["bdr"]["value"], numbers["metrics"]["fpr"]["value"]) == (1.0, 0.0)
    assert (report / "alerts.jsonl").read_bytes() == messages.to_bytes(run.gate.alerts[0]) + b"\n"
    assert len((report / "verdicts.jsonl").read_text().splitlines()) == 2
    page = (report / "index.html").read_text()
    assert "gate.mkv" in page
    assert str(tmp_path) not in page


def test_labels_are_what_a_replay_reads(tmp_path: Path) -> None:
    """The kept recording can be measured again by `replay --labels`."""
    write_report(tmp_path, SMALL, run_of("clean", "clean"), MODEL)
    recording = tmp_path / GATE_FILE
    truth = read_labels(tmp_path / LABELS_FILE, [recording])[recording]
    assert [truth.is_triggered(passage.start_s, passage.end_s) for passage in PASSAGES] == [False, True]


def test_folder_that_has_gone_is_named(tmp_path: Path) -> None:
    """A folder that somebody removed meanwhile is told as such."""
    with pytest.raises(ConfigError, match=r"absent/labels\.csv: cannot be written"):
        write_report(tmp_path / "absent", SMALL, run_of("clean", "clean"), MODEL)
