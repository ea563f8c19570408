"""An environment's updater by itself: the channel is asked with patience, and what waits is bounded."""

import asyncio

import numpy as np
import pytest
from fakes.screening import make_bundle
from structlog.testing import capture_logs

from gateway.adaptation import swap
from gateway.adaptation.patience import AT_ONCE, MOST_TRIES
from gateway.adaptation.place import Answer, Pace, Said, Seen
from gateway.adaptation.updater import COMPARE_EVERY, MOST_ASKED, MOST_BATCHES, Updater
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.requests import ModelOrder, RequestsWait
from gateway.errors import ExchangeError, ExchangeReason, LateFault, RuntimeFault, StorageError

NEW = "a" * 64
ROLL_BACK, UNPIN = ModelOrder("rollback"), ModelOrder("pin")
BATCH = Seen(np.zeros((1, 32, 32, 3), np.uint8), ())


class FakePlace:
    """A place whose channel says what it is told, and that notes what is done."""

    def __init__(self, offered: str | None = None, error: Exception | None = None) -> None:
        self.offered = offered
        self.error = error
        self.late: set[str] = set()
        self.ending: str | None = None
        self.asked = 0
        self.is_full = False
        self.scored = 0
        self.next_seen = lambda: None
        self.compared: list[np.ndarray] = []
        self.is_factory = self.is_drifted = False
        self.names: swap.Named | None = None
        self.chosen: swap.Named | None = None
        self.answer: Answer | None = None
        self.done: list[str] = []
        self.said: list[tuple[swap.Phase, str | None, str | None]] = []
        self.changed = asyncio.Event()

    async def newest(self) -> str | None:
        """Answer as told."""
        self.asked += 1
        self.changed.set()
        if self.error is not None:
            raise self.error
        return self.offered

    async def stage(self, sha256: str) -> Bundle:
        """Stage it, or be late."""
        self.done.append(f"stage {sha256[:1]}")
        self._hurry("stage")
        return make_bundle()

    def _hurry(self, what: str) -> None:
        if what in self.late:
            raise LateFault("the inference session on the CPU gave no answer within 30 s")

    async def score(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        """Score nothing, or be late."""
        self._hurry("score")
        self.scored += 1
        self.next_seen()
        self.changed.set()
        return np.zeros(len(pixels_NYXC), np.float32)

    async def compare(self, pixels_NYXC: np.ndarray) -> None:
        """Compare nothing."""
        self.compared.append(pixels_NYXC)

    def in_use(self) -> Bundle:
        """Return a bundle."""
        return make_bundle()

    def has_drifted(self) -> bool:
        """Return what the test says."""
        return self.is_drifted

    def learn(self, camera: str, statistic: float, alert_id: str | None) -> None:
        """Keep nothing."""

    async def activate(self) -> bool:
        """Note it."""
        self.done.append("activate")
        return True

    def _write(self, what: str) -> None:
        self.changed.set()
        if self.is_full:
            raise StorageError("the disk is full")
        self.done.append(what)

    async def commit(self, sha256: str) -> None:
        """Note it."""
        self._write(f"commit {sha256[:1]}")

    async def confirm(self) -> None:
        """Note it."""
        self._write("confirm")

    async def deny(self, sha256: str, reason: str) -> None:
        """Note it."""
        self._write(f"deny {sha256[:1]}: {reason}")

    def discard(self) -> None:
        """Note it."""
        self.done.append("discard")

    async def check_before(self) -> None:
        """Refuse as told."""
        if self.is_factory:
            raise BundleError("nothing to go back to")

    async def restore(self) -> str | None:
        """Note it, or be late."""
        self.done.append("restore")
        self._hurry("restore")
        return NEW

    async def keep_restored(self, undone: str | None, reason: str, *, is_pinned: bool) -> None:
        """Note it."""
        self._write(f"kept: {reason}, {'stay' if is_pinned else 'go on'}")

    async def choose(self, version: int | None) -> None:
        """Note it, and name what is told."""
        self._write(f"choose {version}")
        self.names = self.chosen

    async def named(self) -> swap.Named | None:
        """Return what was named once."""
        named, self.names = self.names, None
        return named

    async def follow(self, sha256: str) -> Bundle:
        """Let it judge, or refuse as told."""
        self.done.append(f"follow {sha256[:1]}")
        self._hurry("follow")
        if self.error is not None:
            raise self.error
        return make_bundle()

    def show(self, said: Said) -> None:
        """Note it."""
        self.said.append((said.state.phase, said.update, said.reason))
        self.answer = said.answer
        self.changed.set()


def updater(place: FakePlace, state: swap.Swap | None = None) -> Updater:
    """Return an updater that has not begun."""
    return Updater("hall", place, pace=Pace(poll_s=3600.0), state=state or swap.Swap(), running=make_bundle())


async def until_said(place: FakePlace, subject: Updater, phase: swap.Phase, update: str | None) -> None:
    """Run the updater until it says this."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while not place.said or place.said[-1][:2] != (phase, update) or not place.asked:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ExchangeError("x", ExchangeReason.EXPIRED), "update_stale"),
        (ExchangeError("x", ExchangeReason.UNREACHABLE), "unreachable"),
        (StorageError("x"), "unreachable"),
        (BundleError("x"), "unreachable"),
    ],
)
async def test_channel_in_trouble_is_told_and_asked_again(error: Exception, said: str) -> None:
    """No error of the channel or the disk ends the updater."""
    place = FakePlace(error=error)
    await until_said(place, updater(place), "steady", said)


async def test_signatures_that_end_soon_are_told_while_bundles_still_come() -> None:
    """Once on MQTT and once in the log, with what is to be done; it goes when somebody signed."""
    place = FakePlace()
    place.ending = "signatures hold no longer than: root until 2027-03-01"
    subject = updater(place)
    with capture_logs() as logs:
        for _ in range(3):
            await subject._poll()
        assert [said[1] for said in place.said] == ["update_expires"]
        place.ending = None
        await subject._poll()
    assert [said[1] for said in place.said] == ["update_expires", None]
    assert [(log["event"], log.get("reason")) for log in logs] == [
        ("update_expires", "signatures hold no longer than: root until 2027-03-01"),
        ("update_found", None),
    ]


async def test_channel_that_is_away_for_long_is_logged_and_told_once() -> None:
    """However often it is asked; what is wrong with it now is said anew when that is something else."""
    place = FakePlace(error=ExchangeError("x", ExchangeReason.UNREACHABLE))
    subject = updater(place)
    with capture_logs() as logs:
        for _ in range(300):
            await subject._poll()
        place.error = ExchangeError("y", ExchangeReason.EXPIRED)
        await subject._poll()
    assert [said[1] for said in place.said] == ["unreachable", "update_stale"]
    assert [log["reason"] for log in logs] == ["x", "y"]


async def test_offer_goes_to_the_shadow() -> None:
    """The first look brings a bundle on trial."""
    place = FakePlace(offered=NEW)
    await until_said(place, updater(place), "shadow", None)
    assert place.done == ["stage a"]


async def test_full_disk_delays_what_is_written_and_nothing_else() -> None:
    """The bundle is undone at once; what the disk is to know follows in order, and nothing is taken before that."""
    place = FakePlace(offered=NEW)
    place.is_full = True
    now_s = 0.0
    subject = Updater(
        "hall",
        place,
        pace=Pace(poll_s=1.0),
        state=swap.Swap("probation", NEW),
        running=make_bundle(),
        clock=lambda: now_s,
    )
    subject.ask(ROLL_BACK)
    subject.ask(UNPIN)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while place.answer is None or place.answer.order != UNPIN:
            place.changed.clear()
            await place.changed.wait()
        assert (place.done, place.asked, place.answer.refusal) == (["restore"], 0, "the disk is full")
        place.is_full, now_s = False, 1000.0
        place.chosen = swap.Named(NEW, is_running=True, is_on_probation=False, is_pinned=False)
        subject.ask(UNPIN)
        while not place.asked:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()
    assert place.done[:3] == ["restore", f"kept: {swap.OPERATOR}, stay", "choose None"]


def named(*, is_on_probation: bool) -> swap.Named:
    """Return that the disk names another bundle than the one in use."""
    return swap.Named(NEW, is_running=False, is_on_probation=is_on_probation, is_pinned=True)


async def answered(place: FakePlace, order: ModelOrder) -> str | None:
    """Give an order, and return why it was refused."""
    subject = updater(place)
    subject.ask(order)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while place.answer is None:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()
    assert place.answer.order == order
    return place.answer.refusal


async def test_order_is_answered() -> None:
    """What the operator wants is written, followed and answered; what cannot be is refused with its reason."""
    place = FakePlace()
    place.chosen = named(is_on_probation=True)
    assert await answered(place, ModelOrder("pin", 3)) is None
    assert place.done[:2] == ["choose 3", "follow a"]
    assert place.said[-1][0] == "probation"
    place = FakePlace()
    place.is_factory = True
    assert await answered(place, ROLL_BACK) == "nothing to go back to"
    assert place.done == []


async def test_bundle_that_was_chosen_and_cannot_judge_is_denied() -> None:
    """What judged before goes on, and the answer says why."""
    place = FakePlace(error=RuntimeFault("no session"))
    place.chosen = named(is_on_probation=True)
    assert await answered(place, ModelOrder("pin", 3)) == "no session"
    assert place.done == ["choose 3", "follow a", "discard", "deny a: no session"]
    assert place.said[-1][0] == "steady"


@pytest.mark.parametrize(("is_on_probation", "phase"), [(True, "probation"), (False, "steady")])
async def test_what_somebody_else_wrote_is_followed(is_on_probation: bool, phase: swap.Phase) -> None:
    """The command line installed a bundle, or went back: it judges, and a new one is watched."""
    place = FakePlace(offered=NEW)
    place.names = named(is_on_probation=is_on_probation)
    subject = updater(place)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while place.done != ["follow a"] or place.said[-1][0] != phase:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()
    assert subject.state == swap.Swap(phase, NEW if is_on_probation else None, is_pinned=True)


async def test_orders_beyond_the_bound_are_not_taken() -> None:
    """Whoever asks is told why, and so is whoever reads MQTT."""
    place = FakePlace()
    subject = updater(place)
    for _ in range(MOST_ASKED):
        subject.ask(UNPIN)
    with pytest.raises(RequestsWait, match="8 orders for hall wait already"):
        subject.ask(ROLL_BACK)
    assert place.answer is not None
    assert place.answer.order == ROLL_BACK
    assert "8 orders for hall wait already" in str(place.answer.refusal)


async def test_batches_beyond_the_bound_are_dropped_and_counted() -> None:
    """A bundle that is too slow sees fewer faces; memory stays flat."""
    place = FakePlace(offered=NEW)
    subject = updater(place, swap.Swap("probation", NEW))
    for _ in range(MOST_BATCHES + 5):
        subject.on_seen(BATCH)
    assert subject.dropped == 5


class Clock:
    """Stands until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def patient(place: FakePlace, clock: Clock, state: swap.Swap | None = None) -> Updater:
    """Return an updater whose time the test has in hand."""
    state = state or swap.Swap()
    return Updater("hall", place, pace=Pace(poll_s=300.0), state=state, running=make_bundle(), clock=clock)


async def test_bundle_that_could_not_be_opened_in_time_is_tried_later_and_never_denied() -> None:
    """A busy machine says nothing of a bundle: it is told, tried ever more seldom, and taken when there is time."""
    place, clock = FakePlace(offered=NEW), Clock()
    place.late = {"stage"}
    subject = patient(place, clock)
    with capture_logs() as logs:
        await subject._poll()
        assert place.done == ["stage a", "discard"]
        assert place.said[-1][0] == "steady"
        assert "30 s; it is tried again in 60 s" in str(place.said[-1][2])
        clock.now_s = 59.0
        await subject._poll()
        assert place.done == ["stage a", "discard"]
        clock.now_s = 60.0
        await subject._poll()
        assert place.done == ["stage a", "discard"] * 2
    assert [(log["event"], log.get("retry_s")) for log in logs if log["event"] == "model_late"] == [
        ("model_late", 60.0),
        ("model_late", 120.0),
    ]
    place.late, clock.now_s = set(), 180.0
    await subject._poll()
    assert place.said[-1] == ("shadow", None, None)
    assert not any(done.startswith("deny") for done in place.done)


async def test_bundle_that_never_opens_in_time_is_left_until_another_comes() -> None:
    """Tries are bounded, each may leave a thread behind; another bundle is tried at once."""
    place, clock = FakePlace(offered=NEW), Clock()
    place.late = {"stage"}
    subject = patient(place, clock)
    for _ in range(1000):
        await subject._poll()
        clock.now_s += 3600.0
    assert place.done == ["stage a", "discard"] * MOST_TRIES
    assert "with the next start" in str(place.said[-1][2])
    place.offered = "b" * 64
    await subject._poll()
    assert place.done[-2:] == ["stage b", "discard"]


async def test_bundle_on_trial_whose_scores_come_too_late_is_let_go_and_not_denied() -> None:
    """It is offered again when the machine may have time."""
    place, clock = FakePlace(offered=NEW), Clock()
    subject = patient(place, clock)
    await subject._poll()
    place.late = {"score"}
    subject.on_seen(BATCH)
    await subject._look()
    await subject._judge()
    assert (place.done, place.said[-1][0]) == (["stage a", "discard"], "steady")
    place.late, clock.now_s = set(), 60.0
    await subject._poll()
    assert place.said[-1][0] == "shadow"


@pytest.mark.parametrize("is_on_probation", [True, False])
async def test_bundle_that_the_disk_names_is_followed_when_there_is_time(is_on_probation: bool) -> None:
    """What the operator chose and could not be opened in time is not denied; what judges goes on until then."""
    place, clock = FakePlace(), Clock()
    place.late = {"follow"}
    place.chosen = named(is_on_probation=is_on_probation)
    subject = patient(place, clock)
    await subject._obey(ModelOrder("pin", 3))
    assert place.answer is not None
    assert "it is tried again in 60 s" in str(place.answer.refusal)
    assert place.done == ["choose 3", "follow a", "discard"]
    place.names = place.chosen
    await subject._look_at_disk()  # somebody wrote something else
    assert place.done == ["choose 3", "follow a", "discard"]
    place.late, clock.now_s, place.names = set(), 60.0, place.chosen
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while len(place.done) < 4 or place.said[-1][0] not in {"probation", "steady"}:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()
    assert place.done == ["choose 3", "follow a", "discard", "follow a"]


@pytest.mark.parametrize("late", [AT_ONCE - 1, AT_ONCE])
async def test_rollback_on_a_busy_machine_is_insisted_on_and_never_ends_the_gateway(late: int) -> None:
    """It cannot wait; where time runs out again and again, what judges goes on and the operator is told."""
    place = FakePlace()
    subject = patient(place, Clock())

    def hurry(what: str) -> None:
        if what == "restore" and place.done.count("restore") <= late:
            raise LateFault("the inference session on the CPU gave no answer within 30 s")

    place._hurry = hurry  # type: ignore[method-assign]
    await subject._obey(ROLL_BACK)
    assert place.done.count("restore") == min(late + 1, AT_ONCE)
    assert place.said[-1][0] == "steady"
    assert place.answer is not None
    is_told = "no answer within 30 s" in str(place.answer.refusal)
    assert is_told == (late == AT_ONCE)
    assert any(done.startswith("kept: ") for done in place.done) != is_told


async def test_line_that_never_empties_does_not_keep_a_bundle_from_being_judged() -> None:
    """A bundle that is slower than its cameras is judged all the same, and the operator is heard."""
    place = FakePlace(offered=NEW)
    subject = updater(place)
    nobody = Seen(np.zeros((0, 32, 32, 3), np.uint8), ())
    place.next_seen = lambda: subject.on_seen(nobody)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(subject.run(), name="updater")
        while subject.state.phase != "shadow":
            place.changed.clear()
            await place.changed.wait()
        subject.on_seen(nobody)
        while len(place.compared) < 10:
            place.changed.clear()
            await place.changed.wait()
        subject.ask(ROLL_BACK)
        while place.answer is None:
            place.changed.clear()
            await place.changed.wait()
        task.cancel()
    assert "restore" in place.done
    assert place.scored >= 10 * COMPARE_EVERY


async def test_nothing_waits_without_a_trial() -> None:
    """In the steady state batches are let go at once and not counted."""
    subject = updater(FakePlace())
    for _ in range(1000):
        subject.on_seen(BATCH)
    assert subject.dropped == 0
