"""`score`: single pictures, one line for every face, in the order they were given.

Pictures are decoded in a child process that is started again behind a picture that crashes it: nothing is lost but that
picture. Any number of pictures streams through; what waits is bounded.
"""

import asyncio
import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from gateway.cameras.link import FaceSettings, PicturesJob, open_source
from gateway.cameras.names import PICTURE_SUFFIXES, natural_key
from gateway.choice import Choice, started_detector
from gateway.contract.bundle import Bundle
from gateway.contract.calibration import p_value, tracks_needed
from gateway.contract.messages import ModelIdentity
from gateway.errors import ConfigError, SourceError
from gateway.lane import Detector
from gateway.progress import Bar
from gateway.screening.screen import prepare
from gateway.values import FrameFaces, PictureRefused, Quality

NO_FACE = "no face found"
_CAMERA = "pictures"
_PER_WORKER = 5_000
_MOST_LOST = 20


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to look at; `file` is what the output calls it."""

    file: str
    path: Path


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """How pictures are judged: `triggered` if the p-value among clean faces is at most `false_alarm_rate`."""

    each_is_a_face: bool = False
    faces: FaceSettings = field(default_factory=FaceSettings)
    false_alarm_rate: float = 0.01
    batch_size: int = 128


@dataclass(frozen=True, slots=True)
class FaceScore:
    """One face. `score` is a number also where the verdict is `unsure`; higher is more suspicious."""

    file: str
    box: tuple[float, float, float, float]
    score: float
    p_value: float
    verdict: Literal["clean", "triggered", "unsure"]
    model: ModelIdentity

    def to_json(self) -> str:
        """Return the face as one line of JSON."""
        return json.dumps({**asdict(self), "model": self.model.model_dump()}, allow_nan=False)

    def in_words(self) -> str:
        """Return the face as a line of a table."""
        return f"{self.verdict:<9}  score {self.score:8.3f}  p {self.p_value:6.4f}  {self.file}"


@dataclass(frozen=True, slots=True)
class PictureProblem:
    """A picture without a score: it shows no face, or it cannot be used."""

    file: str
    error: str

    @property
    def is_unreadable(self) -> bool:
        """Whether the picture cannot be used, rather than showing no face."""
        return self.error != NO_FACE

    def to_json(self) -> str:
        """Return the problem as one line of JSON."""
        return json.dumps({"file": self.file, "error": self.error})

    def in_words(self) -> str:
        """Return the problem as a line of a table."""
        return f"{'error' if self.is_unreadable else 'no face':<9}  {self.error if self.is_unreadable else self.file}"


@dataclass(slots=True)
class ScoreSummary:
    """What was counted."""

    pictures: int = 0
    faces: int = 0
    triggered: int = 0
    unsure: int = 0
    without_face: int = 0
    unreadable: int = 0

    def count(self, line: FaceScore | PictureProblem) -> None:
        """Count one line of output."""
        if isinstance(line, PictureProblem):
            self.unreadable += line.is_unreadable
            self.without_face += not line.is_unreadable
            return
        self.faces += 1
        self.triggered += line.verdict == "triggered"
        self.unsure += line.verdict == "unsure"

    def in_words(self) -> str:
        """Return the counts as a sentence."""
        return (
            f"{self.pictures} pictures, {self.faces} faces: {self.triggered} triggered, {self.unsure} unsure;"
            f" {self.without_face} pictures without a face, {self.unreadable} unreadable"
        )


Deliver = Callable[[FaceScore | PictureProblem], None]
_Seen = tuple[Picture, FrameFaces | PictureRefused]


def find_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Return the pictures behind files, folders (all pictures below, sorted) and index CSVs, in that order.

    An index is a file named `.csv` with a column `file`, paths from the CSV's folder; the output repeats them as they
    stand there.

    Raises:
        SourceError: A folder holds no pictures.
        ConfigError: An index cannot be used.
    """
    return [picture for path in paths for picture in _pictures_at(path)]


def _pictures_at(path: Path) -> list[Picture]:
    if path.is_dir():
        return _pictures_in(path)
    if path.suffix.lower() == ".csv":
        return list(_pictures_of_index(path))
    return [Picture(str(path), path)]


def _pictures_in(folder: Path) -> list[Picture]:
    inside = [path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()]
    if not inside:
        raise SourceError(f"{folder}: no pictures in this folder; JPEG, PNG, BMP, WebP and TIFF files are read")
    ordered = sorted(inside, key=lambda path: [natural_key(part) for part in path.relative_to(folder).parts])
    return [Picture(str(path), path) for path in ordered]


