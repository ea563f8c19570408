"""A broker that garbles, falls silent or loses what it confirmed costs no accepted alert."""

from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.proxy import Script
from chaos.report import SEED, record
from chaos.runs import Faults, storm
from fakes.brokers import MISSING, Mosquitto, mosquitto_program

FOUND_S, FILLED_S, TENFOLD = 2.0, 5.0, 10.0

SCRIPTS = {
    "losing": Script(lose=0.1),
    "garbling": Script(garble=0.05, garble_answers=0.01),
    "silent": Script(fall_silent=0.01, silent_s=1.0),
    "all of it": Script(lose=0.05, garble=0.03, garble_answers=0.005, fall_silent=0.02, silent_s=0.3),
}


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SCRIPTS)
async def test_nothing_accepted_is_lost_to_a_bad_broker(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """What it lost or garbled shows as a gap, which is found and filled by the replay; each alert comes once."""
    if mosquitto_program() is None:
        pytest.fail(MISSING)
    folder = tmp_path / "broker"
    folder.mkdir()
    script = SCRIPTS[name]
    with Mosquitto(folder, "allow_anonymous true") as broker:
        outcome = await storm(broker, tmp_path / "state", Faults(kills=4, script=script), seed=SEED)
    verdict, done = outcome.verdict, outcome.proxy
    record_property("report", f"{verdict.in_words(f'{name} broker, seed {SEED}')}; {dict(done)}")
    record(f"{name} broker", {**outcome.as_json(), "seed": SEED})
    assert verdict.missing == ()
    assert verdict.twice == ()
    assert len(verdict.altered) <= done["garbled"]  # garbled so that nobody can tell: a message still
    assert verdict.accepted > 300
    for what, share in {"lost": script.lose, "garbled": script.garble, "silent": script.fall_silent}.items():
        assert (done[what] > 0) == (share > 0.0)
    if script.lose:
        assert verdict.late > 0
    assert verdict.slowest_found_s < FOUND_S * TENFOLD
    assert verdict.slowest_fill_s < FILLED_S * TENFOLD
