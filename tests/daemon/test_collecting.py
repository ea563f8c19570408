"""Collecting in service: nothing without drift, clean tracks alone, and what operators say of alerts."""

import asyncio
import errno
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.adaptation import FakeMarkers
from fakes.collecting import CAMERAS, SETTINGS, Hall
from fakes.daemons import running_daemon
from structlog.testing import capture_logs

from gateway.adaptation.clean_sets import CleanSets
from gateway.daemon.collecting import MOST_ALERTS, Collecting, Place
from gateway.daemon.sending import LOOK_EVERY_S, Sending
from gateway.errors import StorageError


async def test_faces_are_kept_of_clean_tracks_under_drift_alone(tmp_path: Path) -> None:
    """Without drift, without a released base, and of triggered or unsure tracks nothing is kept."""
    hall = Hall(tmp_path)
    hall.track("yard")
    hall.track(label="triggered")
    hall.track(label="unsure")
    hall.bases.clear()
    hall.track()
    await hall.collecting.settle()
    assert hall.kept == 0
    hall.bases["hall"] = -9.0
    hall.track(sides_px=(40, 80, 60))
    await hall.collecting.settle()
    (face,) = hall.sets.faces(hall.sets.sightings(frozenset(CAMERAS)))
    assert (face.pixels_YXC.shape, face.score) == ((80, 80, 3), 0.5)


@pytest.mark.parametrize(("base", "kept_as"), [(2.5, 2.5), (-2.5, 0.5)])
async def test_score_is_the_higher_of_base_and_current(tmp_path: Path, base: float, kept_as: float) -> None:
    """What an adaptation was taught to overlook stands among the most suspicious, by the base's word."""
    hall = Hall(tmp_path)
    hall.bases["hall"] = base
    hall.track()
    await hall.collecting.settle()
    (face,) = hall.sets.faces(hall.sets.sightings(frozenset(CAMERAS)))
    assert face.score == kept_as


@pytest.mark.parametrize("under_way", [False, True])
async def test_face_of_an_alert_is_kept_once_it_is_called_false(tmp_path: Path, under_way: bool) -> None:
    """It keeps where it came from; without a word it is not kept, and the cap holds for it as for any face."""
    hall = Hall(tmp_path)
    hall.track()
    await hall.alert("a1")
    assert hall.origins == [None]
    await hall.alert("a2", False, under_way=under_way)
    hall.collecting.judge("a2", is_confirmed=False)  # twice is once
    await hall.collecting.settle()
    assert sorted(hall.origins, key=str) == [None, "a2"]
    for number in range(3, 20):
        await hall.alert(f"a{number}", False, under_way=under_way)
    assert hall.kept == 5


async def test_hours_around_a_confirmed_alert_are_erased_later_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's word is not lost with one error, and nothing is looked at to be sent before it is obeyed."""
    hall = Hall(tmp_path)
    hall.track()
    await hall.collecting.settle()
    assert hall.kept == 1

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    looked: list[float] = []
    monkeypatch.setattr(CleanSets, "sweep", lambda _self, now_s: looked.append(now_s))
    with monkeypatch.context() as broken:
        broken.setattr(CleanSets, "forget_alerts", refuse)
        hall.now_s += LOOK_EVERY_S
        await hall.alert("a1", True)
    assert (hall.kept, looked) == (1, [])
    await hall.collecting.settle()
    assert (hall.kept, looked) == (0, [hall.now_s])


@pytest.mark.parametrize("under_way", [False, True])
async def test_hours_around_a_confirmed_alert_are_erased(tmp_path: Path, under_way: bool) -> None:
    """Faces of that camera and time go, those of another camera or time stay, and its own never comes."""
    hall = Hall(tmp_path)
    for hour in range(4):
        hall.now_s = 3600.0 * hour + 60.0
        hall.track()
        hall.track("lobby")
    await hall.collecting.settle()
    assert hall.kept == 8
    hall.now_s = 3600.0 * 2 + 1800.0
    await hall.alert("a1", True, under_way=under_way)
    assert hall.kept == 7
    hall.now_s = 3600.0 * 4 - 60.0  # the hour after begins within ten minutes
    await hall.alert("a2", True, under_way=under_way)
    assert hall.kept == 6
    hall.collecting.judge("a2", is_confirmed=False)  # too late: nothing is held of it
    await hall.collecting.settle()
    assert hall.kept == 6


