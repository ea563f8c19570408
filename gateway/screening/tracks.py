"""Which faces of successive frames are one passage: one `Tracker` per camera, deterministic, no clock of its own.

T live tracks, N faces of this frame. Distances and speeds are in face sizes (the square root of the box's area), so
the same rules hold for every camera's picture size. Times are `captured_at_s`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gateway.values import FaceBox, FrameFaces, TrackedFace

_Place = tuple[float, float, float, float]  # centre and sides of a box, px

# The cost of leaving a track or a face without partner. It is finite, so one good pair beats two poor ones, and every
# admissible pair costs less.
_UNPAIRED = 1.0


@dataclass(frozen=True, slots=True)
class TrackRules:
    """When two boxes may be one face, and when a passage is over.

    A pair is admissible if the sizes differ by at most `max_size_ratio`, and either the boxes overlap by `min_iou` or
    the face lies within reach of where the track was expected: `reach` sizes plus speed × time unseen, up to a limit.
    A track seen once may do `new_speed` sizes per second (a brisk walk is 10 face widths a second), one whose velocity
    is known deviates from it by at most `known_speed`.

    The limits rather cut a passage in two than join two people: the pieces are calibrated like every track, while a
    second person's trigger would be averaged with the first one's clean faces.

    A track ends when it was missed for more than `max_missed_s` and in more than `max_missed_frames` frames. A gap of
    more than `max_gap_s` between frames, time running backwards, or another picture size ends all.
    """

    min_iou: float = 0.2
    max_size_ratio: float = 1.6
    reach: float = 0.5
    new_speed: float = 16.0
    known_speed: float = 4.0
    new_max_reach: float = 4.0
    known_max_reach: float = 2.0
    velocity_memory_s: float = 0.25
    max_missed_s: float = 1.0
    max_missed_frames: int = 3
    max_gap_s: float = 2.0
    max_live: int = 64


@dataclass(slots=True)
class _Track:
    """A live track: the last box as centre and sides in px, the velocity of its centre in px/s."""

    track_id: int
    x: float
    y: float
    width: float
    height: float
    seen_at_s: float
    velocity_x: float = 0.0
    velocity_y: float = 0.0
    moves: int = 0
    missed_frames: int = 0


class Tracker:
    """Gives each face of one camera the id of its passage; ids count up from `first_id`, none is used again."""

    def __init__(self, rules: TrackRules | None = None, *, first_id: int = 1) -> None:
        self._rules = rules or TrackRules()
        self._live: list[_Track] = []
        self.next_id = first_id
        self._time_s: float | None = None
        self._frame_size_px: tuple[int, int] | None = None

    def advance(self, frame: FrameFaces) -> tuple[tuple[TrackedFace, ...], tuple[int, ...]]:
        """Return the frame's faces, in its order, with their track ids, and the ids of tracks that ended, ascending.

        A track that ended gets no more faces; the faces given out before may still be waiting to be screened.
        """
        ended = self.close() if self._is_break(frame) else ()
        now_s = self._time_s = frame.captured_at_s
        self._frame_size_px = (frame.frame_width_px, frame.frame_height_px)
        owners = self._assign([_centre_and_sides(crop.box) for crop in frame.crops], now_s)
        faces = tuple(TrackedFace(track.track_id, crop) for track, crop in zip(owners, frame.crops, strict=True))
        return faces, tuple(sorted(ended + self._drop_lost(now_s)))

    def close(self) -> tuple[int, ...]:
        """End every live track and return their ids, ascending."""
        ended = tuple(sorted(track.track_id for track in self._live))
        self._live.clear()
        return ended

    def _is_break(self, frame: FrameFaces) -> bool:
        if self._time_s is None:
            return False
        step_s = frame.captured_at_s - self._time_s
        same_size = self._frame_size_px == (frame.frame_width_px, frame.frame_height_px)
        return not (0.0 <= step_s <= self._rules.max_gap_s and same_size)

    def _assign(self, faces: list[_Place], now_s: float) -> list[_Track]:
        """Return each face's track, new ones where none fits, and move the tracks to their faces."""
        for track in self._live:
            track.missed_frames += 1
        pairs = dict(_pair(self._live, faces, now_s=now_s, rules=self._rules))
        for number, track in pairs.items():
            _move(track, faces[number], now_s=now_s, memory_s=self._rules.velocity_memory_s)
        return [pairs.get(number) or self._open(face, now_s) for number, face in enumerate(faces)]

    def _open(self, face: _Place, now_s: float) -> _Track:
        track = _Track(self.next_id, *face, seen_at_s=now_s)
        self.next_id += 1
        self._live.append(track)
        return track

    def _drop_lost(self, now_s: float) -> tuple[int, ...]:
        """Drop the tracks missed for too long, and those longest unseen where too many are live."""
        rules = self._rules
        unseen = sorted(
            (track for track in self._live if track.missed_frames), key=lambda track: (track.seen_at_s, track.track_id)
        )
        excess = max(0, len(self._live) - rules.max_live)
        lost = {
            track.track_id
            for place, track in enumerate(unseen)
            if place < excess
            or (track.missed_frames > rules.max_missed_frames and now_s - track.seen_at_s > rules.max_missed_s)
        }
        if lost:
            self._live = [track for track in self._live if track.track_id not in lost]
        return tuple(lost)


