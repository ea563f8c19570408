"""What the operator knows about recordings: a CSV of which are triggered, whole or for a time.

Columns `file,label` and, if wanted, `start_s,end_s` (seconds since the recording's start). `label` is `clean` or
`triggered`. A row without times speaks of the whole recording. Where rows have times, the time no row names is clean.
A track is triggered when at least half of its duration lies in triggered time; one seen in a single frame, when that
frame does. A recording without a row has no truth and stays out of the metrics.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gateway.errors import ConfigError

_COLUMNS = ("file", "label", "start_s", "end_s")
_LABELS = ("clean", "triggered")
LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Interval:
    """A time within a recording, in seconds since its start; `line` is where the CSV says so."""

    start_s: float
    end_s: float
    is_triggered: bool
    line: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one recording."""

    intervals: tuple[Interval, ...]

    def is_triggered(self, start_s: float, end_s: float) -> bool:
        """Return whether a track from `start_s` to `end_s` (seconds since the recording's start) is triggered."""
        triggered = [interval for interval in self.intervals if interval.is_triggered]
        if end_s <= start_s:
            return any(interval.start_s <= start_s <= interval.end_s for interval in triggered)
        covered_s = sum(max(0.0, min(end_s, part.end_s) - max(start_s, part.start_s)) for part in triggered)
        # The margin forgives rounding of times that were meant to be exactly half.
        return covered_s > 0.0 and covered_s >= LEAST_SHARE * (end_s - start_s) - 1e-9


WHOLLY_CLEAN = Truth(())
WHOLLY_TRIGGERED = Truth((Interval(0.0, math.inf, is_triggered=True, line=0),))


def read_labels(path: Path, recordings: Sequence[Path]) -> dict[Path, Truth]:
    """Return what the CSV says of each of these recordings; those it does not name are absent.

    A `file` names a recording by its path (from the CSV's folder or the current one) or, where that is unambiguous, by
    its name alone.

    Raises:
        ConfigError: The file cannot be read, or anything in it is wrong; one line per mistake.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(file, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    mistakes: list[str] = []
    found: dict[Path, list[Interval]] = {}
    for line, row in rows:
        try:
            recording = _recording_of(row, path.parent, recordings)
            interval = _interval_of(row, line)
            _check_overlap(interval, found.setdefault(recording, []))
            found[recording].append(interval)
        except ValueError as error:
            mistakes.append(f"{path}:{line}: {error}")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return {recording: Truth(tuple(intervals)) for recording, intervals in found.items()}


def _rows(file: TextIO, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the cells of every row that is not empty."""
    reader = csv.reader(file, strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    if header[:2] != list(_COLUMNS[:2]) or header not in (list(_COLUMNS), list(_COLUMNS[:2])):
        raise ConfigError(f"{path}:1: the first line must be {','.join(_COLUMNS)} or {','.join(_COLUMNS[:2])}")
    for cells in reader:
        if any(cell.strip() for cell in cells):
            padded = [*(cell.strip() for cell in cells), "", "", "", ""]
            if any(padded[len(header) :]):
                raise ConfigError(f"{path}:{reader.line_num}: more cells than the first line names")
            yield reader.line_num, dict(zip(_COLUMNS, padded, strict=False))


def _recording_of(row: dict[str, str], folder: Path, recordings: Sequence[Path]) -> Path:
    wanted = row["file"]
    if not wanted:
        raise ValueError("file is empty")
    places = {(folder / wanted).resolve(), Path(wanted).resolve()}
    matches = [path for path in recordings if path.resolve() in places]
    matches = matches or [path for path in recordings if path.name == wanted]
    if not matches:
        raise ValueError(f"file: {wanted} is none of the recordings that are replayed")
    if len(matches) > 1:
        raise ValueError(f"file: {wanted} names {len(matches)} of the recordings; write its path")
    return matches[0]


def _interval_of(row: dict[str, str], line: int) -> Interval:
    if row["label"] not in _LABELS:
        raise ValueError(f"label: {row['label'] or 'empty'}: must be clean or triggered")
    start_s, end_s = _seconds(row, "start_s", missing=0.0), _seconds(row, "end_s", missing=math.inf)
    if not 0.0 <= start_s < end_s:
        raise ValueError(f"start_s must lie before end_s and not before 0, not {start_s:g} and {end_s:g}")
    return Interval(start_s, end_s, is_triggered=row["label"] == "triggered", line=line)


def _seconds(row: dict[str, str], column: str, *, missing: float) -> float:
    text = row[column]
    if not text:
        return missing
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{column}: {text}: must be a number of seconds") from None
    if not math.isfinite(seconds):
        raise ValueError(f"{column}: {text}: must be a finite number of seconds")
    return seconds


def _check_overlap(interval: Interval, others: Sequence[Interval]) -> None:
    for other in others:
        if interval.start_s < other.end_s and other.start_s < interval.end_s:
            raise ValueError(f"overlaps line {other.line}; every moment of a recording has one label")
