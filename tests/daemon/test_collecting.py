"""Collecting in service: nothing without drift, clean tracks alone; when there are enough they reach the trainer."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.adaptation import FakeTrainer, faces
from fakes.daemons import running_daemon
from fakes.naming import live_frame
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.adaptation import collect
from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import HOLD_S, WANTED
from gateway.contract.exchange import JobState, read_part
from gateway.daemon import collecting
from gateway.daemon.collecting import MOST_ALERTS, Collecting, Place, client_of
from gateway.screening import decide
from gateway.settings import AdaptationSettings
from gateway.values import FaceCrop, Quality, Screening, TrackedFace

SETTINGS = AdaptationSettings(
    upload="crops",
    legal_basis="consent of the staff",
    trainer="https://trainer.example",
    token=SecretStr("token-of-the-trainer"),
)
CAMERAS = {"gate": "hall", "lobby": "hall", "yard": "outside"}


class Hall:
    """Two cameras of a hall, and what is kept of them."""

    def __init__(self, folder: Path) -> None:
        self.drifted = {"hall"}
        self.bases = {"hall", "outside"}
        self.now_s = 0.0
        self.tracks = 0
        self.sets = CleanSets(folder)
        self.told: list[collecting.messages.TrainerState] = []
        place = Place(lambda: CAMERAS, self.drifted.__contains__, self.bases.__contains__, self.told.append)
        self.collecting = Collecting(self.sets, SETTINGS, place, client_id="box", clock=lambda: self.now_s)

    def track(
        self,
        camera: str = "gate",
        label: decide.Label = "clean",
        sides_px: tuple[int, ...] = (40,),
        alert_id: str | None = None,
    ) -> None:
        """Let a person pass."""
        self.tracks += 1
        for seq, side_px in enumerate(sides_px):
            pixels_YXC = faces(1, seed=self.tracks, side_px=side_px)[0]
            crop = FaceCrop(camera, seq, self.now_s, live_frame(0).crops[0].box, pixels_YXC, side_px)
            seen = Screening(camera, self.tracks, seq, self.now_s, crop.box, 0.5 - seq, Quality.USABLE)
            self.collecting.on_scored(CAMERAS[camera], [TrackedFace(self.tracks, crop)], pixels_YXC[None], [seen])
        verdict = decide.Verdict(
            camera, self.tracks, label, None, alert_id, self.now_s, self.now_s, seen, 1, 1, 0.5, None, None, None
        )
        self.collecting.on_finished(camera, CAMERAS[camera], verdict)

    async def alert(self, alert_id: str, *words: bool, under_way: bool = False) -> None:
        """Let an alert happen and be judged, after it ended or before; `True` confirms it."""
        for is_confirmed in words if under_way else ():
            self.collecting.judge(alert_id, is_confirmed=is_confirmed)
        self.track(label="triggered", alert_id=alert_id)
        for is_confirmed in () if under_way else words:
            self.collecting.judge(alert_id, is_confirmed=is_confirmed)
        await self.collecting.settle()

    @property
    def origins(self) -> list[str | None]:
        """The alerts for which the kept faces are there, none for those that screening passed."""
        return [face.alert_id for face in self.sets.faces(self.sets.sightings(frozenset(CAMERAS)))]

    @property
    def kept(self) -> int:
        """How many faces are kept."""
        return len(self.sets.sightings(frozenset(CAMERAS)))


async def test_faces_are_kept_of_clean_tracks_under_drift_alone(tmp_path: Path) -> None:
    """Without drift, under adapted weights, and of triggered or unsure tracks nothing is kept."""
    hall = Hall(tmp_path)
    hall.track("yard")
    hall.track(label="triggered")
    hall.track(label="unsure")
    hall.bases.clear()
    hall.track()
    await hall.collecting.settle()
    assert hall.kept == 0
    hall.bases.add("hall")
    hall.track(sides_px=(40, 80, 60))
    await hall.collecting.settle()
    (face,) = hall.sets.faces(hall.sets.sightings(frozenset(CAMERAS)))
    assert (face.pixels_YXC.shape, face.score) == ((80, 80, 3), 0.5)


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


@pytest.mark.timeout(300)
async def test_enough_faces_reach_the_trainer_and_leave_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two days of passages, a day of waiting: the trainer gets most as clean and the rest as held back, once."""
    trainer = FakeTrainer()
    monkeypatch.setattr(collecting, "client_of", lambda _: trainer.client())
    hall = Hall(tmp_path)
    with capture_logs() as logs:
        for number in range(WANTED + 10):
            hall.now_s = 200.0 * number
            hall.track(("gate", "lobby")[number % 2])
            if number % 10 == 9:
                await hall.collecting.settle()
        assert trainer.clean_set is None
        assert hall.kept == WANTED + 10
        hall.now_s += HOLD_S
        await hall.collecting.settle()
        hall.now_s += HOLD_S
        await hall.collecting.settle()
    assert trainer.clean_set is not None
    counts = dict.fromkeys(("clean", "operator", "held_back", "repeated"), 0)
    for part in trainer.clean_set.parts:
        counts[part.kind] += len(read_part(trainer.parts[part.sha256], part))
    assert counts == {"clean": 357, "operator": 0, "held_back": 153, "repeated": 0}
    assert [log["state"] for log in logs if log["event"] == "clean_faces_sent"] == ["queued"]
    assert hall.kept == 0
    assert [(said.state, [job.state for job in said.jobs]) for said in hall.told] == [("online", ["queued"])]
    await hall.collecting.follow()
    trainer.job_state, trainer.reason = JobState.REFUSED, "too many false alarms"
    await hall.collecting.follow()
    await hall.collecting.follow()  # it has ended: nobody asks again
    assert trainer.asked == 2
    (job,) = hall.told[-1].jobs
    assert (len(hall.told), job.state, job.reason) == (2, "refused", "too many false alarms")


