"""The broker away for an hour, killed, frozen, or behind rules and TLS: what was accepted arrives."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import Mosquitto, free_port, make_authority
from fakes.links import settings, settled
from fakes.outboxes import SMALL, Clock

from gateway.contract import messages
from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, to_bytes
from gateway.delivery.outbox import Outbox, OutboxEntry, Rank
from gateway.delivery.sender import WINDOW
from gateway.delivery.service import Delivery
from gateway.settings import BrokerSettings, OutboxSettings
from gateway.storage.state import Storage
from gateway.storage.tables import RetainedTable

pytestmark = pytest.mark.end_to_end

LIVE = next(message.data for message in EXAMPLES.values() if isinstance(message, Alert))
ALERTS = "spectragate/alerts"
HOUR, PER_SECOND = 72_000, 20
UNBOUNDED = ("max_inflight_messages 0", "max_queued_messages 0", "max_queued_bytes 0")


@asynccontextmanager
async def box(
    folder: Path, broker: BrokerSettings, *, clock: Clock | None = None, outbox_settings: OutboxSettings = SMALL
) -> AsyncIterator[tuple[Delivery, Outbox]]:
    """Run the delivery of a box for the length of a block."""
    async with Storage.open(folder, settings=outbox_settings) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=outbox_settings, clock=clock or time.time)
        delivery = Delivery(broker, outbox, RetainedTable(storage))
        await delivery.load()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(delivery.run(), name="delivery")
            try:
                yield delivery, outbox
            finally:
                task.cancel()


def entry(seq: int, *, says: str = "new") -> OutboxEntry:
    """Return an alert as big as a real one."""
    changes: dict[str, Any] = {"seq": seq, "alert_id": f"a{seq}", "type": says}
    alert = Alert.of(
        messages.AlertData(**{**dict(LIVE), **changes}),
        event_id=messages.live_event_id("box", seq),
        source="spectragate/box",
    )
    return OutboxEntry("alert", ALERTS, to_bytes(alert), seq=seq, rank=Rank.ALERT, camera="lobby", alert_id=f"a{seq}")


def resident_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@contextmanager
def listening(port: int, file: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Let mosquitto_sub write every alert it gets to a file, one a line; its session outlives it and the broker."""
    command = ["mosquitto_sub", "-p", str(port), "-t", ALERTS, "-q", "1", "-c", "-i", "desk", *arguments]
    with file.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL) as child:
        try:
            yield child
        finally:
            child.kill()  # its handler of SIGTERM waits for ever for a lock where it interrupts a write


def seqs(file: Path) -> list[int]:
    """Return the numbers of the alerts in a file, in the order of their arrival; a last line may be unfinished."""
    return [json.loads(line)["data"]["seq"] for line in file.read_bytes().split(b"\n")[:-1]]


