"""What `--keep` leaves behind: beside the recordings the truth, and the report that a replay writes, of this run.

It is written from what this run said, without replaying: the messages in it are those that subscribers received.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.contract import messages
from gateway.demo.passages import DemoSettings, Passage, passage_at, plan
from gateway.demo.stage import CAMERA, ENVIRONMENT, Screened
from gateway.errors import ConfigError
from gateway.replay.recordings import Recording
from gateway.replay.report import ReportFolder
from gateway.replay.results import Pass, PassResult, ReplayResult, TrackResult
from gateway.replay.run import ReplaySettings
from gateway.screening import decide
from gateway.settings import OutboxSettings
from gateway.storage.state import Storage
from gateway.storage.tables import CalibrationTable, kept_as

CALIBRATION_FILE, GATE_FILE, LABELS_FILE, REPORT_FOLDER = "calibration.mkv", "gate.mkv", "labels.csv", "report"
STATE_FOLDER = "state"
"""What a gateway knows of the camera at its start, so that one that shows the recording judges as the demo did."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the gateway said of both recordings, and what the gate was judged against."""

    reference: decide.Reference | None
    calibration: Screened
    gate: Screened


async def write_state(folder: Path, run: Run, model: messages.ModelIdentity) -> None:
    """Write what the clean passages taught as the state of a gateway with one environment.

    Raises:
        StorageError: The folder cannot be written to any more.
    """
    async with Storage.open(folder / STATE_FOLDER, settings=OutboxSettings(reserve_bytes=0)) as storage:
        table, environment = CalibrationTable(storage), kept_as(ENVIRONMENT, model.sha256)
        for verdict in run.calibration.verdicts:
            if verdict.data.score is not None:
                await table.add(verdict.data.score, camera=CAMERA, environment=environment)


def write_report(folder: Path, settings: DemoSettings, run: Run, model: messages.ModelIdentity) -> None:
    """Write the labels and the report of a run beside its recordings.

    Raises:
        ConfigError: The folder cannot be written to any more.
    """
    passages = plan(settings, "gate")
    _write_labels(folder / LABELS_FILE, passages)
    clean = Pass(Recording(folder / CALIBRATION_FILE, CAMERA), "calibration", CAMERA)
    mixed = Pass(Recording(folder / GATE_FILE, CAMERA), "recorded", CAMERA)
    result = ReplayResult(
        model=model,
        environment=ENVIRONMENT,
        asked_rate=settings.asked_rate,
        reference=run.reference,
        calibration=(_pass_result(clean, run.calibration, None),),
        passes=(_pass_result(mixed, run.gate, passages),),
    )
    replayed = ReplaySettings(
        inputs=(folder / GATE_FILE,),
        calibrate=(folder / CALIBRATION_FILE,),
        labels=folder / LABELS_FILE,
        environment=ENVIRONMENT,
        asked_rate=settings.asked_rate,
    )
    with ReportFolder(folder / REPORT_FOLDER) as report:
        for alert in run.gate.alerts:
            report.add(alert)
        for verdict in run.gate.verdicts:
            report.add(verdict)
        report.finish(result, replayed)


def _pass_result(run: Pass, screened: Screened, passages: Sequence[Passage] | None) -> PassResult:
    tracks = [_track_result(verdict.data, passages) for verdict in screened.verdicts]
    result = PassResult(run, screened.summary, tracks)
    for time_s, score in screened.scores:
        result.trace.add(time_s, score)
    return result


def _track_result(data: messages.VerdictData, passages: Sequence[Passage] | None) -> TrackResult:
    passage = None if passages is None else passage_at(passages, data.start_time, data.end_time)
    return TrackResult(
        track_id=data.track_id,
        start_s=data.start_time,
        end_s=data.end_time,
        label=data.verdict,
        reason=data.reason,
        score=data.score,
        threshold=data.threshold,
        level=data.calibration,
        is_triggered=None if passage is None else passage.trigger is not None,
    )


def _write_labels(path: Path, passages: Sequence[Passage]) -> None:
    """Write the truth as a replay reads it."""
    labels = ["clean" if passage.trigger is None else "triggered" for passage in passages]
    times = [(passage.start_s, passage.end_s) for passage in passages]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("file", "label", "start_s", "end_s"))
            rows.writerows((GATE_FILE, label, *time) for label, time in zip(labels, times, strict=True))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