async def test_a_trainer_that_is_away_for_a_day_costs_nothing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faces stay until it is back, no more of them than before; then they are sent."""
    trainer = FakeTrainer(is_away=True)
    monkeypatch.setattr(collecting, "client_of", lambda _: trainer.client())
    monkeypatch.setattr(collect, "WANTED", 30)
    hall = Hall(tmp_path)
    for number in range(40):
        hall.now_s = 200.0 * number
        hall.track(("gate", "lobby")[number % 2])
        if number % 10 == 9:
            await hall.collecting.settle()
    hall.now_s += HOLD_S
    size_bytes = hall.sets.size_bytes
    for _ in range(144):
        await hall.collecting.settle()
        await hall.collecting.follow()
        hall.now_s += 600.0
    assert (hall.kept, hall.sets.size_bytes) == (40, size_bytes)
    assert [(said.state, said.reason) for said in hall.told] == [
        ("away", "the trainer cannot be reached: ConnectError")
    ]
    trainer.is_away = False
    await hall.collecting.settle()
    assert (hall.kept, hall.told[-1].state) == (0, "online")


async def test_client_when_made() -> None:
    """It shows the token, to the trainer alone."""
    async with client_of(SETTINGS) as client:
        assert client.headers["authorization"] == "Bearer token-of-the-trainer"
        assert str(client.base_url) == "https://trainer.example"


async def test_daemon_shows_screening_to_who_collects(tmp_path: Path) -> None:
    """A passage before a camera of the running daemon is offered where there is drift, under the weights of a base."""
    sets, places = CleanSets(tmp_path), []

    def make(place: Place) -> Collecting:
        places.append(place)
        here = replace(place, has_drifted=lambda _: True)
        return Collecting(sets, SETTINGS, here, client_id="box", clock=lambda: 0.0)

    gate = "cameras:\n  gate: {source: {type: file, path: gate.mp4}}\n"
    async with running_daemon(tmp_path, gate, make_collecting=make) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: "spectragate/environments/default/drift/state" in box.shown.topics)
        (place,) = places
        assert place.environment_of() == {"gate": "default"}
        assert not place.has_drifted("default")
        assert place.is_base("default")
        assert box.daemon.collecting is not None
        await box.daemon.collecting.settle()
    assert [face.camera for face in sets.sightings(frozenset({"gate"}))] == ["gate"]
