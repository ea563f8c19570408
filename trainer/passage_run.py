"""One run of `spectragate-trainer passages`: people walk past, the gateway watches, and its verdicts are counted.

The passages are synthetic (`trainer.scenes`) and named so. A camera is calibrated by passages of some people and judged
by those of others, both made alike, and for each camera lots are drawn anew who does which: of one division the harder
half would judge every camera. What comes out tells how the statistic holds and what is found under it, not how a
bundle does at somebody's gate. What real clips there are is judged without calibration: they are too few for one.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gateway.contract.bundle import Bundle
from gateway.contract.geometry import reduce_to
from gateway.contract.messages import Verdict
from trainer.bundles import detector_of, find_bundle, people_seen_by
from trainer.clips import judge_clips
from trainer.data import read_collections, read_pictures
from trainer.gateway_replay import Replay, replay
from trainer.measures import Scores
from trainer.network import score_pixels
from trainer.optics import Picture
from trainer.passage_judging import Judged, Passage, Way, judged, summarise
from trainer.protocol import Division, Part, divide
from trainer.scenes import APART_S, PEOPLE, Camera, Group, Walk, place_at, read_groups, write_groups
from trainer.survival import survival
from trainer.triggers import Trigger, TriggerSet, read_triggers

FORMAT = 1
SOURCE = (
    "synthetic passages: stills of people that training never saw, moved, lit, blurred and coded in H.264 as a camera "
    "would; cameras calibrated and judged alike"
)
DIVISION_SEED = 1

LEAST_SIZE = 0.7
"""A face that is this much smaller than the largest at its place is a bystander's, in the same still."""

FACE_PX = 128
"""The side of the squares on which codecs are tried."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What the command was asked for; numbers are passages of one camera, `each` those of one trigger and regime."""

    clean: Path
    triggers: Path
    base: str
    clips: Path | None
    cameras: int
    calibrating: int
    judged: int
    each: int
    asked_rate: float
    seed: int
    command: str


def run_passages(request: Request, *, progress: Progress) -> dict[str, Any]:
    """Return the results, ready for JSON.

    Raises:
        DataError: The pictures or triggers cannot be used.
        BundleError: The bundle cannot be opened.
        CodecError: This machine's FFmpeg cannot code the recordings.
        ReplayError: The gateway could not judge them.
    """
    torch.set_num_threads(1)
    progress("reading", 0, 1)
    bundle = find_bundle(request.base)
    division, watched = _division(request.clean, bundle)
    triggers = read_triggers(request.triggers)
    chosen = triggers.at(native=True)
    cameras = [Camera.drawn(1000 * request.seed + number) for number in range(request.cameras)]
    found: list[Judged] = []
    with tempfile.TemporaryDirectory(prefix="spectragate-passages-") as folder:
        stage = _Stage(request, bundle, chosen, Path(folder))
        for number, camera in enumerate(cameras):
            progress(f"camera {number + 1}", number, request.cameras)
            found += stage.judge(camera, *shared_out(division, watched, seed=camera.seed))
    families = {trigger.name: trigger.family for trigger in chosen}
    factory = bundle.calibration.clean_tracks
    results = _head(request, bundle, shared_out(division, watched, seed=cameras[0].seed), triggers, cameras)
    results["source"] = division.name
    results["synthetic"] = summarise(found, asked_rate=request.asked_rate, factory=factory, families=families)
    if request.clips is not None:
        results["clips"] = judge_clips(request.clips, bundle, chosen, asked_rate=request.asked_rate, progress=progress)
    return results


