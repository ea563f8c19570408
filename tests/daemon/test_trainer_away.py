"""The trainer is away for a day, by the clock: nobody at a checkpoint notices, and nothing grows."""

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fakes.adaptation import FakeTrainer, faces
from fakes.collecting import SETTINGS
from fakes.daemons import Box, running_daemon
from fakes.offers import ONE, TOPIC, FakeSource, word
from fakes.processes import wait_until, written_bytes
from structlog.testing import capture_logs

from gateway.adaptation import collect
from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import HOLD_S, MOST_IN_WINDOW, WINDOW_S, CleanFace
from gateway.adaptation.exchange import Offer
from gateway.adaptation.place import Pace
from gateway.contract import messages
from gateway.daemon import sending
from gateway.daemon.collecting import Collecting, Place
from gateway.daemon.models import Updates
from gateway.daemon.sending import LOOK_EVERY_S, Sending
from gateway.errors import ExchangeError, ExchangeReason
from gateway.screening import decide

HOURS = 24
POLLS_PER_HOUR = 12
LOOKS_PER_HOUR = round(3600 / LOOK_EVERY_S)
KEPT, SPACING_S = 40, 2 * 3600.0
TRAINER = "spectragate/trainer/state"


@dataclass
class CountingSource(FakeSource):
    """Counts how often it was asked."""

    asked: int = 0

    def newest(self, environment: str) -> Offer | None:
        """Count, and offer nothing."""
        self.asked += 1
        return super().newest(environment)


class Noting(Collecting):
    """Notes every verdict."""

    verdicts: list[decide.Verdict]

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Note it, but for the name of its alert."""
        self.verdicts.append(replace(verdict, alert_id="alert" if verdict.alert_id else None))
        super().on_finished(camera, environment, verdict)


@dataclass
class Day:
    """What a day left: what was judged, said and logged, and how much there was of everything after each hour."""

    verdicts: list[decide.Verdict] = field(default_factory=list)
    shed: int = 0
    said: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    trainer: str = ""
    update: str | None = None
    kept: int = 0
    waiting: list[tuple[int, ...]] = field(default_factory=list)
    files: list[frozenset[str]] = field(default_factory=list)
    written_bytes: list[int] = field(default_factory=list)


async def live_a_day(folder: Path, trainer: FakeTrainer, source: CountingSource) -> Day:
    """Let somebody pass every hour, one in four with white in the face, while clean faces wait to be sent."""
    day, now_s = Day(), [HOLD_S + SPACING_S * KEPT]
    sets = CleanSets(folder / "state")
    for number, pixels_YXC in enumerate(faces(KEPT, seed=3, side_px=40)):
        sets.add(CleanFace("gate", SPACING_S * number, 0.5, pixels_YXC))

    def make(place: Place) -> Noting:
        road = replace(place.road, has_drifted=lambda _: True)
        there = Sending(sets, SETTINGS, road, client_id="box", clock=lambda: now_s[0])
        collecting = Noting(sets, replace(place, road=road), there)
        collecting.verdicts = day.verdicts
        return collecting

    updates = Updates(folder / "state", source, Pace(poll_s=0.01))
    with capture_logs() as logs:
        async with running_daemon(folder, ONE, clock=lambda: now_s[0], make_collecting=make, updates=updates) as box:
            await box.until(lambda: "gate" in box.cameras.opened and TOPIC in box.shown.topics)
            for hour in range(HOURS):
                await live_an_hour(box, source, hour, lambda s: now_s.__setitem__(0, now_s[0] + s))
                note(box, day, folder)
            day.trainer = read(box)
            day.update = word(box).update
            day.shed = box.daemon.environments.summaries["gate"].faces_shed
            day.said.update(topic for topic, _ in box.shown.history)
            day.kept = len(sets.sightings(frozenset({"gate"})))
    day.logged = counted(logs)
    return day


async def live_an_hour(box: Box, source: CountingSource, hour: int, pass_s: Callable[[float], None]) -> None:
    """Let one person pass, the trainer be looked for every ten minutes, and the channel be asked every five."""
    assert box.daemon.collecting is not None
    asked = source.asked
    judged = len(box.daemon.collecting.verdicts)  # type: ignore[attr-defined]
    box.cameras.passage("gate", frames=6, white=0.9 * (hour % 4 == 3), time_s=HOLD_S + SPACING_S * KEPT + 3600.0 * hour)
    await box.until(lambda: len(box.daemon.collecting.verdicts) > judged)  # type: ignore[union-attr]
    for _ in range(LOOKS_PER_HOUR):
        pass_s(LOOK_EVERY_S)
        await box.daemon.collecting.settle()
    await wait_until(lambda: source.asked >= asked + POLLS_PER_HOUR and not box.daemon.adapting.waiting)


def note(box: Box, day: Day, folder: Path) -> None:
    """Note how much there is of everything."""
    assert box.daemon.models is not None
    gc.collect()
    status = box.daemon.outbox.status()
    day.waiting.append((len(asyncio.all_tasks()), box.daemon.adapting.waiting, status.depth + status.unstored))
    here = folder / "state"
    day.files.append(frozenset(str(path.relative_to(here)) for path in here.rglob("*") if "clean" not in path.parts))
    day.written_bytes.append(written_bytes(os.getpid()))


def read(box: Box) -> str:
    """Return how the trainer stands by MQTT."""
    said = messages.parse(box.shown.topics[TRAINER])
    assert isinstance(said, messages.TrainerState)
    return said.state


def counted(logs: list[MutableMapping[str, Any]]) -> Counter[str]:
    """Return how often something was worth a warning."""
    return Counter(log["event"] for log in logs if log["log_level"] in {"warning", "error", "critical"})


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_screening_goes_on_as_ever_while_the_trainer_is_away_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same passages get the same verdicts, no face is shed, it is said once, and nothing grows by it."""
    monkeypatch.setattr(collect, "WANTED", KEPT - 10)
    days = {}
    for is_away in (False, True):
        folder = tmp_path / f"away-{is_away}"
        folder.mkdir()
        trainer = FakeTrainer(is_away=is_away)
        monkeypatch.setattr(sending, "client_of", lambda _, trainer=trainer: trainer.client())
        away = ExchangeError("the repository cannot be reached", ExchangeReason.UNREACHABLE)
        days[is_away] = await live_a_day(folder, trainer, CountingSource(error=away if is_away else None))
    there, away = days[False], days[True]
    assert (there.trainer, away.trainer) == ("online", "away")
    assert (there.update, away.update) == (None, "unreachable")
    assert len(away.verdicts) == HOURS
    assert {"clean", "triggered"} <= {verdict.label for verdict in away.verdicts}
    assert away.verdicts == there.verdicts
    assert away.shed == there.shed == 0
    assert away.logged - there.logged == Counter({"update_missed": 1, "clean_faces_not_sent": 1})
    assert away.said[TOPIC] <= there.said[TOPIC] + 1
    assert KEPT <= away.kept <= KEPT + MOST_IN_WINDOW * HOURS * round(3600 / WINDOW_S)
    early, late = away.waiting[5], away.waiting[-1]
    assert all(after <= before for before, after in zip(early, late, strict=True)), (early, late)
    assert away.files[5] == away.files[-1]
    assert away.written_bytes[-1] - away.written_bytes[5] < 32 << 20
