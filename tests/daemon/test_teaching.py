"""Cameras that teach and cameras that do not: a recording in a loop makes nothing normal, however often it shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from fakes.daemons import running_daemon
from fakes.naming import live_frame
from fakes.passages import screening
from fakes.screening import make_bundle
from numpy.typing import NDArray

from gateway.daemon.teaching import OfTeachers, witnesses
from gateway.screening import decide
from gateway.values import Screening, TrackedFace

ONCE = "  gate: {source: {type: file, path: gate.mp4}}\n"
LOOP = "  gate: {source: {type: file, path: gate.mp4, loop: true}}\n"


SEEN = screening(0.0)
TRACK = decide.open_track(SEEN, rule=make_bundle().calibration.rule, reference=None, alert_id="a")
VERDICT = decide.finish(TRACK)[0]


@dataclass
class Witness:
    """Remembers what it was shown."""

    scored: list[tuple[list[str], list[int], list[str]]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Remember whose faces, which pictures and whose scores came together."""
        assert environment == "hall"
        cameras = [face.crop.camera for face in faces]
        self.scored.append((cameras, pixels_NYXC[:, 0, 0, 0].tolist(), [each.camera for each in screenings]))

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Remember whose track ended."""
        assert (environment, verdict.camera) == ("hall", camera)
        self.finished.append(camera)


def show(witness: OfTeachers, *cameras: str) -> None:
    """Show a batch with a face of each camera, numbered in its picture, then the end of each track."""
    crop = live_frame(0, time_s=1.0).crops[0]
    faces = [TrackedFace(1, replace(crop, camera=camera)) for camera in cameras]
    numbers_N = np.arange(len(cameras), dtype=np.uint8)
    pixels_NYXC = np.broadcast_to(numbers_N[:, None, None, None], (len(cameras), 4, 4, 3))
    witness.on_scored("hall", faces, pixels_NYXC, [replace(SEEN, camera=camera) for camera in cameras])
    for camera in cameras:
        witness.on_finished(camera, "hall", replace(VERDICT, camera=camera))


def test_only_cameras_that_teach_are_shown() -> None:
    """Face, picture and score stay together; a batch of others alone is not shown at all."""
    seen = Witness()
    (taught,) = witnesses(None, of_teachers=(seen, None), teaches=lambda camera: camera != "loop")
    assert isinstance(taught, OfTeachers)
    show(taught, "gate", "loop", "yard")
    show(taught, "loop")
    show(taught, "gate", "yard")
    both = ["gate", "yard"]
    assert seen.scored == [(both, [0, 2], both), (both, [0, 1], both)]
    assert seen.finished == [*both, *both]


def test_those_who_see_everything_come_first() -> None:
    """They are handed on as they are."""
    everything, taught = Witness(), Witness()
    first, _ = witnesses(everything, None, of_teachers=(taught,), teaches=lambda _: True)
    assert first is everything


async def test_recording_in_a_loop_is_judged_and_teaches_nothing(tmp_path: Path) -> None:
    """What a camera learnt from people who passed once stays, and rounds of the same triggers do not drown it."""
    async with running_daemon(tmp_path, f"cameras:\n{ONCE}") as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: box.daemon.environments.tracks_known("default", "gate") == 1)
        box.configure(f"cameras:\n{LOOP}")
        await box.daemon.reload()
        await box.until(lambda: box.cameras.opened["gate"] == 2)
        assert not box.daemon.teaches("gate")
        for round_ in range(1, 4):
            box.cameras.passage("gate", white=0.9, time_s=50.0 * round_)
            await box.until(lambda round_=round_: len(box.alerts.kept) == 2 * round_)
        assert box.daemon.environments.tracks_known("default", "gate") == 1
        realised = box.daemon.operating.realised("gate")
        assert realised is not None
        assert (realised.tracks, realised.alerts) == (1, 0)
    async with running_daemon(tmp_path, f"cameras:\n{LOOP}") as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        assert box.daemon.environments.tracks_known("default", "gate") == 1
