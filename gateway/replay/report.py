"""The report of a replay: a folder with one page, the messages as JSON lines, and the numbers as JSON.

Nothing in it depends on the machine or the time of day, and no pixel of a face is in it. The page needs nothing else:
no script, no network.
"""

import json
import os
import shutil
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jinja2

from gateway.contract import messages
from gateway.errors import ConfigError
from gateway.replay.charts import Chart, histogram, roc_chart, split_by_truth, timeline
from gateway.replay.metrics import Estimate, Metrics, measure, measure_by_recording, scores_of
from gateway.replay.results import PassResult, ReplayResult
from gateway.replay.run import ReplaySettings

PAGE, ALERTS, VERDICTS, METRICS = "index.html", "alerts.jsonl", "verdicts.jsonl", "metrics.json"
_FILES = frozenset({PAGE, ALERTS, VERDICTS, METRICS})
_MOST_TIMELINES = 60


class ReportFolder:
    """A report in the making, as a context manager: it appears under its name when it is whole, or not at all.

    An older report of the same name is replaced.

    Raises:
        ConfigError: On entering: the folder holds other things, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._partial = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.partial")

    def __enter__(self) -> Self:
        """Begin."""
        try:
            if self._folder.exists() and not _is_report(self._folder):
                raise ConfigError(f"{self._folder}: holds other things than a report; name another folder")
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir()
            self._alerts = (self._partial / ALERTS).open("wb")
            self._verdicts = (self._partial / VERDICTS).open("wb")
        except OSError as error:
            raise ConfigError(f"{self._folder}: a report cannot be written here: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Throw away what was not finished."""
        self._alerts.close()
        self._verdicts.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, message: messages.Alert | messages.Verdict) -> None:
        """Append a message to its file."""
        file = self._alerts if isinstance(message, messages.Alert) else self._verdicts
        file.write(messages.to_bytes(message) + b"\n")

    def finish(self, result: ReplayResult, settings: ReplaySettings) -> None:
        """Write the numbers and the page, and put the report in its place."""
        self._alerts.close()
        self._verdicts.close()
        numbers = json.dumps(numbers_of(result, settings), indent=2, ensure_ascii=False, allow_nan=False)
        (self._partial / METRICS).write_text(numbers + "\n", encoding="utf-8")
        (self._partial / PAGE).write_text(page_of(result, settings), encoding="utf-8")
        older = self._partial.with_suffix(".older")
        if self._folder.exists():
            self._folder.rename(older)
        self._partial.rename(self._folder)
        shutil.rmtree(older, ignore_errors=True)


def _is_report(folder: Path) -> bool:
    return folder.is_dir() and {entry.name for entry in folder.iterdir()} <= _FILES


def numbers_of(result: ReplayResult, settings: ReplaySettings) -> dict[str, Any]:
    """Return everything that was counted and measured, ready for JSON."""
    judged = result.judged
    return {
        "model": result.model.model_dump(mode="json"),
        "environment": result.environment,
        "promise": _promise(result),
        "settings": _settings(settings),
        "recordings": [_counts(done) for done in (*result.calibration, *result.passes)],
        "failures": result.failures,
        "metrics": asdict(measure(judged)) if judged else None,
        "metrics_by_recording": {name: asdict(each) for name, each in measure_by_recording(judged).items()},
    }


def _promise(result: ReplayResult) -> dict[str, Any]:
    reference = result.reference
    if reference is None:
        return {"calibration": None, "asked_rate": result.asked_rate, "attainable_rate": None, "threshold": None}
    return {
        "calibration": reference.level,
        "asked_rate": result.asked_rate,
        "attainable_rate": reference.false_alarm_rate,
        "tracks_missing": reference.tracks_missing,
        "clean_tracks": len(reference.ordered_clean),
        "threshold": reference.threshold,
    }


def _settings(settings: ReplaySettings) -> dict[str, Any]:
    inject = settings.inject
    return {
        "fps": settings.fps,
        "min_face_px": settings.faces.min_face_px,
        "min_confidence": settings.faces.min_confidence,
        "face_model": settings.faces.model.name if settings.faces.model else "CenterFace",
        "labels": settings.labels.name if settings.labels else None,
        "inject": None if inject is None else {**asdict(inject), "trigger": inject.trigger.name},
    }


def _counts(done: PassResult) -> dict[str, Any]:
    summary = done.summary
    return {
        "file": done.run.recording.path.name,
        "camera": done.run.camera,
        "pass": done.run.kind,
        "frames_looked_at": summary.frames,
        "frames_skipped": summary.ended.frames_skipped if summary.ended else None,
        "frames_damaged": summary.ended.frames_damaged if summary.ended else None,
        "faces": summary.faces,
        "faces_dropped": summary.faces_dropped,
        "faces_unusable": summary.faces_unusable,
        "tracks": summary.tracks,
        "clean": summary.verdicts["clean"],
        "triggered": summary.verdicts["triggered"],
        "unsure_quality": summary.unsure["quality"],
        "unsure_calibration": summary.unsure["calibration"],
        "failure": _without_folder(summary.failure, done),
    }


def _without_folder(line: str | None, done: PassResult) -> str | None:
    """Name the file alone: a report travels, and the machine's folders are nobody's business."""
    return None if line is None else line.replace(str(done.run.recording.path), done.run.recording.path.name)


def page_of(result: ReplayResult, settings: ReplaySettings) -> str:
    """Return the page: HTML that stands alone."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "share": _share,
        "words": Estimate.in_words,
        "interval": Estimate.interval_in_words,
        "number": _number,
    }
    template = environment.from_string((files("gateway.replay") / "report.html.j2").read_text(encoding="utf-8"))
    judged = result.judged
    counts = [_counts(done) for done in (*result.calibration, *result.passes)]
    return template.render(
        result=result,
        settings=_settings(settings),
        promise=_promise(result),
        counts=counts,
        failures=list(dict.fromkeys(row["failure"] for row in counts if row["failure"])),
        metrics=measure(judged) if judged else None,
        by_recording=_by_recording(result),
        charts=_charts(result),
        timelines=_timelines(result)[:_MOST_TIMELINES],
        timelines_left_out=max(0, len(_timelines(result)) - _MOST_TIMELINES),
    )


def _by_recording(result: ReplayResult) -> list[tuple[str, Metrics]]:
    files_by_camera = {done.run.recording.camera: done.run.recording.path.name for done in result.passes}
    return [(files_by_camera[camera], each) for camera, each in measure_by_recording(result.judged).items()]


def _charts(result: ReplayResult) -> list[Chart]:
    judged = result.judged
    clean, triggered = (scores_of(t for t in judged if t.is_triggered is truth) for truth in (False, True))
    threshold = result.reference.threshold if result.reference else None
    drawn = (
        roc_chart(clean, triggered, measure(judged)),
        histogram(split_by_truth(result.passes), threshold),
    )
    return [chart for chart in drawn if chart is not None]


def _timelines(result: ReplayResult) -> list[Chart]:
    """Return one chart per recording that showed a face, in the order of the replay."""
    by_recording: dict[str, list[PassResult]] = {}
    for done in result.passes:
        by_recording.setdefault(done.run.recording.camera, []).append(done)
    drawn = (timeline(passes[0].run.recording.path.name, passes) for passes in by_recording.values())
    return [chart for chart in drawn if chart is not None]


def _share(value: float | None) -> str:
    """Return a small rate in percent, with as many digits as it needs."""
    return "none" if value is None else f"{100 * value:.3g} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
