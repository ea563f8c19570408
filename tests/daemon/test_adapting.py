"""Drift in service: from faces to a retained word with its cause, through a restart, and anew under other weights."""

from pathlib import Path

import numpy as np
import pytest
from fakes.adaptation import faces
from fakes.daemons import Box, running_daemon
from fakes.live import FakeShown
from fakes.naming import live_frame
from numpy.typing import NDArray
from structlog.testing import capture_logs

from gateway.adaptation.drift import REFERENCE
from gateway.contract import messages
from gateway.contract.topics import Topics
from gateway.daemon.adapting import FACES_OF_A_TRACK, MAX_WAITING, Adapting
from gateway.screening import decide
from gateway.values import Quality, Screening, TrackedFace

TOPIC = "spectragate/environments/hall/drift/state"
GATE = "cameras:\n  gate: {source: {type: file, path: gate.mp4}}\n"


def model(digit: str = "1") -> messages.ModelIdentity:
    """Return weights."""
    return messages.ModelIdentity(version=1, sha256=digit * 64, profile="paper")


class Kept:
    """What is on the disk."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {"other": "fact"}

    async def set(self, name: str, value: str | None) -> None:
        """Keep a fact."""
        if value is None:
            self.facts.pop(name, None)
        else:
            self.facts[name] = value

    async def all(self) -> dict[str, str]:
        """Return every fact."""
        return dict(self.facts)


class Hall:
    """A camera that is watched, and what is said of it."""

    def __init__(self, kept: Kept, weights: messages.ModelIdentity | None = None) -> None:
        self.shown = FakeShown()
        self.kept = kept
        self.weights: messages.ModelIdentity | None = weights or model()
        self.adapting = Adapting(self.shown, Topics("spectragate"), kept, model_of=lambda _: self.weights)
        self.tracks = 0

    async def begin(self) -> None:
        """Take up what is kept, for one camera."""
        await self.adapting.load()
        await self.adapting.know({"gate": "hall"})

    def track(
        self,
        pixels_YXC: NDArray[np.uint8],
        *,
        quality: Quality = Quality.USABLE,
        count: int = 1,
        is_over: bool = True,
    ) -> None:
        """Let a person pass."""
        self.tracks += 1
        crop = live_frame(0, time_s=60.0 * self.tracks).crops[0]
        face = TrackedFace(self.tracks, crop)
        seen = Screening("gate", self.tracks, 0, crop.captured_at_s, crop.box, 0.5, quality)
        for _ in range(count):
            self.adapting.on_scored("hall", [face], pixels_YXC[None], [seen])
        if is_over:
            self.end()

    def end(self) -> None:
        """Let the newest person be gone."""
        crop = live_frame(0, time_s=60.0 * self.tracks).crops[0]
        seen = Screening("gate", self.tracks, 0, crop.captured_at_s, crop.box, 0.5, Quality.USABLE)
        verdict = decide.Verdict(
            "gate", self.tracks, "clean", None, None, 0.0, 60.0 * self.tracks, seen, 1, 1, 0.5, None, None, None
        )
        self.adapting.on_finished("gate", "hall", verdict)

    async def tracks_of(self, pixels_NYXC: NDArray[np.uint8]) -> None:
        """Let people pass, each once, until all are measured."""
        for pixels_YXC in pixels_NYXC:
            self.track(pixels_YXC)
            await self.adapting.settle()

    @property
    def word(self) -> messages.DriftState:
        """What is said now."""
        said = messages.parse(self.shown.topics[TOPIC])
        assert isinstance(said, messages.DriftState)
        return said


async def test_passage_that_ends_when_other_weights_have_taken_over_is_no_sample_of_theirs() -> None:
    """Its score is of the weights before; the reference of the new ones holds none of it."""
    hall = Hall(Kept())
    await hall.begin()
    hall.track(faces(1, seed=1)[0], is_over=False)
    hall.weights = model("2")
    hall.end()
    await hall.adapting.settle()
    assert TOPIC not in hall.shown.topics
    hall.track(faces(1, seed=2)[0])
    await hall.adapting.settle()
    assert hall.word.cameras[0].tracks == 1


async def test_drift_is_said_with_its_cause_and_outlives_a_restart() -> None:
    """Learnt, steady, dark: state, statistic and threshold, the cause in words; after a restart the word stands."""
    hall = Hall(Kept())
    await hall.begin()
    assert TOPIC not in hall.shown.topics
    with capture_logs() as logs:
        await hall.tracks_of(faces(REFERENCE + 100, seed=1))
        assert (hall.word.state, hall.word.cameras[0].reference_tracks) == ("steady", REFERENCE)
        await hall.tracks_of(faces(100, seed=2, light=0.6))
    (camera,) = hall.word.cameras
    assert (hall.word.state, camera.state, camera.camera) == ("drifted", "drifted", "gate")
    assert camera.statistic is not None
    assert camera.threshold is not None
    assert camera.statistic > camera.threshold
    assert "darker (brightness" in camera.words
    assert [log["state"] for log in logs if log["event"] == "drift"] == ["steady", "drifted"]
    await hall.adapting.flush()

    again = Hall(hall.kept)
    await again.begin()
    assert again.word == hall.word
    again.tracks = hall.tracks
    await again.tracks_of(faces(20, seed=3, light=0.6))
    assert again.word.cameras[0].tracks == camera.tracks + 20
    assert again.word.cameras[0].since == camera.since
    assert hall.kept.facts["other"] == "fact"


async def test_learning_begins_again_under_other_weights() -> None:
    """What was the usual for the old ones is not what the new ones were made for."""
    hall = Hall(Kept())
    await hall.begin()
    await hall.tracks_of(faces(20, seed=1))
    hall.weights = model("2")
    await hall.tracks_of(faces(10, seed=1))
    assert (hall.word.model, hall.word.cameras[0].tracks) == (model("2"), 10)


async def test_camera_that_is_gone_is_forgotten() -> None:
    """Its word is taken back and nothing of it stays on the disk."""
    hall = Hall(Kept())
    await hall.begin()
    await hall.tracks_of(faces(10, seed=1))
    assert "drift:gate" in hall.kept.facts
    await hall.adapting.know({})
    assert TOPIC not in hall.shown.topics
    assert list(hall.kept.facts) == ["other"]


@pytest.mark.parametrize("damaged", ["{", "{}", '{"watch": "{}"}', "[]"])
async def test_damaged_memory_is_no_reason_not_to_start(damaged: str) -> None:
    """It is said in the log, and the camera learns again."""
    kept = Kept()
    kept.facts["drift:gate"] = damaged
    hall = Hall(kept)
    with capture_logs() as logs:
        await hall.begin()
    assert [log["event"] for log in logs] == ["drift_not_taken_up"]
    await hall.tracks_of(faces(1, seed=1))
    assert hall.word.cameras[0].tracks == 1


async def test_faces_that_cannot_be_judged_are_no_samples() -> None:
    """Nor is more than a part of a long track measured, or more than may wait."""
    hall = Hall(Kept())
    hall.track(faces(1, seed=1)[0], quality=Quality.TOO_SMALL)
    assert hall.adapting.waiting == 0
    hall.track(faces(1, seed=1)[0], count=3 * FACES_OF_A_TRACK)
    assert hall.adapting.waiting == FACES_OF_A_TRACK + 1
    for _ in range(MAX_WAITING):
        hall.track(faces(1, seed=1)[0])
    assert hall.adapting.waiting == MAX_WAITING
    assert hall.adapting.dropped > 0


async def test_daemon_says_what_it_learns_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """From a camera's frames through the running daemon to the topic; the next daemon counts on."""

    def tracks_said(box: Box) -> int:
        said = box.shown.topics.get("spectragate/environments/default/drift/state")
        state = None if said is None else messages.parse(said)
        return state.cameras[0].tracks if isinstance(state, messages.DriftState) else 0

    async with running_daemon(tmp_path, GATE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: tracks_said(box) == 1)
    async with running_daemon(tmp_path, GATE) as box:
        await box.until(lambda: tracks_said(box) == 1)
        await box.until(lambda: "gate" in box.cameras.opened)
        for number in range(1, 10):
            box.cameras.passage("gate", time_s=100.0 * number)
        await box.until(lambda: tracks_said(box) == 10)
