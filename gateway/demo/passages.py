"""Which passages the demo shows, and when: every number of the demo stands here and was fixed before the training.

The demo shows plumbing. Its passages are drawn from one photograph, and its triggers are large, so what it catches says
nothing of how well the detector does on real people and real triggers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gateway.screening import decide

RecordingName = Literal["calibration", "gate"]
Pattern = Literal["white", "noise", "grain", "checker"]

_STREAMS: dict[RecordingName, int] = {"calibration": 0, "gate": 1}


@dataclass(frozen=True, slots=True)
class Trigger:
    """What somebody wears on the face; `size` is its width as a share of the face's, `cells` its grains a side."""

    name: str
    pattern: Pattern
    size: float
    opacity: float
    cells: int


TRIGGERS = (
    Trigger("white sticker", "white", size=0.28, opacity=1.0, cells=1),
    Trigger("noise sticker", "noise", size=0.28, opacity=1.0, cells=9),
    Trigger("fine grain", "grain", size=1.0, opacity=0.25, cells=32),
    Trigger("checker sticker", "checker", size=0.3, opacity=1.0, cells=4),
)
"""White, coloured noise on a spot, coloured noise thinly over the whole face, and bright saturated squares."""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The demo's constants. Pairs are (from, to): of the range drawn from, or over one passage.

    Faces are as wide as the face finder's box. Places are shares of the picture's sides, `sticker_places` of the face
    box's. `seed` changes who walks up and how; the camera, its wall and its light stay the same under `camera_seed`.

    39 clean tracks are exactly what a false-alarm rate of 1 in 40 needs: 25 alerts a day of 1000 tracks.
    """

    seed: int = 1
    camera_seed: int = 2024
    width_px: int = 640
    height_px: int = 360
    fps: int = 5
    calibration_passages: int = 39
    gate_passages: int = 16
    passage_frames: tuple[int, int] = (12, 16)
    gap_frames: int = 6
    alert_budget_per_day: float = 25.0
    tracks_per_day: float = 1000.0

    face_px: tuple[float, float] = (70.0, 130.0)
    face_scale: tuple[float, float] = (0.93, 1.07)
    centre_x: tuple[float, float] = (0.35, 0.65)
    centre_y: tuple[float, float] = (0.42, 0.50)
    centre_y_spread: float = 0.02
    sway_degrees: float = 3.0
    bob_px: float = 3.0
    jitter_px: float = 0.7
    jitter_degrees: float = 0.5

    exposure: tuple[float, float] = (0.85, 1.10)
    flicker: float = 0.08
    light_period_s: float = 23.0
    tint: tuple[float, float] = (0.95, 1.05)
    noise_grey: float = 2.0

    triggers: tuple[Trigger, ...] = TRIGGERS
    sticker_places: tuple[tuple[float, float], ...] = ((0.27, 0.62), (0.73, 0.62), (0.50, 0.20))
    sticker_spread: float = 0.03

    @property
    def asked_rate(self) -> float:
        """The false-alarm rate per track that the budget allows."""
        return decide.asked_rate(alert_budget_per_day=self.alert_budget_per_day, tracks_per_day=self.tracks_per_day)


@dataclass(frozen=True, slots=True)
class Passage:
    """One person walks up and leaves; `number` counts from 1, `stream` seeds everything drawn for it."""

    number: int
    stream: tuple[int, int, int]
    first_frame: int
    frames: int
    fps: int
    trigger: Trigger | None

    @property
    def start_s(self) -> float:
        """When the face is first seen, in seconds of the recording."""
        return self.first_frame / self.fps

    @property
    def end_s(self) -> float:
        """When the face is last seen."""
        return (self.first_frame + self.frames - 1) / self.fps

    @property
    def shows(self) -> str:
        """What is drawn on the face, in words."""
        return "nothing" if self.trigger is None else self.trigger.name

    def overlaps(self, start_s: float, end_s: float) -> bool:
        """Whether a track from `start_s` to `end_s` is of this passage; half a frame of slack for rounded stamps."""
        slack_s = 0.5 / self.fps
        return start_s <= self.end_s + slack_s and end_s >= self.start_s - slack_s


def plan(settings: DemoSettings, recording: RecordingName) -> tuple[Passage, ...]:
    """Return the passages of a recording in order; at the gate every second one carries a trigger, each kind in turn.

    The recording begins and ends with a gap, so that every track ends inside it.
    """
    count = settings.calibration_passages if recording == "calibration" else settings.gate_passages
    passages: list[Passage] = []
    first_frame = settings.gap_frames
    for number in range(1, count + 1):
        stream = (settings.seed, _STREAMS[recording], number)
        low, high = settings.passage_frames
        frames = int(np.random.default_rng(stream).integers(low, high + 1))
        trigger = _trigger(settings, number) if recording == "gate" else None
        passages.append(Passage(number, stream, first_frame, frames, settings.fps, trigger))
        first_frame += frames + settings.gap_frames
    return tuple(passages)


def passage_at(passages: Sequence[Passage], start_s: float, end_s: float) -> Passage | None:
    """Return the passage that a track from `start_s` to `end_s` belongs to."""
    return next((passage for passage in passages if passage.overlaps(start_s, end_s)), None)


def frame_count(settings: DemoSettings, passages: Sequence[Passage]) -> int:
    """Return how many frames the recording of these passages has."""
    return passages[-1].first_frame + passages[-1].frames + settings.gap_frames


def _trigger(settings: DemoSettings, number: int) -> Trigger | None:
    return None if number % 2 else settings.triggers[(number // 2 - 1) % len(settings.triggers)]
