"""Explanations in the daemon: off by default, sealed, made when nothing waits, the face erased once explained."""

import asyncio
import errno
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes.daemons import running_daemon
from fakes.processes import wait_until
from numpy.typing import NDArray
from structlog.testing import capture_logs

from gateway.contract import messages
from gateway.daemon import explaining as explaining_module
from gateway.daemon.explaining import MAX_WAITING, Explaining, Told
from gateway.screening import decide
from gateway.screening.explain import WORK
from gateway.storage.sealed import SealedFiles
from gateway.values import FaceBox, FaceCrop, Quality, Screening, TrackedFace

MODEL = messages.ModelIdentity(version=1, sha256="1" * 64, profile="paper")
BOX = FaceBox(0, 0, 9, 9, 0.9)
SEEN = Screening("gate", 1, 0, 50.0, BOX, 1.0, Quality.USABLE)
ALERT = decide.Verdict("gate", 1, "triggered", None, "a1", 0.0, 50.0, SEEN, 4, 4, 1.0, 0.5, 0.1, None)
AT_ONCE = MAX_WAITING - 1
"""Faces that surely find a place: the one before them stays in line until its file, to be seen already, is closed."""


@dataclass
class House:
    """Detectors that see white, busy as long as the test says."""

    is_busy: bool = False
    scored: list[int] = field(default_factory=list)
    model: messages.ModelIdentity = MODEL

    async def score(self, environment: str, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score by white."""
        self.scored.append(len(pixels_NYXC))
        return (pixels_NYXC > 250).mean(axis=(1, 2, 3)).astype(np.float32)


def explaining(folder: Path, house: House, *, now_s: float = 60.0) -> Explaining:
    """Return explanations over a house."""
    files = SealedFiles(folder / "evidence", max_bytes=1 << 20)
    return Explaining(
        files, lambda: house, model_of=lambda _environment: house.model, keep_s=1000.0, clock=lambda: now_s
    )


def see_alert(here: Explaining, *, alert_id: str | None = "a1", white: float = 0.5, is_over: bool = True) -> None:
    """Let a face pass that raises an alert."""
    pixels_NYXC = np.zeros((1, 32, 32, 3), np.uint8)
    pixels_NYXC[:, : round(32 * white)] = 255
    face = TrackedFace(1, FaceCrop("gate", 0, 50.0, BOX, pixels_NYXC[0], 32))
    here.on_scored("hall", [face], pixels_NYXC, [SEEN])
    if is_over:
        here.on_finished("gate", "hall", replace(ALERT, alert_id=alert_id))


async def test_face_is_kept_sealed_explained_on_demand_and_then_erased(tmp_path: Path) -> None:
    """Until somebody asks, nothing is computed; what is kept after shows nobody, and survives a restart."""
    house = House()
    here = explaining(tmp_path, house)
    see_alert(here)
    await here.settle()
    assert house.scored == []
    assert [path.suffix for path in sorted((tmp_path / "evidence").iterdir())] == [".face", ".key"]
    assert here.ask("a1") == Told("waiting")
    await here.settle()
    told = here.ask("a1")
    assert told.state == "done"
    assert told.explanation is not None
    assert house.scored == [1] * WORK
    places = np.array(told.explanation.places)
    assert places[3].min() > 0  # the edge of the white half; what lies inside it is filled with white again
    assert np.delete(places, 3, axis=0).max() == 0
    assert [path.name.split(".")[1] for path in sorted((tmp_path / "evidence").iterdir())] == ["map", "map"]
    again = explaining(tmp_path, house)
    again.ask("a1")
    await again.settle()
    assert again.ask("a1").explanation == told.explanation
    assert len(house.scored) == WORK


class SlowFiles(SealedFiles):
    """Files on a disk that lets a face wait until the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, max_bytes=1 << 20)
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self.at_once = self.most_at_once = 0

    def put(self, name: str, content: bytes, *, kind: str, camera: str, time_s: float) -> bool:
        """Wait, and note how many come at once."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.set()
        assert self.goes_on.wait(20)
        done = super().put(name, content, kind=kind, camera=camera, time_s=time_s)
        self.at_once -= 1
        return done


async def test_end_loses_no_face_and_writes_none_beside_another(tmp_path: Path) -> None:
    """The daemon cancels its parts and then keeps what waits: what was being written is finished first."""
    files, house = SlowFiles(tmp_path / "evidence"), House()
    here = Explaining(files, lambda: house, model_of=lambda _: house.model, keep_s=1000.0, clock=lambda: 60.0)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        part = group.create_task(here.run(), name="explaining")
        for number in range(3):
            see_alert(here, alert_id=f"a{number}")
        await asyncio.to_thread(files.begun.wait, 20)
        part.cancel()
        ending = group.create_task(here.flush(), name="end")
        await asyncio.sleep(0.1)
        files.goes_on.set()
        await ending
    assert files.most_at_once == 1
    assert all(files.get(f"a{number}", "face") is not None for number in range(3))


async def test_face_whose_turn_had_not_come_is_kept_at_the_end(tmp_path: Path) -> None:
    """No thread was free for it when its part was cancelled."""
    files, house = SlowFiles(tmp_path / "evidence"), House()
    here = Explaining(files, lambda: house, model_of=lambda _: house.model, keep_s=1000.0, clock=lambda: 60.0)
    busy = threading.Event()
    with ThreadPoolExecutor(1) as only:
        asyncio.get_running_loop().set_default_executor(only)
        blocking = asyncio.get_running_loop().run_in_executor(None, busy.wait, 20)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            part = group.create_task(here.run(), name="explaining")
            see_alert(here)
            await asyncio.sleep(0.1)
            part.cancel()
            ending = group.create_task(here.flush(), name="end")
            await asyncio.sleep(0.1)
            files.goes_on.set()
            busy.set()
            await ending
        await blocking
    assert files.get("a0", "face") is None
    assert files.get("a1", "face") is not None


async def test_face_that_an_end_left_beside_its_map_goes_when_the_map_is_asked_for(tmp_path: Path) -> None:
    """Between both the box was switched off: the face is personal data, and nobody needs it any more."""
    house = House()
    here = explaining(tmp_path, house)
    see_alert(here)
    here.ask("a1")
    await here.settle()
    see_alert(here)
    await here.settle()
    files = SealedFiles(tmp_path / "evidence", max_bytes=1 << 20)
    assert files.get("a1", "face") is not None
    after = explaining(tmp_path, house)
    after.ask("a1")
    await after.settle()
    assert after.ask("a1").state == "done"
    assert files.get("a1", "face") is None


async def test_what_cannot_be_explained_says_why(tmp_path: Path) -> None:
    """An alert of which nothing is kept, a model that is gone, a line that is full."""
    house = House()
    here = explaining(tmp_path, house)
    see_alert(here)
    house.model = replace_model()
    for alert_id in ("a1", "elsewhere"):
        assert here.ask(alert_id).state == "waiting"
    await here.settle()
    assert (here.ask("a1").state, here.ask("elsewhere").state) == ("other_model", "unknown")
    for number in range(MAX_WAITING):
        here.ask(f"more-{number}")
    assert here.ask("one-too-many").state == "busy"
    assert here.dropped == 1


async def test_model_that_changes_meanwhile_is_not_mixed_with_the_one_that_judged(tmp_path: Path) -> None:
    """No map is made of two models' scores: the face waits until the first is back."""
    house = House()
    here = explaining(tmp_path, house)
    see_alert(here)
    await here.settle()

    async def score_and_swap(environment: str, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        house.model = replace_model()
        return await House.score(house, environment, pixels_NYXC)

    house.score = score_and_swap  # type: ignore[method-assign]
    here.ask("a1")
    await here.settle()
    assert here.ask("a1").state == "other_model"
    assert house.scored == [1]
    house.model = MODEL
    del house.score  # type: ignore[method-assign]
    here.ask("a1")
    await here.settle()
    assert here.ask("a1").state == "done"


async def test_track_that_a_swap_ends_belongs_to_the_model_that_judged_it(tmp_path: Path) -> None:
    """Its end comes when the next model is in use already, which did not raise its alert and explains nothing of it."""
    house = House()
    here = explaining(tmp_path, house)
    see_alert(here, alert_id=None, is_over=False)
    house.model = replace_model()
    here.on_finished("gate", "hall", ALERT)
    await here.settle()
    here.ask("a1")
    await here.settle()
    assert here.ask("a1").state == "other_model"


async def test_box_that_is_never_idle_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked is not kept waiting, and may ask again."""
    monkeypatch.setattr(explaining_module, "LONGEST_S", 0.0)
    house = House(is_busy=True)
    here = explaining(tmp_path, house)
    see_alert(here)
    here.ask("a1")
    await here.settle()
    assert here.ask("a1").state == "busy"
    assert here.ask("a1").state == "waiting"


async def test_explanation_is_shown_where_the_disk_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever; the face stays until its map is kept."""
    house = House()
    here = explaining(tmp_path, house)
    see_alert(here)
    await here.settle()

    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(SealedFiles, "put", full)
    here.ask("a1")
    await here.settle()
    assert here.ask("a1").state == "done"
    assert [path.suffix for path in sorted((tmp_path / "evidence").iterdir())] == [".face", ".key"]


async def test_faces_are_kept_while_a_question_waits_for_an_idle_box(tmp_path: Path) -> None:
    """Questions take no place of faces, and a box that is busy keeps them all the same."""
    house = House()
    here = explaining(tmp_path, house)
    see_alert(here, alert_id="first")
    await here.settle()
    house.is_busy = True
    for number in range(MAX_WAITING):
        here.ask("first" if number == 0 else f"nothing-{number}")
    kept = tmp_path / "evidence"
    async with asyncio.TaskGroup() as group:
        group.create_task(here.settle(), name="settling")
        for number in range(1, 4):
            for part in range(AT_ONCE):
                see_alert(here, alert_id=f"a-{number}-{part}")
            wanted = 1 + number * AT_ONCE
            await wait_until(lambda wanted=wanted: len(list(kept.glob("*.face"))) == wanted, within_s=60.0)  # type: ignore[misc]
        assert here.dropped == 0
        assert house.scored == []
        house.is_busy = False
    assert here.ask("first").state == "done"
    for number in range(MAX_WAITING + 1):
        see_alert(here, alert_id=f"b-{number}")
    assert here.dropped == 1


def replace_model() -> messages.ModelIdentity:
    """Return other weights."""
    return MODEL.model_copy(update={"sha256": "2" * 64})


async def test_old_evidence_is_erased(tmp_path: Path) -> None:
    """After `keep_days`, explained or not."""
    here = explaining(tmp_path, House())
    see_alert(here)
    await here.settle()
    assert list((tmp_path / "evidence").iterdir())
    later = explaining(tmp_path, House(), now_s=2000.0)
    await later.settle()
    assert not list((tmp_path / "evidence").iterdir())


async def test_old_evidence_is_erased_under_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """It does not wait until the clock has caught up with a year that was wrong."""
    files, house, now_s = SealedFiles(tmp_path / "evidence", max_bytes=1 << 20), House(), [1e9]
    here = Explaining(files, lambda: house, model_of=lambda _: house.model, keep_s=1000.0, clock=lambda: now_s[0])
    await here.settle()
    now_s[0] = 60.0
    see_alert(here)
    await here.settle()
    assert list((tmp_path / "evidence").iterdir())
    now_s[0] = 4000.0
    await here.settle()
    assert not list((tmp_path / "evidence").iterdir())


async def test_old_evidence_that_cannot_be_erased_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was remounted read-only: the daemon goes on, and an hour later it is tried again."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(SealedFiles, "forget", refuse)
    here = explaining(tmp_path, House())
    with capture_logs() as lines:
        await here.settle()
    assert [(line["event"], line["reason"]) for line in lines] == [("evidence_not_erased", "Read-only file system")]


async def test_clean_faces_leave_nothing(tmp_path: Path) -> None:
    """Only an alert is evidence."""
    here = explaining(tmp_path, House())
    see_alert(here, alert_id=None)
    await here.settle()
    assert not (tmp_path / "evidence").exists()


async def test_alert_of_a_running_box_is_explained_while_its_camera_goes_on(tmp_path: Path) -> None:
    """Through the same session, beside live faces; without the setting the box keeps nothing."""
    text = "cameras:\n  gate: {source: {type: file, path: gate.mp4}}\n"

    def make(folder: Path, detectors: object, model_of: object) -> Explaining:
        files = SealedFiles(folder / "evidence", max_bytes=1 << 20)
        return Explaining(files, detectors, model_of=model_of, keep_s=1e9, clock=lambda: 60.0)  # type: ignore[arg-type]

    async with running_daemon(tmp_path, text, make_explaining=partial(make, tmp_path)) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate", white=0.9)
        await box.until(lambda: len(box.alerts.kept) == 2)
        box.cameras.passage("gate", time_s=100.0)
        explains = box.daemon.explaining
        assert explains is not None
        alert_id = box.alerts.kept[0].data.alert_id
        assert explains.ask(alert_id).state == "waiting"
        await explains.settle()
        told = explains.ask(alert_id)
        assert told.explanation is not None
        assert told.explanation.score == np.float32(box.alerts.kept[-1].data.top_score)
        assert json.dumps(told.explanation.bands)
