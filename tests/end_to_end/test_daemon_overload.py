"""A box that is asked for more than it can do: frames are lost, counted and announced; alerts still go out."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.brokers import Mosquitto, Received, Subscriber
from fakes.daemon_process import DaemonProcess
from fakes.rtsp_camera import Mount, RtspCamera
from fakes.screening import alarming_bundle

from gateway.contract import messages
from gateway.contract.states import CameraStats

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(480)]

FAST = 100
"""Frames a second; the face finder alone takes longer for each than that leaves."""


def write(folder: Path, port: int, server: RtspCamera, **fps: int) -> Path:
    """Write a configuration of cameras that are looked at so often; every passage is an alert."""
    path = folder / "gateway.yaml"
    cameras = "".join(
        f'  {name}: {{source: {{type: rtsp, url: "{server.url("/" + name)}"}}, detect: {{fps: {each}}}}}\n'
        for name, each in fps.items()
    )
    path.write_text(
        f"mqtt: {{host: 127.0.0.1, port: {port}, client_id: box, stats_interval: 1}}\n"
        "state_folder: state\nscreening: {device: cpu, alert_budget_per_day: 100000, tracks_per_day: 1}\n"
        f"environments: {{default: {{bundle: ./alarming}}}}\ncameras:\n{cameras}"
    )
    return path


async def until(heard: Subscriber, condition: Callable[[Received], bool]) -> list[Received]:
    """Return the messages up to the first for which the condition holds."""
    said: list[Received] = []
    async with asyncio.timeout(150):  # ten times what it takes; a loaded machine takes long
        while not said or not condition(said[-1]):
            said.append(await heard.next(within_s=60.0))
    return said


def is_status(received: Received, camera: str, state: str, reason: str | None) -> bool:
    """Return whether this is the word about a camera."""
    if received.topic != f"spectragate/{camera}/status" or not received.payload:
        return False
    said = json.loads(received.payload)
    return (said["state"], said["reason"]) == (state, reason)


def types_of(said: list[Received], camera: str) -> list[str]:
    """Return the types of a camera's alerts, in order."""
    parsed = [messages.parse(each.payload) for each in said if each.topic == "spectragate/alerts"]
    return [each.data.type for each in parsed if isinstance(each, messages.Alert) and each.data.camera == camera]


def gate_of(received: Received) -> CameraStats | None:
    """Return what statistics tell of the camera `gate`; None of other messages."""
    if received.topic != "spectragate/stats":
        return None
    stats = messages.parse(received.payload)
    assert isinstance(stats, messages.Stats)
    return next((each for each in stats.cameras if each.camera == "gate"), None)


def looked_at(received: Received) -> int:
    """Return how many frames of `gate` were looked at, by statistics; 0 in other messages."""
    gate = gate_of(received)
    return 0 if gate is None else gate.frames_looked_at


@pytest.mark.long
async def test_overload_costs_frames_and_never_alerts(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The camera that asks for too much is degraded and says what it lost; another's alerts go out meanwhile.

    Asked for less, it is looked at again and online. That its own passages still are alerts is not said: each is the
    same clip, and what the camera learnt of the first may make the next one usual.
    """
    (tmp_path / "broker").mkdir()
    alarming_bundle(tmp_path)
    mounts = Mount("/gate", fps=FAST, frames=4 * FAST, gop=FAST), Mount("/lobby")
    with Mosquitto(tmp_path / "broker", "allow_anonymous true") as broker, RtspCamera(tmp_path, *mounts) as server:
        path = write(tmp_path, broker.port, server, gate=FAST)
        with Subscriber(broker.port) as heard, DaemonProcess(path) as daemon:
            before = await until(heard, lambda each: is_status(each, "gate", "degraded", "overloaded"))
            assert types_of(before, "gate")[:1] == ["new"]
            write(tmp_path, broker.port, server, gate=FAST, lobby=5)
            during = await until(heard, lambda each: types_of([each], "lobby") == ["new"])
            during += await until(heard, lambda each: gate_of(each) is not None)
            assert not [each for each in during if is_status(each, "gate", "online", None)]
            gate = gate_of(during[-1])
            assert gate is not None
            assert gate.frames_replaced > gate.frames_looked_at > 0
            assert gate.frame_age_ms is not None
            write(tmp_path, broker.port, server, gate=5, lobby=5)
            await until(heard, lambda each: is_status(each, "gate", "online", None))
            (*_, first) = await until(heard, lambda each: gate_of(each) is not None)
            await until(heard, lambda each: looked_at(each) > looked_at(first) + 10)
            assert daemon.end()[0] == 0
        assert [line["is_on"] for line in daemon.log if line["event"] == "overload"] == [True]
        assert not [line for line in daemon.log if line["event"] == "alert_not_kept"]
    record_property(
        "report",
        f"{FAST} frames a second asked: {gate.frames_looked_at} looked at, {gate.frames_replaced} replaced, newest"
        f" {gate.frame_age_ms:.0f} ms old",
    )