async def accept_many(outbox: Outbox, count: int, clock: Clock) -> None:
    """Accept so many alerts, `PER_SECOND` in each second of the clock."""
    for _ in range(0, count, PER_SECOND):
        await asyncio.gather(*(outbox.submit(entry(outbox.next_seq())) for _ in range(PER_SECOND)))
        clock.now_s += 1.0


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_broker_when_it_is_away_for_an_hour(tmp_path: Path) -> None:
    """All is held in little memory; back, the first goes out at once, then everything in order, and a new one first."""
    port, clock, arrived = free_port(), Clock(time.time()), tmp_path / "arrived"
    durable = ("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/", *UNBOUNDED)
    broker = Mosquitto(tmp_path, *durable, port=port)
    with broker, listening(port, arrived):
        await settled(lambda: "Sending SUBACK to desk" in broker.log)
    async with box(tmp_path, settings(port), clock=clock) as (delivery, outbox):
        await accept_many(outbox, 2_000, clock)
        before_mb = resident_mb()
        await accept_many(outbox, HOUR - 2_000, clock)
        grown_mb = resident_mb() - before_mb
        status = outbox.status()
        assert (status.depth, status.alerts_evicted) == (HOUR, 0)
        assert status.bytes <= 64 * 2**20
        broker.start()
        back_s = time.monotonic()
        with listening(port, arrived):
            await settled(lambda: delivery.broker_stats().published > 0)
            first_out_s = time.monotonic() - back_s
            await settled(lambda: delivery.broker_stats().published > 1_000)
            fresh = outbox.next_seq()
            await outbox.accept(entry(fresh))
            await settled(lambda: outbox.status().depth == 0, within_s=400.0)
            drained_s = time.monotonic() - back_s
            await settled(lambda: arrived.read_bytes().count(b"\n") >= HOUR + 1, within_s=60.0)
        drain_mb = resident_mb() - before_mb
        broker.end()
    print(
        f"grown {grown_mb:.1f} MB, after draining {drain_mb:.1f} MB; first out {first_out_s:.2f} s; "
        f"{HOUR / drained_s:.0f} a second; {status.bytes / 2**20:.0f} MB on disk"
    )
    order = list(dict.fromkeys(seqs(arrived)))
    assert sorted(order) == list(range(1, HOUR + 2))
    assert [seq for seq in order if seq != fresh] == list(range(1, HOUR + 1))
    assert order.index(fresh) < HOUR // 2
    assert grown_mb <= 5.0
    assert first_out_s < 10.0


async def test_broker_when_it_is_killed_again_and_again(tmp_path: Path) -> None:
    """Ten kills while alerts come: first arrivals are in order, and what a broker confirmed and lost is still there."""
    port, arrived, clock = free_port(), tmp_path / "arrived", Clock(time.time())
    durable = ("allow_anonymous true", "persistence true", "autosave_interval 1", "autosave_on_changes true")
    broker = Mosquitto(tmp_path, *durable, f"persistence_location {tmp_path}/", *UNBOUNDED, port=port)
    with broker, listening(port, arrived):
        await settled(lambda: "Sending SUBACK to desk" in broker.log)
        async with box(tmp_path, settings(port)) as (delivery, outbox):
            await settled(lambda: delivery.broker_stats().state == "online")
            for _ in range(10):
                await accept_many(outbox, 40, clock)
                await asyncio.to_thread(broker.end, signal.SIGKILL)
                await accept_many(outbox, 20, clock)
                await asyncio.to_thread(broker.start)
            await settled(lambda: outbox.status().depth == 0, within_s=40.0)
            await settled(lambda: 600 in seqs(arrived), within_s=40.0)
            kept = [row.seq for row in await outbox.between(1, 600, limit=600)]
    order = list(dict.fromkeys(seqs(arrived)))
    assert order == sorted(order)
    # mosquitto confirms a message a moment before it saves it.
    assert 600 - len(order) <= 10 * WINDOW
    assert kept == list(range(1, 601))


async def test_broker_when_it_freezes(tmp_path: Path) -> None:
    """Alerts are accepted meanwhile; awake, it gets them all."""
    arrived = tmp_path / "arrived"
    with Mosquitto(tmp_path, "allow_anonymous true", *UNBOUNDED) as broker, listening(broker.port, arrived):
        async with box(tmp_path, settings(broker.port, keepalive_s=1)) as (delivery, outbox):
            await settled(lambda: delivery.broker_stats().state == "online" and "Sending SUBACK to desk" in broker.log)
            os.kill(broker.pid, signal.SIGSTOP)
            await accept_many(outbox, 40, Clock())
            await settled(lambda: delivery.broker_stats().state == "away", within_s=30.0)
            os.kill(broker.pid, signal.SIGCONT)
            await settled(lambda: outbox.status().depth == 0, within_s=40.0)
            await settled(lambda: len(set(seqs(arrived))) == 40)
    assert list(dict.fromkeys(seqs(arrived))) == list(range(1, 41))


