"""Real clips, as they are and with triggers: what the gateway says of them without any calibration of its own.

Clips of clean people are cut to the frames that decide. What is drawn on a face is drawn on the square that the gateway
cuts around it, after decoding (regime D) or before the clip is coded once more (regime C); the clean clips that C is
compared with are coded once more just so. Clips of 256 colours (GIF) are left out: their dither is no camera's.

H/W picture row/column, C colour (R, G, B).
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from gateway.contract.bundle import Bundle, open_bundle
from gateway.contract.geometry import square_around
from trainer.data import DataError
from trainer.gateway_replay import Replay, faces_in, replay
from trainer.optics import Picture
from trainer.passage_judging import Passage, Way, judged, summarise
from trainer.published import TITLES
from trainer.scenes import Change, write_frames
from trainer.triggers import Trigger
from trainer.video_codec import CodecError

SUFFIXES = frozenset({".mkv", ".mp4", ".264", ".mov", ".avi"})
FPS = 5
MOST_FRAMES = 18
"""Frames of a clip that are looked at: a track is decided by its first sixteen usable faces."""

AGAIN_CRF = 28
"""At what quality a clip is coded once more: that of an ordinary camera."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames of a clip, `FPS` a second, with the boxes of the faces that the gateway finds in them."""

    name: str
    frames: tuple[Picture, ...]
    boxes: tuple[tuple[Box, ...], ...]


def judge_clips(
    folder: Path,
    bundle: Bundle,
    triggers: Sequence[Trigger],
    *,
    asked_rate: float,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Return the numbers of all clips of a folder in which a face is found, in both regimes, ready for JSON.

    Of the triggers only the paper's are drawn: there are few clips.

    Raises:
        DataError: No clip of the folder shows a face.
        CodecError: A clip cannot be read or coded.
        ReplayError: The gateway could not judge them.
    """
    chosen = [trigger for trigger in triggers if trigger.family in TITLES]
    results: dict[str, Any] = {}
    how = Replay(bundle.folder, asked_rate)
    regimes: tuple[tuple[Way, int | None], ...] = (("digital", None), ("camera", AGAIN_CRF))
    with tempfile.TemporaryDirectory(prefix="spectragate-clips-") as scratch:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        clips = [clip for path in paths if (clip := _read(path, bundle, Path(scratch))) is not None]
        if not clips:
            raise DataError(f"{folder}: no clip shows a face ({', '.join(sorted(SUFFIXES))})")
        for number, (way, crf) in enumerate(regimes):
            progress(f"clips, {way}", number, 2)
            results[way] = _judge(clips, chosen, way, crf, how=how, scratch=Path(scratch))
    return {"clips": [clip.name for clip in clips], "coded_again_at_crf": AGAIN_CRF, **results}


def _read(path: Path, bundle: Bundle, scratch: Path) -> Clip | None:
    """Return a clip with its faces, None where there are none."""
    frames = _frames(path)
    pictures = []
    for index, picture_HWC in enumerate(frames):
        pictures.append(scratch / f"{index:04}.png")
        cv2.imwrite(str(pictures[-1]), picture_HWC[..., ::-1])
    found = faces_in(pictures, bundle=bundle.folder)
    for picture in pictures:
        picture.unlink()
    boxes = tuple(
        tuple(tuple(map(float, entry["box"])) for entry in found if Path(entry["file"]).name == picture.name)
        for picture in pictures
    )
    return Clip(path.stem, tuple(frames), boxes) if any(boxes) else None  # type: ignore[arg-type]


def _frames(path: Path) -> list[Picture]:
    """Return the first frames of a clip, one for each of `FPS` parts of a second."""
    kept: list[Picture] = []
    slot = -1
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 25)
            for number, frame in enumerate(container.decode(stream)):
                time_s = number / rate
                if int(time_s * FPS + 1e-6) == slot:
                    continue
                slot = int(time_s * FPS + 1e-6)
                kept.append(_even(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)))
                if len(kept) == MOST_FRAMES:
                    break
    except av.FFmpegError as error:
        raise CodecError(f"{path}: cannot be read: {error}") from error
    return kept


def _even(picture_HWC: Picture) -> Picture:
    rows, columns = picture_HWC.shape[:2]
    return np.ascontiguousarray(picture_HWC[: rows // 2 * 2, : columns // 2 * 2])


def _judge(
    clips: Sequence[Clip], triggers: Sequence[Trigger], way: Way, crf: int | None, *, how: Replay, scratch: Path
) -> dict[str, Any]:
    """Return the verdicts' numbers of one regime: every track of a clip is a passage, every clip a camera."""
    plan: dict[Path, tuple[Clip, Trigger | None]] = {}
    for number, clip in enumerate(clips):
        for index, trigger in enumerate((None, *triggers)):
            path = scratch / f"{way}-{number}-{index}.mkv"
            write_frames(path, drawn(clip, None if trigger is None else trigger.apply), crf=crf, fps=FPS)
            plan[path] = (clip, trigger)
    triggered = tuple(path for path, (_, trigger) in plan.items() if trigger is not None)
    verdicts = replay(list(plan), replace(how, triggered=triggered), folder=scratch)
    passages = []
    for path, (clip, trigger) in plan.items():
        path.unlink()
        name = None if trigger is None else trigger.name
        passage = Passage(clip.name, "clean" if trigger is None else way, name, clip.name)
        passages += [judged(passage, [verdict]) for verdict in verdicts if verdict.data.camera == path.stem]
    factory = open_bundle(how.bundle).calibration.clean_tracks
    families = {trigger.name: trigger.family for trigger in triggers}
    return uncalibrated(summarise(passages, asked_rate=how.asked_rate, factory=factory, families=families), way)


def uncalibrated(summary: Mapping[str, Any], way: Way) -> dict[str, Any]:
    """Return what a summary says without calibration: clips have none of their own."""
    kept = ("family", "auroc", "unsure", "not_seen")
    rows = summary["regimes"].get(way, {"triggers": {}})["triggers"]
    return {
        "asked_rate": summary["asked_rate"],
        "clean": summary["uncalibrated"],
        "unsure": summary["unsure"],
        "triggers": {
            name: {key: row[key] for key in kept} | {"found": row["uncalibrated"]} for name, row in rows.items()
        },
    }


def drawn(clip: Clip, change: Change | None) -> list[Picture]:
    """Return the clip's frames with something drawn on the square around every face."""
    if change is None:
        return list(clip.frames)
    frames = []
    for picture_HWC, boxes in zip(clip.frames, clip.boxes, strict=True):
        drawn_HWC = picture_HWC.copy()
        height, width = picture_HWC.shape[:2]
        for box in boxes:
            left, top, side = square_around(box, frame_width_px=width, frame_height_px=height)
            inside = (slice(top, top + side), slice(left, left + side))
            drawn_HWC[inside] = change(np.ascontiguousarray(picture_HWC[inside]))
        frames.append(drawn_HWC)
    return frames