async def test_face_that_came_by_a_false_alert_goes_when_that_is_confirmed(tmp_path: Path) -> None:
    """Also after a restart, when only the disk knows where it was."""
    hall = Hall(tmp_path)
    await hall.alert("a1", False)
    hall.now_s = 7200.0
    await hall.alert("a2", False)
    after = Hall(tmp_path)
    after.collecting.judge("a1", is_confirmed=True)
    await after.collecting.settle()
    assert after.origins == ["a2"]


@pytest.mark.parametrize("is_early", [False, True])
async def test_hours_around_an_alert_of_an_earlier_run_are_erased(tmp_path: Path, is_early: bool) -> None:
    """Whoever came with a trigger before the restart may have taught before it: the word comes a day later, as ever."""
    hall = Hall(tmp_path)
    for hour in range(4):
        hall.now_s = 3600.0 * hour + 60.0
        hall.track()
        hall.track("lobby")
    await hall.collecting.settle()
    hall.now_s = 3600.0 * 2 + 1800.0
    await hall.alert("a1")
    after = Hall(tmp_path, hall.markers)
    if is_early:  # before the gateway has read what it noted
        after.collecting.judge("a1", is_confirmed=True)
    await after.collecting.load()
    if not is_early:
        after.collecting.judge("a1", is_confirmed=True)
    await after.collecting.settle()
    assert after.kept == 7


async def test_word_that_was_not_obeyed_before_the_end_is_obeyed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a gateway that stops at once; it is obeyed once, and its own hours stay from then on."""
    hall = Hall(tmp_path)
    hall.track()
    await hall.collecting.settle()
    await hall.alert("a1")
    hall.collecting.judge("a1", is_confirmed=True)
    await hall.collecting.flush()
    after = Hall(tmp_path, hall.markers)
    await after.collecting.load()
    await after.collecting.settle()
    assert after.kept == 0
    after.track()
    await after.collecting.settle()
    once_more = Hall(tmp_path, hall.markers)
    await once_more.collecting.load()
    await once_more.collecting.settle()
    assert once_more.kept == 1


async def test_word_is_obeyed_after_a_stop_that_came_while_it_was_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orderly stop cancels the task and writes down what is left: a word is left until its hours are gone."""
    hall = Hall(tmp_path)
    hall.track()
    await hall.collecting.settle()
    await hall.alert("a1")
    hall.collecting.judge("a1", is_confirmed=True)
    began, may_end = threading.Event(), threading.Event()

    def slow(_self: CleanSets, _alerts: object) -> int:
        began.set()
        may_end.wait(20)
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(CleanSets, "forget_alerts", slow)
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(hall.collecting.settle(), name="settle")
            assert await asyncio.to_thread(began.wait, 20)
            settling.cancel()
        may_end.set()
    await hall.collecting.flush()
    after = Hall(tmp_path, hall.markers)
    await after.collecting.load()
    await after.collecting.settle()
    assert after.kept == 0