async def test_broker_when_it_denies_alerts(tmp_path: Path) -> None:
    """A rule that forbids the topic is noticed and named, the alerts stay, and go out when the rule is changed."""
    rules = tmp_path / "acl"
    rules.write_text("topic deny spectragate/alerts\ntopic readwrite #\n")
    rules.chmod(0o600)
    with Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}") as broker:
        async with box(tmp_path, settings(broker.port)) as (delivery, outbox):
            await accept_many(outbox, 20, Clock())
            await settled(lambda: delivery.broker_stats().reason == "acl")
            assert outbox.status().depth == 20
            rules.write_text("topic readwrite #\n")
            os.kill(broker.pid, signal.SIGHUP)
            await settled(lambda: outbox.status().depth == 0, within_s=40.0)
            assert delivery.broker_stats().reason is None


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two folders of certificates by two authorities."""
    ours, other = (tmp_path_factory.mktemp(name) for name in ("ours", "other"))
    for folder in (ours, other):
        make_authority(folder)
    return ours, other


def certified(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the TLS settings of a box with certificates from a folder."""
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    files = {"tls_ca_certs": "ca.pem", "tls_certfile": "client.pem", "tls_keyfile": "client.key"}
    return {**{key: folder / name for key, name in files.items()}, "host": "localhost", **changes}


async def test_tls_when_anything_is_wrong(tmp_path: Path, authorities: tuple[Path, Path]) -> None:
    """Another authority, name or certificate, or no TLS at all: never connected, not one alert leaves, it says why."""
    ours, other = authorities
    tls = ("cafile", "certfile", "keyfile"), ("ca.pem", "srv.pem", "srv.key")
    lines = [f"{word} {ours / name}" for word, name in zip(*tls, strict=True)]
    no_client = {key: value for key, value in certified(ours).items() if key in {"tls_ca_certs", "host"}}
    wrong = {
        "authority": certified(ours, tls_ca_certs=other / "ca.pem"),
        "client certificate of another": certified(other, tls_ca_certs=ours / "ca.pem"),
        "no client certificate": no_client,
        "no TLS": {},
    }
    with Mosquitto(tmp_path, *lines, "require_certificate true", "allow_anonymous true") as broker:
        for name, changes in wrong.items():
            folder = tmp_path / name.replace(" ", "-")
            folder.mkdir()
            async with box(folder, settings(broker.port, **changes)) as (delivery, outbox):
                await accept_many(outbox, 20, Clock())
                await settled(lambda d=delivery: d.broker_stats().reason is not None)  # type: ignore[misc]
                await asyncio.sleep(0.3)
                assert delivery.broker_stats().state == "away", name
                assert delivery.broker_stats().connects == 0, name
                assert outbox.status().depth == 20
        assert "PUBLISH" not in broker.log
        async with box(tmp_path / "no-TLS", settings(broker.port, **certified(ours))) as (delivery, outbox):
            await settled(lambda: outbox.status().depth == 0)


async def test_tls_when_the_broker_has_another_name(tmp_path: Path, authorities: tuple[Path, Path]) -> None:
    """A certificate of the right authority for another host is not enough."""
    ours, _ = authorities
    (tmp_path / "names").write_text("subjectAltName=DNS:elsewhere.example\n")
    for file in ("ca.pem", "ca.key"):
        (tmp_path / file).write_bytes((ours / file).read_bytes())
    new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=srv -keyout srv.key -out srv.csr"
    sign = "x509 -req -in srv.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out srv.pem"
    for command in (new, sign):
        run = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        await asyncio.to_thread(run, ["openssl", *command.split()])
    lines = (f"certfile {tmp_path / 'srv.pem'}", f"keyfile {tmp_path / 'srv.key'}", "allow_anonymous true")
    folder = tmp_path / "box"
    folder.mkdir()
    with Mosquitto(tmp_path, *lines) as broker:
        async with box(folder, settings(broker.port, **certified(ours))) as (delivery, _):
            await settled(lambda: delivery.broker_stats().reason == "tls")
            assert delivery.broker_stats().connects == 0