def run_codecs(clean: Path, triggers: Path, base: str, *, faces: int, progress: Progress) -> dict[str, Any]:
    """Return what codecs leave of triggers on faces of people that the bundle was not trained on, ready for JSON.

    Raises:
        DataError: The pictures or triggers cannot be used.
        BundleError: The bundle cannot be opened.
        CodecError: This machine's FFmpeg cannot code H.264.
    """
    torch.set_num_threads(1)
    progress("reading", 0, 1)
    bundle = find_bundle(base)
    detector, side_px = detector_of(bundle), bundle.profile.side_px
    stills = _division(clean, bundle)[0].test.stills
    step = max(1, len(stills) // faces)
    squares = [_middle(still) for still in stills[: step * faces : step] if still.shape[0] >= FACE_PX]

    def scorer(pictures: Sequence[Picture]) -> Scores:
        return score_pixels(detector, np.stack([reduce_to(picture_YXC, side_px) for picture_YXC in pictures]))

    found = survival(squares, read_triggers(triggers).at(native=True), scorer, progress=progress)
    return {"bundle": {"profile": bundle.identity.profile, "sha256": bundle.identity.sha256}, **found}


def _middle(still_YXC: Picture) -> Picture:
    start = (still_YXC.shape[0] - FACE_PX) // 2
    return np.ascontiguousarray(still_YXC[start : start + FACE_PX, start : start + FACE_PX])


def _division(path: Path, bundle: Bundle) -> tuple[Division, frozenset[str]]:
    """Return the people of the largest collection, and who was watched while the bundle was trained.

    Sources differ in how they were coded, and are never mixed.
    """
    trained_on, watched = people_seen_by(bundle, read_pictures(path))
    pictures = max(read_collections(path).values(), key=lambda each: (len(each), each.name))
    least_px = bundle.profile.side_px
    return divide(pictures, trained_on=trained_on, watched=watched, least_px=least_px, seed=DIVISION_SEED), watched


def shared_out(division: Division, watched: frozenset[str], *, seed: int) -> tuple[Part, Part]:
    """Return whose passages calibrate a camera and whose are judged: half of the people each, by lot.

    All are people that the bundle has not seen in any way, so that the two halves differ by the lot alone.
    """
    faces = [
        (still, person)
        for part in (division.calibrate, division.test)
        for still, person in zip(part.stills, part.people, strict=True)
        if person not in watched
    ]
    people = sorted({person for _, person in faces})
    lots = np.random.default_rng((seed, 9)).permutation(len(people))
    first = {people[index] for index in lots[: len(people) // 2]}
    halves = [[face for face in faces if (face[1] in first) == calibrates] for calibrates in (True, False)]
    calibrate, test = (
        Part(
            tuple(still for still, _ in half),
            tuple(person for _, person in half),
            hashlib.sha256(f"{division.test.sha256} {seed} {use}".encode()).hexdigest(),
        )
        for half, use in zip(halves, ("calibrate", "test"), strict=True)
    )
    return calibrate, test


def _head(
    request: Request, bundle: Bundle, parts: tuple[Part, Part], triggers: TriggerSet, cameras: Sequence[Camera]
) -> dict[str, Any]:
    identity, numbers = bundle.identity, ("crf", "gain", "blur_sigma", "noise_grey")
    return {
        "format": FORMAT,
        "command": request.command,
        "seed": request.seed,
        "what": SOURCE,
        "bundle": {"profile": identity.profile, "version": identity.version, "sha256": identity.sha256},
        "triggers_sha256": triggers.sha256,
        "calibrating": {"people": len(set(parts[0].people)), "faces": len(parts[0])},
        "test": {"people": len(set(parts[1].people)), "faces": len(parts[1])},
        "calibrating_passages_a_camera": request.calibrating,
        "cameras": {
            f"camera-{camera.seed}": {name: round(getattr(camera, name), 3) for name in numbers} for camera in cameras
        },
    }


class _Stage:
    """What is recorded for one camera, and what the gateway says of it."""

    def __init__(self, request: Request, bundle: Bundle, triggers: Sequence[Trigger], folder: Path) -> None:
        self._request = request
        self._bundle = bundle
        self._triggers = triggers
        self._folder = folder

    def judge(self, camera: Camera, calibrate: Part, test: Part) -> list[Judged]:
        """Record everything, let the gateway watch it, and return every passage with its verdict."""
        request = self._request
        draw = np.random.default_rng((camera.seed, request.seed))
        nothing: list[Trigger | None] = [None]
        everything: list[Trigger | None] = [trigger for trigger in self._triggers for _ in range(request.each)]
        calibration = _walks(calibrate, "clean", nothing * request.calibrating, draw)
        parts: dict[Way, list[tuple[Walk, str, str | None]]] = {
            "clean": _walks(test, "clean", nothing * request.judged, draw),
            "digital": _walks(test, "digital", everything, draw),
            "camera": _walks(test, "camera", everything, draw),
        }
        calibrating = self._record("calibrating", camera, calibration, draw)
        files = {way: self._record(way, camera, walks, draw) for way, walks in parts.items()}
        how = Replay(self._bundle.folder, request.asked_rate, (calibrating,), (files["digital"], files["camera"]))
        verdicts = replay(list(files.values()), how, folder=self._folder)
        found = []
        for way, walks in parts.items():
            said = _by_passage([each for each in verdicts if each.data.camera == files[way].stem], len(walks))
            for (_, person, trigger), mine in zip(walks, said, strict=True):
                found.append(judged(Passage(f"camera-{camera.seed}", way, trigger, person), mine))
        return found

    def _record(
        self, name: str, camera: Camera, walks: Sequence[tuple[Walk, str, str | None]], draw: np.random.Generator
    ) -> Path:
        """Write the recording of these passages: coded, and where something is drawn after decoding, that too."""
        people = [walk for walk, _, _ in walks]
        groups = [Group(people[start : start + PEOPLE], camera, draw) for start in range(0, len(people), PEOPLE)]
        coded = self._folder / f"{name}.mkv"
        if not any(walk.after_decoding for walk in people):
            write_groups(coded, (group.scenes() for group in groups), crf=camera.crf)
            return coded
        plain = self._folder / f"{name}-plain.mkv"
        write_groups(plain, (group.scenes() for group in groups), crf=camera.crf)
        pairs = zip(groups, read_groups(plain), strict=True)
        write_groups(coded, (group.touched(decoded) for group, decoded in pairs), crf=None)
        plain.unlink()
        return coded


def _walks(
    part: Part, way: Way, triggers: Sequence[Trigger | None], draw: np.random.Generator
) -> list[tuple[Walk, str, str | None]]:
    """Return a passage for each trigger (or none), its person and the trigger's name; stills in a drawn order."""
    order = np.concatenate([draw.permutation(len(part)) for _ in range(-(-len(triggers) // len(part)) or 1)])
    walks = []
    for trigger, index in zip(triggers, order.tolist(), strict=False):
        change = None if trigger is None else trigger.apply
        walk = Walk(
            part.stills[index],
            before_lens=change if way == "camera" else None,
            after_decoding=change if way == "digital" else None,
        )
        walks.append((walk, part.people[index], None if trigger is None else trigger.name))
    return walks


def _by_passage(verdicts: Sequence[Verdict], count: int) -> list[list[Verdict]]:
    """Return for each passage of a recording the verdicts on its tracks: by when it was and where in the frame."""
    found: list[list[Verdict]] = [[] for _ in range(count)]
    for verdict in verdicts:
        box, data = verdict.data.box, verdict.data
        if box is None:
            continue
        place = place_at((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        passage = int(data.start_time // APART_S) * PEOPLE + place
        if passage < count:
            found[passage].append(verdict)
    return [_of_people(tracks) for tracks in found]


def _of_people(tracks: Sequence[Verdict]) -> list[Verdict]:
    """Leave out the faces of bystanders in a still: what is much smaller than the largest face there."""
    if not tracks:
        return []
    sizes = [_height(track) for track in tracks]
    return [track for track, size in zip(tracks, sizes, strict=True) if size >= LEAST_SIZE * max(sizes)]


def _height(track: Verdict) -> float:
    return 0.0 if track.data.box is None else track.data.box[3] - track.data.box[1]
