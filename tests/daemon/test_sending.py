"""Clean sets on their way: sent once when there are enough, whatever breaks off, and followed to the end."""

import threading
from pathlib import Path

import httpx2
import pytest
from fakes.adaptation import FakeMarkers, FakeTrainer
from fakes.collecting import SETTINGS, Hall
from structlog.testing import capture_logs

from gateway.adaptation import collect
from gateway.adaptation.clean_sets import HOUR_S, RETENTION_S
from gateway.adaptation.collect import HOLD_S, WANTED
from gateway.contract.exchange import JobState, read_part
from gateway.daemon import sending
from gateway.daemon.sending import FORGOTTEN, LOOK_EVERY_S, client_of
from gateway.errors import StorageError


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    """Return the trainer that is reached."""
    trainer = FakeTrainer()
    monkeypatch.setattr(sending, "client_of", lambda _: trainer.client())
    return trainer


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few faces be enough."""
    monkeypatch.setattr(collect, "WANTED", 30)


@pytest.mark.timeout(300)
async def test_enough_faces_reach_the_trainer_and_leave_the_box(tmp_path: Path, trainer: FakeTrainer) -> None:
    """A day of passages, a day of waiting: the trainer gets most as clean and the rest as held back, once."""
    hall = Hall(tmp_path)
    with capture_logs() as logs:
        await hall.tracks_of(WANTED + 10)
        assert trainer.clean_set is None
        assert hall.kept == WANTED + 10
        for _ in range(2):
            hall.now_s += HOLD_S
            await hall.collecting.settle()
    assert trainer.clean_set is not None
    counts = dict.fromkeys(("clean", "operator", "held_back", "repeated"), 0)
    for part in trainer.clean_set.parts:
        counts[part.kind] += len(read_part(trainer.parts[part.sha256], part))
    assert counts == {"clean": 357, "operator": 0, "held_back": 153, "repeated": 0}
    assert [log["state"] for log in logs if log["event"] == "clean_faces_sent"] == ["queued"]
    assert hall.kept == 0
    assert len(trainer.completed) == 1


@pytest.mark.usefixtures("few")
async def test_what_is_collected_held_and_sent_is_told(tmp_path: Path, trainer: FakeTrainer) -> None:
    """In that order, with what is still missing in words; then the job, which nobody asks for after its end."""
    hall = Hall(tmp_path)
    await hall.tracks_of(40)
    hall.now_s += HOLD_S
    await hall.collecting.settle()
    steps = [step for number, step in enumerate(hall.said) if number == 0 or step != hall.said[number - 1]]
    assert steps == [("idle", ["collecting"], []), ("idle", ["held"], []), ("online", ["collecting"], ["queued"])]
    lacking = [each.clean_sets[0].lacks for each in hall.told]
    assert "0 of 30 faces are a day old (40 are kept)" in lacking
    trainer.job_state, trainer.reason = JobState.REFUSED, "too many false alarms"
    for _ in range(3):
        await hall.sending.follow()
    assert trainer.asked == 1
    (job,) = hall.told[-1].jobs
    assert (job.state, job.reason) == ("refused", "too many false alarms")


async def test_clock_that_was_set_back_does_not_stop_looking(tmp_path: Path) -> None:
    """Else faces would be kept beyond their time, and none sent, until the clock has caught up."""
    hall = Hall(tmp_path)
    hall.now_s = 4 * 365 * 24 * 3600.0  # a clock that came up with a wrong year
    await hall.collecting.settle()
    hall.now_s = 0.0
    hall.track()
    await hall.collecting.settle()
    assert hall.kept == 1
    hall.now_s = RETENTION_S + 2 * HOUR_S
    await hall.collecting.settle()
    assert hall.kept == 0


@pytest.mark.usefixtures("few")
async def test_face_of_the_very_start_of_an_hour_is_not_sent_twice(tmp_path: Path, trainer: FakeTrainer) -> None:
    """What the trainer has is erased, also where the newest face of the set begins an hour."""
    hall = Hall(tmp_path)
    await hall.tracks_of(39)
    hall.now_s = HOUR_S * (hall.now_s // HOUR_S + 1)
    hall.track("gate")
    await hall.collecting.settle()
    assert hall.kept == 40
    hall.now_s += HOLD_S + LOOK_EVERY_S
    await hall.collecting.settle()
    assert (len(trainer.completed), hall.kept) == (1, 0)


@pytest.mark.usefixtures("few")
async def test_a_trainer_that_is_away_for_a_day_costs_nothing_and_is_said_once(
    tmp_path: Path, trainer: FakeTrainer
) -> None:
    """Faces stay until it is back, no more of them than before; then they are sent."""
    trainer.is_away = True
    hall = Hall(tmp_path)
    await hall.tracks_of(40)
    hall.now_s += HOLD_S
    size_bytes = hall.sets.size_bytes
    for _ in range(144):
        await hall.collecting.settle()
        await hall.sending.follow()
        hall.now_s += 600.0
    assert (hall.kept, hall.sets.size_bytes) == (40, size_bytes)
    assert [said.reason for said in hall.told if said.state == "away"][-1] == (
        "the trainer cannot be reached: ConnectError"
    )
    assert hall.said[-1] == ("away", ["ready"], [])
    assert len([said for said in hall.told if said.state == "away"]) <= 2
    trainer.is_away = False
    await hall.collecting.settle()
    assert (hall.kept, hall.told[-1].state) == (0, "online")


@pytest.mark.usefixtures("few")
async def test_a_restart_goes_on_with_the_very_set_that_broke_off(tmp_path: Path, trainer: FakeTrainer) -> None:
    """Faces that ripened meanwhile wait for the next set: the trainer is not sent the same faces under two names."""
    trainer._fails_at = 2
    hall = Hall(tmp_path)
    await hall.tracks_of(40)
    hall.now_s += HOLD_S
    await hall.collecting.settle()
    begun = trainer.clean_set
    assert (hall.told[-1].state, trainer.completed, hall.kept) == ("away", [], 40)
    after = Hall(tmp_path, hall.markers)
    after.now_s, after.tracks = hall.now_s, hall.tracks
    await after.sending.load()
    await after.tracks_of(20, every_s=7200.0)
    assert trainer.clean_set == begun
    assert trainer.completed == [begun.sha256 if begun else ""]
    assert trainer.puts == len(trainer.parts)


@pytest.mark.usefixtures("few")
async def test_jobs_are_followed_after_a_restart(tmp_path: Path, trainer: FakeTrainer) -> None:
    """Also where the faces could not be erased before it: they go then and are not sent again."""
    hall = Hall(tmp_path)
    await hall.tracks_of(40)
    hall.now_s += HOLD_S
    hall.sets.forget = lambda **_: 0  # type: ignore[method-assign]
    await hall.collecting.settle()
    assert (hall.said[-1][2], hall.kept) == (["queued"], 40)
    after = Hall(tmp_path, hall.markers)
    after.now_s = hall.now_s
    await after.sending.load()
    assert after.said == [("idle", [], ["queued"])]
    await after.collecting.settle()
    assert after.kept == 0
    trainer.job_state = JobState.PUBLISHED
    await after.sending.follow()
    assert after.said[-1][2] == ["published"]
    last = Hall(tmp_path, hall.markers)
    await last.sending.load()
    assert (last.said, last.sending.open_jobs) == ([("idle", [], ["published"])], [])
    assert len(trainer.completed) == 1


@pytest.mark.usefixtures("few")
async def test_job_that_the_trainer_forgot_ends(tmp_path: Path, trainer: FakeTrainer) -> None:
    """A trainer that was set up anew must not keep the next set back for ever."""
    hall = Hall(tmp_path)
    await hall.tracks_of(40)
    hall.now_s += HOLD_S
    await hall.collecting.settle()
    trainer.knows_jobs = False
    await hall.sending.follow()
    (job,) = hall.told[-1].jobs
    assert (job.state, job.reason, hall.sending.open_jobs) == ("cancelled", FORGOTTEN, [])


@pytest.mark.usefixtures("few")
async def test_next_set_waits_for_the_job_under_way(tmp_path: Path, trainer: FakeTrainer) -> None:
    """One at a time: a second set would teach without what came of the first."""
    hall = Hall(tmp_path)
    for _ in range(2):
        await hall.tracks_of(40)
        hall.now_s += HOLD_S
        await hall.collecting.settle()
    assert (len(trainer.completed), hall.kept, hall.said[-1][1]) == (1, 40, ["ready"])
    trainer.job_state = JobState.REFUSED
    await hall.sending.follow()
    hall.now_s += sending.LOOK_EVERY_S
    await hall.collecting.settle()
    assert (len(trainer.completed), hall.kept) == (2, 0)


@pytest.mark.usefixtures("few", "trainer")
async def test_damaged_or_useless_notes_stop_nothing(tmp_path: Path) -> None:
    """A note that cannot be read is left out; one of an environment that is gone is forgotten."""
    markers = FakeMarkers()
    markers.facts = {"clean-set:hall": "{", "clean-set:gone": '{"until_s": 1.0}', "drift:gate": "other"}
    hall = Hall(tmp_path, markers)
    with capture_logs() as logs:
        await hall.sending.load()
    assert [log["event"] for log in logs] == ["clean_sets_not_taken_up"]
    await hall.collecting.settle()
    assert set(markers.facts) == {"clean-set:hall", "drift:gate"}


@pytest.mark.usefixtures("few")
async def test_disk_that_takes_nothing_does_not_stop_a_set(tmp_path: Path, trainer: FakeTrainer) -> None:
    """It costs no more than that a restart knows nothing of the job.

    Nothing is sent only while it is not known which alerts were confirmed before the start.
    """

    class Full(FakeMarkers):
        is_readable = False

        async def set(self, name: str, value: str | None) -> None:
            raise StorageError("the disk is full")

        async def all(self) -> dict[str, str]:
            if not self.is_readable:
                raise StorageError("the disk is away")
            return await super().all()

    markers = Full()
    hall = Hall(tmp_path, markers)
    await hall.sending.load()
    await hall.tracks_of(40)
    hall.now_s += HOLD_S
    await hall.collecting.settle()
    assert trainer.completed == []
    markers.is_readable = True
    await hall.collecting.settle()
    assert (len(trainer.completed), hall.said[-1][2]) == (1, ["queued"])


async def test_client_is_made_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authorities of a system take long to read: no camera's batch waits for that."""
    made: list[threading.Thread] = []
    trainer = FakeTrainer()

    def make(_: object) -> httpx2.AsyncClient:
        made.append(threading.current_thread())
        return trainer.client()

    monkeypatch.setattr(sending, "client_of", make)
    hall = Hall(tmp_path)
    async with hall.sending._trainer():
        pass
    assert made
    assert threading.current_thread() not in made


async def test_client_when_made() -> None:
    """It shows the token, to the trainer alone."""
    async with client_of(SETTINGS) as client:
        assert client.headers["authorization"] == "Bearer token-of-the-trainer"
        assert str(client.base_url) == "https://trainer.example"
