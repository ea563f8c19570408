"""Accepted alerts survive `kill -9` of the gateway and of the broker."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from chaos.runs import Storm, storm
from chaos.oracle import Verdict
from fakes.brokers import Mosquitto

from gateway.storage.failpoints import FAIL_POINTS

KILLS = int(os.environ.get("SPECTRAGATE_CHAOS_KILLS", "1000"))
BROKER_KILLS = max(KILLS // 20, 1)
DURABLE = ("persistence true", "autosave_interval 1", "autosave_on_changes true")


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(max(900, KILLS * 2))
@pytest.mark.parametrize("durable", [False, True], ids=["broker forgets", "broker remembers"])
async def test_nothing_accepted_is_lost_to_kills(durable: bool, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Half the kills with a broker that forgets all it confirmed, half with one that keeps it; each alert once."""
    folder = tmp_path / "broker"
    folder.mkdir()
    lines = (*DURABLE, f"persistence_location {folder}/") if durable else ()
    seed = time.time_ns() % 2**31
    with Mosquitto(folder, "allow_anonymous true", *lines) as broker:
        done, verdict = await storm(broker, tmp_path / "state", kills=KILLS // 2, broker_kills=BROKER_KILLS // 2, seed=seed)
    print(asdict(done), verdict)
    record_property("report", verdict.in_words(f"{KILLS//2} kills"))
