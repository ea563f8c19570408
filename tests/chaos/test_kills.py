"""Accepted alerts survive `kill -9` of the gateway and of the broker, at any moment and at every named one.

`SPECTRAGATE_CHAOS_KILLS=10000 SPECTRAGATE_CHAOS_BROKER_KILLS=1000 pytest -n 0 tests/chaos/test_kills.py` is the long
version; `SPECTRAGATE_CHAOS_SEED` repeats a run's random choices.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.killer import POINTS
from chaos.oracle import Verdict
from chaos.report import SEED, record
from chaos.runs import Faults, Storm, storm
from fakes.brokers import MISSING, Mosquitto, mosquitto_program

from gateway.delivery.lanes import LONG

KILLS = int(os.environ.get("SPECTRAGATE_CHAOS_KILLS", "1000"))
BROKER_KILLS = int(os.environ.get("SPECTRAGATE_CHAOS_BROKER_KILLS", "50"))
ENOUGH_KILLS = 200  # of a run, so that chance leaves nothing out

Report = Callable[[str, object], None]


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(max(600, KILLS))
@pytest.mark.parametrize(
    ("name", "share", "broker_share", "lines"),
    [
        ("gateway killed", 0.4, 0.0, ()),
        ("gateway and forgetful broker killed", 0.3, 0.5, ()),
        (
            "gateway and careful broker killed",
            0.3,
            0.5,
            ("persistence true", "autosave_interval 1", "autosave_on_changes true"),
        ),
    ],
)
async def test_nothing_accepted_is_lost_to_kills(
    name: str, share: float, broker_share: float, lines: tuple[str, ...], tmp_path: Path, record_property: Report
) -> None:
    """Each accepted alert reaches a subscriber once, unaltered and in order, whoever dies and whenever."""
    if mosquitto_program() is None:
        pytest.fail(MISSING)
    kills, broker_kills = int(KILLS * share), int(min(BROKER_KILLS, KILLS) * broker_share)
    folder = tmp_path / "broker"
    folder.mkdir()
    where = (f"persistence_location {folder}/",) if lines else ()
    # While the broker is away more alerts wait than are kept in order, for the newest go first; else they are few.
    faults = Faults(kills, broker_kills, most_waiting=None if broker_kills else LONG // 2)
    began_s = time.monotonic()
    with Mosquitto(folder, "allow_anonymous true", *lines, *where) as broker:
        outcome = await storm(broker, tmp_path / "state", faults, seed=SEED)
    took_s = time.monotonic() - began_s
    done, verdict = outcome.done, outcome.verdict
    title = f"{name}: {kills} and {done.broker_kills} kills in {took_s:.0f} s, seed {SEED}"
    record_property("report", verdict.in_words(title))
    record(name, {**outcome.as_json(), "seed": SEED, "took_s": took_s})
    check(verdict)
    if not broker_kills:  # else an `end` may be heard first whose `new` fell while nobody had subscribed yet
        assert verdict.inversions_per_camera == verdict.inversions_per_alert == 0
    check_not_vacuous(done, verdict, kills=kills, broker_kills=broker_kills)


def check(verdict: Verdict) -> None:
    """What must hold in every run."""
    assert verdict.missing == ()
    assert verdict.twice == ()
    assert verdict.altered == ()
    assert verdict.accepted_twice == ()
    assert verdict.garbled == 0
    assert verdict.gaps_lost == 0


def check_not_vacuous(done: Storm, verdict: Verdict, *, kills: int, broker_kills: int) -> None:
    """The kills happened, all over, and had something to destroy."""
    assert done.deaths.total() == kills
    assert done.broker_kills >= broker_kills
    assert verdict.accepted >= 2 * kills
    assert verdict.connections >= 1 + broker_kills
    if kills >= ENOUGH_KILLS:
        assert min(done.windows()) >= kills / 20
        assert verdict.wire_duplicates > 0
        assert set(done.deaths) >= {"random", *POINTS}
