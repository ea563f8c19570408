"""The daemon with real cameras: a real RTSP server that is killed, hung and brought back; nobody else notices."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.daemon_process import DaemonProcess
from fakes.rtsp_camera import Mount, RtspCamera

pytestmark = pytest.mark.end_to_end

OFFLINE_S = 3.0
GOP_S = 1.0
RETURN_S = GOP_S + 1.5


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RtspCamera, RtspCamera]]:
    """Yield two servers of one camera each; the first may be broken by a test, which mends it."""
    with (
        RtspCamera(tmp_path_factory.mktemp("gate"), Mount()) as gate,
        RtspCamera(tmp_path_factory.mktemp("lobby"), Mount()) as lobby,
    ):
        yield gate, lobby


def write(folder: Path, **urls: str) -> Path:
    """Write a configuration of these cameras."""
    cameras = "".join(f'  {name}: {{source: {{type: rtsp, url: "{url}"}}}}\n' for name, url in urls.items())
    path = folder / "gateway.yaml"
    path.write_text(f"state_folder: state\nscreening: {{device: cpu}}\ncameras:\n{cameras}")
    return path


def until_online(daemon: DaemonProcess, *cameras: str, event: str = "camera_online") -> None:
    """Wait until all of them are online."""
    waiting = set(cameras)
    while waiting:
        line = daemon.until(event)
        waiting.discard(line["camera"])


@pytest.mark.long
def test_camera_is_offline_and_back_in_time(
    tmp_path: Path, servers: tuple[RtspCamera, RtspCamera], record_property: Callable[[str, object], None]
) -> None:
    """Killed and hung: the daemon says so, and says when it is back; the other camera says nothing."""
    gate, lobby = servers
    took: dict[str, list[float]] = {"offline": [], "back": []}
    with DaemonProcess(write(tmp_path, gate=gate.url(), lobby=lobby.url())) as daemon:
        until_online(daemon, "gate", "lobby")
        for how in ("kill", "freeze", "stall"):
            began_s = time.monotonic()
            getattr(gate, how)()
            daemon.until("camera_lost", camera="gate", within_s=10 * OFFLINE_S)
            took["offline"].append(time.monotonic() - began_s)
            time.sleep(1.5)
            {"kill": gate.start, "freeze": gate.thaw, "stall": gate.resume}[how]()
            began_s = time.monotonic()
            daemon.until("camera_back", camera="gate", within_s=10 * RETURN_S)
            took["back"].append(time.monotonic() - began_s)
        assert [line for line in daemon.log if line["event"] == "camera_lost" and line["camera"] == "lobby"] == []
        assert daemon.end()[0] == 0
    offline, back = (", ".join(f"{value:.2f}" for value in took[name]) for name in ("offline", "back"))
    record_property(
        "report",
        f"killed, hung, stalled: offline after {offline} s (aim {OFFLINE_S:g}), back after {back} s"
        f" (aim GOP + 1.5 = {RETURN_S:g})",
    )


def test_reload_keeps_the_workers_of_cameras_that_are_the_same(
    tmp_path: Path, servers: tuple[RtspCamera, RtspCamera]
) -> None:
    """By the processes themselves: one worker goes, one comes, the third has the same id as before."""
    gate, lobby = servers
    with DaemonProcess(write(tmp_path, gate=gate.url(), lobby=lobby.url())) as daemon:
        until_online(daemon, "gate", "lobby")
        before = daemon.children()
        write(tmp_path, gate=gate.url(), dock=lobby.url())
        daemon.send(signal.SIGHUP)
        until_online(daemon, "dock")
        after = daemon.children()
        assert (len(before), len(after), len(before & after)) == (3, 3, 2)
        write(tmp_path, gate="rtsp://[", dock=lobby.url())
        daemon.send(signal.SIGHUP)
        daemon.until("config_refused")
        assert daemon.children() == after
        assert daemon.end()[0] == 0


@pytest.mark.long
def test_worker_that_is_killed_is_replaced(tmp_path: Path, servers: tuple[RtspCamera, RtspCamera]) -> None:
    """A worker dies by SIGKILL or stands still: the daemon starts another, and leaves no process behind."""
    gate, _ = servers
    with DaemonProcess(write(tmp_path, gate=gate.url())) as daemon:
        until_online(daemon, "gate")
        server = next(line for line in daemon.log if line["event"] == "fork_server_ready")["pid"]
        for how, reason in ((signal.SIGKILL, "crashed"), (signal.SIGSTOP, "hung")):
            (worker,) = daemon.children() - {server}

            os.kill(worker, how)
            daemon.until("camera_lost", camera="gate", reason=reason, within_s=10 * OFFLINE_S)
            until_online(daemon, "gate", event="camera_back")
        assert len(daemon.children()) == 2
        assert daemon.end()[0] == 0
