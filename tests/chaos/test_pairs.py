"""Two things go wrong at once, and gateways are killed meanwhile.

`SPECTRAGATE_CHAOS_PAIRS=200` runs more pairs; `SPECTRAGATE_CHAOS_SEED` repeats a run's choice of them.
"""

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from chaos import runs
from chaos.proxy import Script
from chaos.report import SEED, record
from chaos.runs import Faults, storm
from fakes.brokers import MISSING, Mosquitto, mosquitto_program

PAIRS = int(os.environ.get("SPECTRAGATE_CHAOS_PAIRS", "3"))
KILLS = 12

CHANGES: dict[str, dict[str, object]] = {
    "broker killed": {"broker_kills": 3},
    "broker stopped": {"broker_stops": 2},
    "broker loses": {"script": Script(lose=0.1)},
    "broker garbles": {"script": Script(garble=0.03, garble_answers=0.005)},
    "broker silent": {"script": Script(fall_silent=0.01, silent_s=0.7)},
    "disk fails": {"disk": "disk fails"},
    "disk full": {"disk": "disk full"},
    "disk slow": {"disk": "disk slow"},
}
ALL_PAIRS = [
    pair for pair in itertools.combinations(CHANGES, 2) if not CHANGES[pair[0]].keys() & CHANGES[pair[1]].keys()
]


def chosen() -> list[tuple[str, str]]:
    """Return the pairs of this run, by its seed; all of them before any comes again."""
    rng = random.Random(SEED)
    rounds = [rng.sample(ALL_PAIRS, len(ALL_PAIRS)) for _ in range(PAIRS // len(ALL_PAIRS) + 1)]
    return list(itertools.chain(*rounds))[:PAIRS]


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", range(PAIRS))
async def test_nothing_accepted_is_lost_when_two_things_go_wrong(
    number: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever comes together: each accepted alert is delivered once, and fresh ones flow afterwards."""
    if mosquitto_program() is None:
        pytest.fail(MISSING)
    monkeypatch.setattr(runs, "PROXY_S", 2.0)
    pair = chosen()[number]
    faults = Faults(kills=KILLS)
    for name in pair:
        faults = replace(faults, **CHANGES[name])  # type: ignore[arg-type]
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, "allow_anonymous true") as broker:
        outcome = await storm(broker, tmp_path / "state", faults, seed=SEED + number)
    title = f"{' and '.join(pair)}, {KILLS} kills, seed {SEED}"
    record_property("report", outcome.verdict.in_words(title))
    record(f"pair {number}: {' and '.join(pair)}", {**outcome.as_json(), "seed": SEED})
    if "disk full" in pair:
        # A full disk takes what was delivered already: what the broker lost of it is gone, and that is told by number.
        assert outcome.verdict.unexplained == ()
    else:
        assert outcome.verdict.missing == ()
    assert outcome.verdict.twice == ()
    assert outcome.verdict.accepted_twice == ()
    assert len(outcome.verdict.altered) <= outcome.proxy["garbled"]
    assert outcome.done.deaths.total() == KILLS
    assert outcome.verdict.accepted > KILLS
