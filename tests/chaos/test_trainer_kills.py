"""The trainer's service is killed at random points while gateways bring sets and follow jobs: nothing is lost or half.

`SPECTRAGATE_CHAOS_TRAINER_KILLS=200 pytest tests/chaos/test_trainer_kills.py` is the long version;
`SPECTRAGATE_CHAOS_SEED` repeats a run's random choices.
"""

import asyncio
import datetime as dt
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from chaos.report import SEED, record
from chaos.trainer_service import DRAWN, is_refused
from chaos.trainer_storm import START_S, Ended, Gateway, Reader, Services, drawn_set, until_said
from fakes.brokers import free_port, make_authority
from fakes.bundles import write_drawn_bundle
from fakes.clean_sets import PASSPHRASE, TOKEN, kept_in, service_config
from fakes.clean_sets import drawn_set as small_set
from fakes.clear_faces import Searcher
from fakes.processes import children_of, is_running, wait_until
from fakes.trainer_service import with_tls
from pydantic import SecretStr

from gateway.contract.exchange import JobState, JobView
from gateway.settings import AdaptationSettings
from trainer.keys import init_keys
from trainer.service_config import ServiceConfig

KILLS = int(os.environ.get("SPECTRAGATE_CHAOS_TRAINER_KILLS", "20"))
REAL_KILLS = max(2, KILLS // 20)  # of the command itself while it fine-tunes
ENOUGH_KILLS = 150  # of a run, so that chance leaves nothing out
ENVIRONMENTS = ("hall", "yard")
LATER_S = 3600.0  # from one service to the next: signatures last for 24 of them, and are renewed from the twelfth on
EARLY_SHARE = 0.25
EARLY_S, LATE_S, PATIENCE_S = 0.5, 1.5, 5.0
LONGEST_JOB_S = 12.0
COMMAND = (sys.executable, "-m", "trainer", "serve", "--config")
SECOND = {"version": 2, "bundle_sha256": "2" * 64}

Report = Callable[[str, object], None]


def site(folder: Path, **jobs: object) -> tuple[ServiceConfig, AdaptationSettings]:
    """Return a service for two environments on a port of its own, encrypted, and what its gateways are told."""
    make_authority(folder)
    service_config(folder, **jobs)
    init_keys(folder / "keys", passphrase=PASSPHRASE, environments=ENVIRONMENTS, now=dt.datetime.now(dt.UTC))
    with_tls(folder, certfile="srv.pem", keyfile="srv.key")
    port = free_port()
    file = folder / "trainer.yaml"
    value = json.loads(file.read_text("utf-8"))
    value["http"]["port"] = port
    value["environments"] = ENVIRONMENTS
    value["jobs"]["attempts"] = 100
    file.write_text(json.dumps(value), "utf-8")
    settings = AdaptationSettings(
        upload="crops",
        legal_basis="consent of the staff",
        trainer=f"https://127.0.0.1:{port}",
        token=SecretStr(TOKEN),
        ca_file=folder / "ca.pem",
    )
    return ServiceConfig.model_validate(value), settings


async def kill_all(services: Services, dice: random.Random, look: Callable[[], None]) -> None:
    """Kill `KILLS` services, some while they start, most while they work, and look at what each leaves."""
    for _ in range(KILLS):
        service = await services.start(later_s=LATER_S)
        if dice.random() < EARLY_SHARE:
            await asyncio.sleep(dice.uniform(0, EARLY_S))
        else:
            await until_said(service.log, "trainer_listening", within_s=START_S)
            with suppress(TimeoutError):  # all wait for something else
                await until_said(service.log, "job_started", within_s=PATIENCE_S)
            await asyncio.sleep(dice.uniform(0, LATE_S))
        assert await service.end(signal.SIGKILL) == -signal.SIGKILL
        if service.log.exists():
            services.deaths.note(service.log)
        await asyncio.to_thread(look)


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(max(600, 30 * KILLS))
async def test_no_job_is_lost_or_half_when_the_whole_service_is_killed(tmp_path: Path, record_property: Report) -> None:
    """Every set that a gateway was told is a job ends once; after each kill the real client believes the repository."""
    began_s, dice = time.monotonic(), random.Random(SEED)
    config, settings = site(tmp_path)
    write_drawn_bundle(tmp_path / DRAWN)
    (tmp_path / "reader").mkdir()
    searcher = Searcher([config.folder, config.keys], drawn_set("gate", "hall", 0)[1].values())
    gateways = [
        Gateway(f"gate-{number}", ENVIRONMENTS[number % 2], settings, seed=1000 * (number + 1)) for number in range(4)
    ]
    enough = asyncio.Event()
    async with Services.forked(tmp_path, dice) as services:
        reader = Reader(config.keys / "repository", tmp_path / "reader/gateway", services.now)

        def look() -> None:
            for environment in ENVIRONMENTS:
                reader.look(environment)
            searcher.look()

        async with asyncio.TaskGroup() as group:
            for gateway in gateways:
                group.create_task(gateway.run(enough), name="gateway")
            await kill_all(services, dice, look)
            enough.set()
            last = await services.start(later_s=LATER_S)
        await asyncio.to_thread(look)
        assert await last.end(signal.SIGTERM) == 0
    ended = [each for gateway in gateways for each in gateway.ended]
    check(ended, reader.seen, config)
    assert searcher.found == set()
    assert kept_in(config.folder) == []
    troubles = sum((gateway.troubles for gateway in gateways), Counter[str]())
    done = {
        "deaths": services.deaths.at,
        "jobs": len(ended),
        "attempts": sum(each.view.attempts for each in ended),
        "looks": reader.looks,
        "troubles": troubles,
    }
    took_s = time.monotonic() - began_s
    record("trainer killed", {**done, "kills": KILLS, "seed": SEED, "took_s": took_s})
    record_property("report", f"{KILLS} kills of the trainer in {took_s:.0f} s, seed {SEED}: {done}")
    check_not_vacuous(ended, services, troubles)


def check(ended: list[Ended], offered: Mapping[str, Mapping[int, str]], config: ServiceConfig) -> None:
    """What must hold in every run: each job once, as its gates judged; versions without a gap, each of one job."""
    jobs = [each.view.job for each in ended]
    assert len(set(jobs)) == len(jobs)
    for each in ended:
        wanted = JobState.REFUSED if is_refused(each.clean_set.sha256) else JobState.PUBLISHED
        assert each.view.state is wanted, each.view
    for environment in ENVIRONMENTS:
        published = [each.view for each in ended if each.view.environment == environment and each.view.version]
        told = {view.version: view.bundle_sha256 for view in published}
        # The newest version counts what was ever published here: one more would be a job that was published twice.
        assert sorted(view.version or 0 for view in published) == list(range(1, len(published) + 1))
        seen = offered[environment]
        assert max(seen, default=0) == len(published)
        assert all(told[version] == sha256 for version, sha256 in seen.items())
        folders = {path.name for path in (config.keys / "repository/targets/environments" / environment).iterdir()}
        assert {name for name in folders if name.isdigit()} == {str(version) for version in sorted(told)[-5:]}


def check_not_vacuous(ended: list[Ended], services: Services, troubles: Counter[str]) -> None:
    """The kills had something to destroy."""
    assert {each.view.state for each in ended} == {JobState.PUBLISHED, JobState.REFUSED}
    assert services.deaths.at["job_started"] > 0
    assert any(each.view.attempts > 1 for each in ended)
    if KILLS >= ENOUGH_KILLS:
        assert {"starting", "trainer_listening", "job_started", "job_ended"} <= set(services.deaths.at)
        assert services.deaths.at["job_started"] > KILLS / 5
        assert {"away while following", "away while uploading"} <= set(troubles)
        assert len(ended) > KILLS / 10


async def start_command(folder: Path, name: str) -> asyncio.subprocess.Process:
    """Start what an operator starts, and wait until it serves: before that it has no hands for a signal."""
    log = folder / f"log-{name}"
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(*COMMAND, str(folder / "trainer.yaml"), stderr=said)
    await until_said(log, "trainer_listening", within_s=START_S)
    return process


async def kill_command(folder: Path, number: int, dice: random.Random) -> int:
    """Start the command, kill it while it fine-tunes, and return how many jobs' processes died with it."""
    process = await start_command(folder, str(number))
    await asyncio.sleep(dice.uniform(0, LONGEST_JOB_S))
    children = children_of(process.pid, b"trainer.job_run")
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    await wait_until(lambda: not any(is_running(child) for child in children), within_s=60)
    return len(children)


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(300 + 90 * REAL_KILLS)
async def test_real_job_ends_once_when_the_command_is_killed_while_it_fine_tunes(
    tmp_path: Path, record_property: Report
) -> None:
    """The job's process dies with its service; the next one begins again, or publishes what lies whole."""
    dice = random.Random(SEED)
    config, settings = site(tmp_path, lease_s=1.0)
    clean_set, contents = small_set()
    searcher = Searcher([config.folder, config.keys], contents.values())
    (tmp_path / "reader").mkdir()
    reader = Reader(config.keys / "repository", tmp_path / "reader/gateway", lambda: dt.datetime.now(dt.UTC))
    gateway = Gateway("gate-1", "hall", settings, seed=0)
    async with asyncio.TaskGroup() as group:
        brought = group.create_task(gateway.bring(clean_set, contents), name="gateway")
        cut = 0
        for number in range(REAL_KILLS):
            cut += await kill_command(tmp_path, number, dice)
            await asyncio.to_thread(reader.look, "hall")
            await asyncio.to_thread(searcher.look)
        last = await start_command(tmp_path, "last")
        await brought
        last.send_signal(signal.SIGTERM)
        assert await last.wait() == 0
    await asyncio.to_thread(reader.look, "hall")
    view = gateway.ended[0].view
    record_property("report", f"{REAL_KILLS} kills of the command, {cut} of them with a job's process, seed {SEED}")
    assert (view.state, reader.seen["hall"]) == (JobState.PUBLISHED, {1: view.bundle_sha256}), view
    assert searcher.found == set()
    assert kept_in(config.folder) == []


def test_check_sees_a_job_that_is_lost_published_twice_or_half(tmp_path: Path) -> None:
    """Or finding nothing would mean nothing."""
    config = service_config(tmp_path)
    sets = (drawn_set("gate", "hall", seed)[0] for seed in range(100))
    kept = [clean_set for clean_set in sets if not is_refused(clean_set.sha256)][:2]
    ended = [
        Ended(clean_set, JobView(job=clean_set.sha256[:32], environment="hall", state=JobState.PUBLISHED, **facts))
        for clean_set, facts in zip(kept, ({"version": 1, "bundle_sha256": "1" * 64}, SECOND), strict=True)
    ]
    for folder in ("hall/1", "hall/2", "yard"):
        (config.keys / "repository/targets/environments" / folder).mkdir(parents=True)
    seen = {1: "1" * 64, 2: "2" * 64}
    check(ended, {"hall": seen, "yard": {}}, config)
    waiting = replace(ended[1], view=ended[1].view.model_copy(update={"state": JobState.RUNNING}))
    for wrong, offered in (
        ([ended[0], waiting], seen),  # lost
        (ended, seen | {3: "3" * 64}),  # published twice
        (ended, seen | {2: "3" * 64}),  # another than was told
        ([ended[0]], seen),
        ([*ended, ended[0]], seen),
    ):
        with pytest.raises(AssertionError):
            check(wrong, {"hall": offered, "yard": {}}, config)
    (config.keys / "repository/targets/environments/hall/7").mkdir()  # left of a publication that was cut off
    with pytest.raises(AssertionError):
        check(ended, {"hall": seen, "yard": {}}, config)