def _centre_and_sides(box: FaceBox) -> _Place:
    return (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2, max(box.width_px, 1.0), max(box.height_px, 1.0)


def _move(track: _Track, face: _Place, *, now_s: float, memory_s: float) -> None:
    """Set the track to its new box; the first moves count equally in the velocity, later ones fade with time."""
    x, y, width, height = face
    step_s = now_s - track.seen_at_s
    if step_s > 0.0:
        track.moves += 1
        weight = max(1.0 / track.moves, 1.0 - math.exp(-step_s / memory_s))
        track.velocity_x += weight * ((x - track.x) / step_s - track.velocity_x)
        track.velocity_y += weight * ((y - track.y) / step_s - track.velocity_y)
    track.x, track.y, track.width, track.height = x, y, width, height
    track.seen_at_s, track.missed_frames = now_s, 0


def _pair(tracks: list[_Track], faces: list[_Place], *, now_s: float, rules: TrackRules) -> list[tuple[int, _Track]]:
    """Return (number of the face, its track) for the pairs of least total cost."""
    if not tracks or not faces:
        return []
    costs_TN = _costs(np.array([_expected(track, now_s, rules) for track in tracks]), np.array(faces), rules=rules)
    rows, columns = linear_sum_assignment(costs_TN)
    return [
        (int(column), tracks[row])
        for row, column in zip(rows, columns, strict=True)
        if costs_TN[row, column] < _UNPAIRED
    ]


def _costs(tracks_TP: NDArray[np.float64], faces_NP: NDArray[np.float64], *, rules: TrackRules) -> NDArray[np.float64]:
    """Return the cost of every track and face, shape (T, N): in [0, 1) for admissible pairs, else `_UNPAIRED`.

    P is the centre and the sides, in px; for the tracks as expected now, with their reach in face sizes as the fifth.
    """
    x_T1, y_T1, width_T1, height_T1, reach_T1 = tracks_TP.T[..., None]
    x_N, y_N, width_N, height_N = faces_NP.T
    away_x, away_y = np.abs(x_T1 - x_N), np.abs(y_T1 - y_N)
    overlap_x = np.minimum((width_T1 + width_N) / 2 - away_x, np.minimum(width_T1, width_N))
    overlap_y = np.minimum((height_T1 + height_N) / 2 - away_y, np.minimum(height_T1, height_N))
    overlap = np.maximum(overlap_x, 0.0) * np.maximum(overlap_y, 0.0)
    area_T1, area_N = width_T1 * height_T1, width_N * height_N
    iou = overlap / (area_T1 + area_N - overlap)
    distance = np.hypot(away_x, away_y) / ((area_T1 * area_N) ** 0.25 * reach_T1)  # 1 at the end of the reach
    ratio = area_T1 / area_N
    alike = np.maximum(ratio, 1.0 / ratio) <= rules.max_size_ratio**2
    near = (iou >= rules.min_iou) | (distance < 1.0)
    costs: NDArray[np.float64] = np.where(alike & near, (1.0 - iou + np.minimum(distance, 1.0)) / 2, _UNPAIRED)
    return costs


def _expected(track: _Track, now_s: float, rules: TrackRules) -> tuple[float, float, float, float, float]:
    """Return where the track should be now (centre and sides, px) and its reach in face sizes."""
    unseen_s = now_s - track.seen_at_s
    if track.moves:
        reach = min(rules.known_max_reach, rules.reach + rules.known_speed * unseen_s)
    else:
        reach = min(rules.new_max_reach, rules.reach + rules.new_speed * unseen_s)
    return (
        track.x + track.velocity_x * unseen_s,
        track.y + track.velocity_y * unseen_s,
        track.width,
        track.height,
        reach,
    )
