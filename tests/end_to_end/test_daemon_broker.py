"""The daemon with a real broker: what subscribers see from its start to its end, and what commands do."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import Mosquitto, Received, Subscriber
from fakes.camera_clips import access_units
from fakes.daemon_process import DaemonProcess
from fakes.screening import alarming_bundle

from gateway.contract import messages

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(120)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Yield a broker that anybody may use."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, "allow_anonymous true") as running:
        yield running


def write(folder: Path, port: int, cameras: tuple[str, ...], extra: str = "") -> Path:
    """Write a configuration of cameras that play a recording, with a broker."""
    clip = folder / "walker.h264"
    if not clip.exists():
        clip.write_bytes(b"".join(access_units()))
    lines = "".join(f"  {name}: {{source: {{type: file, path: walker.h264, loop: true}}}}\n" for name in cameras)
    path = folder / "gateway.yaml"
    path.write_text(
        f"mqtt: {{host: 127.0.0.1, port: {port}, client_id: box, stats_interval: 1{extra}}}\n"
        f"state_folder: state\nscreening: {{device: cpu, alert_budget_per_day: 100000, tracks_per_day: 1}}\n"
        f"cameras:\n{lines}"
    )
    return path


async def until(subscriber: Subscriber, condition: Callable[[Received], bool]) -> Received:
    """Return the next message for which the condition holds."""
    while True:
        received = await subscriber.next(within_s=40.0)
        if condition(received):
            return received


def status(received: Received, camera: str) -> tuple[Any, ...]:
    """Return state and reason, where this is the status of the camera."""
    if received.topic != f"spectragate/{camera}/status" or not received.payload:
        return ()
    said = json.loads(received.payload)
    return said["state"], said["reason"]


async def test_subscribers_see_the_whole_life_of_a_box(
    tmp_path: Path, broker: Mosquitto, record_property: Callable[[str, object], None]
) -> None:
    """Online, cameras, statistics, a switch, a camera taken out, and `stopped` in the end."""
    path = write(tmp_path, broker.port, ("gate", "lobby"), ", commands: true")
    with Subscriber(broker.port) as heard, DaemonProcess(path) as daemon:
        await until(heard, lambda each: (each.topic, each.payload) == ("spectragate/available", b"online"))
        await until(heard, lambda each: status(each, "gate") in {("online", None), ("degraded", "overloaded")})
        stats = messages.parse((await until(heard, lambda each: each.topic == "spectragate/stats")).payload)
        assert isinstance(stats, messages.Stats)
        assert [camera.camera for camera in stats.cameras] == ["gate", "lobby"]
        assert stats.broker.state == "online"
        heard.publish("spectragate/gate/enabled/set", b"OFF")
        await until(heard, lambda each: status(each, "gate") == ("disabled", "by_command"))
        write(tmp_path, broker.port, ("gate",), ", commands: true")
        await until(heard, lambda each: (each.topic, each.payload) == ("spectragate/lobby/status", b""))
        code, took_s = await asyncio.to_thread(daemon.end)
        assert code == 0
        record_property("report", f"SIGTERM with a camera and a broker: ended after {took_s:.2f} s (aim 2)")
        await until(heard, lambda each: (each.topic, each.payload) == ("spectragate/available", b"stopped"))
    with Subscriber(broker.port, "spectragate/+/status") as late:
        assert status(await late.next(), "gate") == ("disabled", "by_command")


async def test_box_that_fails_is_offline_and_not_stopped(tmp_path: Path, broker: Mosquitto) -> None:
    """A fault of our own ends the process with 1; the broker publishes the will, as after a kill."""
    path = write(tmp_path, broker.port, ("gate",))
    breaking = (
        "import sys; from gateway.errors import RuntimeFault; from gateway.daemon.daemon import Daemon\n"
        "def tick(self): raise RuntimeFault('a defect')\n"
        "Daemon.tick = tick\n"
        "from gateway.__main__ import main; sys.argv = ['spectragate', 'run', '-c', sys.argv[1]]; main()"
    )
    with Subscriber(broker.port, "spectragate/available") as heard, DaemonProcess(path, code=breaking) as daemon:
        assert (await heard.next(within_s=40.0)).payload == b"online"
        assert (await heard.next(within_s=40.0)).payload == b"offline"
        assert await asyncio.to_thread(daemon.wait) == 1
    assert [line["part"] for line in daemon.log if line["event"] == "part_failed"] == ["stats"]


async def test_alert_reaches_subscribers_and_a_new_run_goes_on_counting(tmp_path: Path, broker: Mosquitto) -> None:
    """From a real camera stream to a subscriber, with latency and number; killed by SIGKILL, numbers go on."""
    alarming_bundle(tmp_path)
    path = write(tmp_path, broker.port, ("gate",))
    path.write_text(path.read_text() + "environments: {default: {bundle: ./alarming}}\n")
    alerts: dict[str, messages.Alert] = {}  # the same one may come twice, under the same id
    with Subscriber(broker.port, "spectragate/alerts") as heard:
        for run in (1, 2):
            with DaemonProcess(path) as daemon:
                while len(alerts) < run:
                    alert = messages.parse((await heard.next(within_s=40.0)).payload)
                    assert isinstance(alert, messages.Alert)
                    alerts.setdefault(alert.id, alert)
                daemon.end(signal.SIGKILL)
    first, second = (alert.data for alert in alerts.values())
    assert (first.type, first.replay, first.camera) == ("new", False, "gate")
    assert first.latency_ms is not None
    assert list(alerts) == ["box-1", "box-2"]
    assert (first.seq, second.seq) == (1, 2)
    assert second.alert_id != first.alert_id