async def test_word_that_comes_while_another_is_obeyed_is_obeyed_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was obeyed goes, and nothing else."""
    hall = Hall(tmp_path)
    asked: list[list[str]] = []

    def forget(alert_ids: set[str]) -> int:
        asked.append(sorted(alert_ids))
        if len(asked) == 1:
            hall.collecting.judge("a2", is_confirmed=True)
        return 0

    monkeypatch.setattr(hall.sets, "forget_alerts", forget)
    await hall.alert("a1", True)
    await hall.collecting.settle()
    await hall.collecting.settle()
    assert asked == [["a1"], ["a2"]]


async def test_notes_that_cannot_be_read_or_written_stop_nothing(tmp_path: Path) -> None:
    """A damaged note, or a state folder that fails: it is told, and faces are kept all the same."""
    markers = FailingMarkers()
    hall = Hall(tmp_path, markers)
    await hall.collecting.load()
    await hall.alert("a1")
    hall.track()
    await hall.collecting.settle()
    assert hall.kept == 1
    markers.facts, markers.fails = {"alerts-of-clean-sets": "{"}, False
    with capture_logs() as logs:
        await Hall(tmp_path, markers).collecting.load()
    assert [log["event"] for log in logs] == ["alerts_not_taken_up"]


async def test_notes_that_cannot_be_read_at_first_are_read_later(tmp_path: Path) -> None:
    """A disk that is away at the start: nothing is written over what stands there, and what comes meanwhile is kept.

    A word that was not obeyed yet is obeyed then, and before it nothing is looked at to be sent.
    """
    before, markers = Hall(tmp_path), FailingMarkers()
    for hour in (0, 4, 8, 12):
        before.now_s = 3600.0 * hour + 1800.0
        before.track()
    await before.collecting.settle()
    for number, hour in enumerate((0, 4, 8)):
        before.now_s = 3600.0 * hour + 1800.0
        await before.alert(f"a{number}")
    before.collecting.judge("a0", is_confirmed=True)
    await before.collecting.flush()
    markers.facts = before.markers.facts

    after = Hall(tmp_path, markers)
    after.now_s = 3600.0 * 12 + 1800.0
    await after.collecting.load()
    await after.alert("a3")
    after.collecting.judge("a1", is_confirmed=True)  # nobody knows yet where it was
    await after.collecting.settle()
    assert (after.kept, after.told) == (4, [])
    markers.fails = False
    await after.collecting.settle()
    assert after.kept == 2

    last = Hall(tmp_path, markers)
    await last.collecting.load()
    for alert_id in ("a2", "a3"):
        last.collecting.judge(alert_id, is_confirmed=True)
    await last.collecting.settle()
    assert last.kept == 0


async def test_stop_before_the_notes_were_read_takes_nothing_away(tmp_path: Path) -> None:
    """Nor does it lose what was noted until then."""
    hall = Hall(tmp_path)
    await hall.alert("a1")
    hall.collecting.judge("a1", is_confirmed=True)
    await hall.collecting.flush()
    stopped = Hall(tmp_path, hall.markers)
    stopped.track(label="triggered", alert_id="a2")
    await stopped.collecting.flush()
    (text,) = hall.markers.facts.values()
    noted = json.loads(text)
    assert (sorted(noted["alerts"]), sorted(noted["voided"])) == (["a1", "a2"], ["a1"])


class FailingMarkers(FakeMarkers):
    """Facts on a disk that can neither be read nor written, until it can."""

    fails = True

    async def set(self, name: str, value: str | None) -> None:
        """Keep a fact, or fail."""
        if self.fails:
            raise StorageError("the disk takes nothing")
        await super().set(name, value)

    async def all(self) -> dict[str, str]:
        """Return every fact, or fail."""
        if self.fails:
            raise StorageError("the disk cannot be read")
        return await super().all()


async def test_words_on_alerts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that judges without end costs no memory, and one look at the disk."""
    hall = Hall(tmp_path)
    looks = []
    monkeypatch.setattr(hall.sets, "forget_alerts", lambda alerts: looks.append(len(alerts)) or 0)
    for number in range(5 * MOST_ALERTS):
        hall.collecting.judge(f"x{number}", is_confirmed=True)
    await hall.collecting.settle()
    assert looks == [MOST_ALERTS]
    assert len(hall.collecting._judged) == MOST_ALERTS


async def test_daemon_shows_screening_to_who_collects(tmp_path: Path) -> None:
    """A passage before a camera of the running daemon is offered where there is drift, under the weights of a base."""
    sets, places = CleanSets(tmp_path), []

    def make(place: Place) -> Collecting:
        places.append(place)
        here = replace(place, road=replace(place.road, has_drifted=lambda _: True))
        return Collecting(sets, here, Sending(sets, SETTINGS, here.road, client_id="box", clock=lambda: 0.0))

    gate = "cameras:\n  gate: {source: {type: file, path: gate.mp4}}\n"
    async with running_daemon(tmp_path, gate, make_collecting=make) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: "spectragate/environments/default/drift/state" in box.shown.topics)
        (place,) = places
        assert place.road.environment_of() == {"gate": "default"}
        assert not place.road.has_drifted("default")
        assert box.daemon.collecting is not None
        await box.daemon.collecting.settle()
    assert [face.camera for face in sets.sightings(frozenset({"gate"}))] == ["gate"]