def _pictures_of_index(path: Path) -> Iterator[Picture]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "file" not in (reader.fieldnames or ()):
                raise ConfigError(f"{path}:1: an index needs a column `file`")
            for row in reader:
                if not (row["file"] or "").strip():
                    raise ConfigError(f"{path}:{reader.line_num}: file: is empty")
                yield Picture(row["file"], path.parent / row["file"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def check_rate(bundle: Bundle, false_alarm_rate: float) -> None:
    """Refuse a rate that the bundle's clean faces cannot support.

    Raises:
        ConfigError: It says how many are missing and which rate is possible.
    """
    needed, present = tracks_needed(false_alarm_rate), len(bundle.calibration.clean_faces)
    if present < needed:
        raise ConfigError(
            f"a false-alarm rate of {false_alarm_rate:g} needs the scores of {needed} clean faces; the bundle"
            f" {bundle.folder.name} has {present}, {needed - present} are missing. The smallest rate it can hold is"
            f" {math.ceil(1e4 / (present + 1)) / 1e4:g}"
        )


async def score_command(paths: Sequence[Path], settings: ScoreSettings, choice: Choice, *, as_json: bool) -> int:
    """Print a line for every face and return the exit code: 1 if any picture could not be used.

    Raises:
        SourceError: A folder holds no pictures.
        ConfigError: An index, the rate, the bundle or the device cannot be used.
        RuntimeFault: The detector fails.
    """
    pictures = find_pictures(paths)
    async with started_detector(choice) as (bundle, inference):
        with Bar("scoring", total=len(pictures)) as bar:
            in_words = sys.stdout.isatty() and not as_json
            files: set[str] = set()

            def deliver(line: FaceScore | PictureProblem) -> None:
                bar.result(line.in_words() if in_words else line.to_json())
                files.add(line.file)
                bar.show(len(files), len(pictures))

            summary = await score(pictures, settings, bundle=bundle, detector=inference, deliver=deliver)
        sys.stderr.write(f"{inference.report.in_words()}\n{summary.in_words()}\n")
    return 1 if summary.unreadable else 0


async def score(
    pictures: Sequence[Picture], settings: ScoreSettings, *, bundle: Bundle, detector: Detector, deliver: Deliver
) -> ScoreSummary:
    """Hand a line for every face of every picture to `deliver`, in order; a problem's line for a picture without one.

    Raises:
        ConfigError: The rate is not supported, or the face model cannot be used.
        SourceError: The child process fails whatever it is given.
        RuntimeFault: The detector fails.
    """
    check_rate(bundle, settings.false_alarm_rate)
    summary = ScoreSummary(pictures=len(pictures))

    def tell(line: FaceScore | PictureProblem) -> None:
        summary.count(line)
        deliver(line)

    seen: asyncio.Queue[_Seen | None] = asyncio.Queue(maxsize=2 * settings.batch_size)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_look(pictures, settings, seen), name="look")
            await _judge(seen, settings, bundle, detector, tell)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return summary


async def _look(pictures: Sequence[Picture], settings: ScoreSettings, seen: asyncio.Queue[_Seen | None]) -> None:
    """Put what is seen in each picture into the queue, in order, then None."""
    start, lost = 0, 0
    while start < len(pictures):
        job = PicturesJob(
            _CAMERA,
            tuple(picture.path for picture in pictures[start : start + _PER_WORKER]),
            settings.faces,
            settings.each_is_a_face,
        )
        first = start
        try:
            async with open_source(job) as events:
                async for event in events:
                    if isinstance(event, FrameFaces | PictureRefused):
                        await seen.put((pictures[start], event))
                        start, lost = start + 1, 0
        except SourceError as error:
            if start == min(first + _PER_WORKER, len(pictures)):
                continue  # its last word alone is missing: nothing was lost
            lost += 1
            if lost >= _MOST_LOST and start == first:
                raise
            await seen.put((pictures[start], PictureRefused(_CAMERA, start - first, str(error))))
            start += 1
    await seen.put(None)


async def _judge(
    seen: asyncio.Queue[_Seen | None], settings: ScoreSettings, bundle: Bundle, detector: Detector, tell: Deliver
) -> None:
    """Score what is in the queue in batches and tell the lines in its order."""
    waiting: list[_Seen] = []
    faces = 0
    while (item := await seen.get()) is not None:
        waiting.append(item)
        faces += len(item[1].crops) if isinstance(item[1], FrameFaces) else 0
        if faces >= settings.batch_size or len(waiting) >= 4 * settings.batch_size:
            await _judge_batch(waiting, settings, bundle, detector, tell)
            waiting, faces = [], 0
    await _judge_batch(waiting, settings, bundle, detector, tell)


async def _judge_batch(
    waiting: Sequence[_Seen], settings: ScoreSettings, bundle: Bundle, detector: Detector, tell: Deliver
) -> None:
    crops = [crop for _, event in waiting if isinstance(event, FrameFaces) for crop in event.crops]
    pixels_NYXC, qualities = prepare(crops, bundle.profile)
    scores_N = await detector.screen(pixels_NYXC) if crops else ()
    scored = iter(zip(scores_N, qualities, strict=True))
    for picture, event in waiting:
        if isinstance(event, PictureRefused):
            tell(PictureProblem(picture.file, event.reason))
            continue
        if not event.crops:
            tell(PictureProblem(picture.file, NO_FACE))
        for crop in event.crops:
            number, quality = next(scored)
            box = (crop.box.x1, crop.box.y1, crop.box.x2, crop.box.y2)
            tell(_face_score(picture, box, float(number), quality, bundle, settings.false_alarm_rate))


def _face_score(
    picture: Picture,
    box: tuple[float, float, float, float],
    number: float,
    quality: Quality,
    bundle: Bundle,
    false_alarm_rate: float,
) -> FaceScore:
    p = p_value(number, bundle.calibration.clean_faces)
    verdict: Literal["clean", "triggered", "unsure"] = "triggered" if p <= false_alarm_rate else "clean"
    if quality is not Quality.USABLE:
        verdict = "unsure"
    return FaceScore(picture.file, box, number, p, verdict, bundle.identity)
