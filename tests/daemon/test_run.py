"""The daemon as a real process: it starts, reloads, ends in good order, and leaves nothing behind."""

import signal
from pathlib import Path

import numpy as np
import pytest
from fakes.daemon_process import PATIENCE, DaemonProcess
from fakes.manager import FakeManager
from fakes.processes import is_running
from structlog.testing import capture_logs

from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import CleanFace
from gateway.config import Config
from gateway.daemon.run import erase_unwanted, state_folder
from gateway.errors import ConfigError
from gateway.storage.sealed import EVIDENCE_FOLDER, SealedFiles

pytestmark = pytest.mark.end_to_end

CLEAN_EXIT_S = 2.0
GATE = "  gate: {source: {type: file, path: gate.h264, loop: true}}\n"


def write(folder: Path, cameras: str) -> Path:
    """Write a configuration with these cameras."""
    path = folder / "gateway.yaml"
    path.write_text(f"state_folder: state\nscreening: {{device: cpu}}\ncameras:\n{cameras}")
    return path


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["terminated", "interrupted"])
def test_signal_ends_it_in_good_order(tmp_path: Path, how: signal.Signals, interrupts_arrive: None) -> None:
    """Exit code 0, ten times within the deadline at most, and every child is gone."""
    with DaemonProcess(write(tmp_path, GATE)) as daemon:
        for _ in range(2):  # in either order: both warm up at once
            daemon.until_true(lambda line: line["event"] in {"started", "fork_server_ready"})
        children = daemon.children()
        assert children
        code, took_s = daemon.end(how)
        assert code == 0
        assert took_s < 10 * CLEAN_EXIT_S
        assert daemon.log[-1]["event"] == "stopped"
    assert not [pid for pid in children if is_running(pid)]


def test_signal_while_starting_ends_it(tmp_path: Path) -> None:
    """A supervisor that changes its mind does not wait for sessions to open."""
    with DaemonProcess(write(tmp_path, GATE)) as daemon:
        daemon.until_true(lambda line: True)
        code, took_s = daemon.end()
        assert code == 0
        assert took_s < 10 * CLEAN_EXIT_S


ENDED_AT_ONCE = f"""
import os, signal, sys
from gateway import __main__
{PATIENCE}
sys.argv = ["spectragate", "run", "-c", sys.argv[1]]
parse = __main__.cli.main
def ended(*args, **named):
    os.kill(os.getpid(), signal.SIGTERM)
    return parse(*args, **named)
__main__.cli.main = ended
__main__.main()
"""


def test_signal_before_the_command_is_known_ends_it_in_good_order(tmp_path: Path) -> None:
    """Exit code 0 as at any later time: no supervisor has to tell two kinds of good ends apart."""
    with DaemonProcess(write(tmp_path, GATE), code=ENDED_AT_ONCE) as daemon:
        assert daemon.wait() == 0


def test_configuration_with_mistakes_is_refused(tmp_path: Path) -> None:
    """Exit code 78, which the unit does not restart, and the mistake with its line."""
    path = write(tmp_path, "  gate: {sorce: {type: file, path: gate.h264}}\n")
    with DaemonProcess(path) as daemon:
        assert daemon.wait() == 78
    assert "gateway.yaml:4: cameras.gate.sorce: unknown key" in "\n".join(daemon.raw)


def test_bundle_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Exit code 78 too, and nothing claims to have started."""
    path = write(tmp_path, GATE)
    path.write_text(path.read_text() + "environments: {default: {bundle: nonsense}}\n")
    with DaemonProcess(path) as daemon:
        assert daemon.wait() == 78
    assert "environments.default.bundle: nonsense" in "\n".join(daemon.raw)
    assert "started" not in [line["event"] for line in daemon.log]


def test_reload_by_signal_and_by_file(tmp_path: Path) -> None:
    """Both take the new file; a bad one is refused with its line and changes nothing."""
    path = write(tmp_path, GATE)
    with DaemonProcess(path) as daemon:
        daemon.until("started")
        daemon.send(signal.SIGHUP)
        daemon.until("config_loaded", cameras_begun=[])
        write(tmp_path, GATE + GATE.replace("gate", "lobby"))
        daemon.until("config_loaded", cameras_begun=["lobby"], cameras_ended=[])
        write(tmp_path, "  gate: [")
        daemon.until("config_refused")
        write(tmp_path, GATE)
        daemon.until("config_loaded", cameras_begun=[], cameras_ended=["lobby"])
        assert daemon.end()[0] == 0


def test_manager_is_told_how_the_service_is(tmp_path: Path) -> None:
    """Ready when it screens, alive while work moves, reloading and ready again, stopping."""
    manager = FakeManager(tmp_path, watchdog_s=10.0)
    with manager, DaemonProcess(write(tmp_path, GATE), environment=manager.environment) as daemon:
        assert manager.read()[0] == "READY=1"
        manager.until("WATCHDOG=1")
        daemon.send(signal.SIGHUP)
        manager.until("RELOADING=1")
        assert "1 cameras" in manager.until("READY=1")[1]
        manager.until("WATCHDOG=1")
        assert daemon.end()[0] == 0
        manager.until("STOPPING=1")


def test_second_daemon_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two would give the same numbers to different alerts."""
    path = write(tmp_path, GATE)
    with DaemonProcess(path) as first:
        first.until("started")
        with DaemonProcess(path) as second:
            assert second.wait() == 1
        assert first.end()[0] == 0


def test_state_folder_is_named_by_somebody(tmp_path: Path) -> None:
    """The configuration, else systemd, else it is an error that says so."""
    assert state_folder(Config(state_folder=tmp_path), {"STATE_DIRECTORY": "/var/lib/other"}) == tmp_path
    assert state_folder(Config(), {"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}) == Path("/var/lib/one")
    with pytest.raises(ConfigError, match="state_folder: name the folder"):
        state_folder(Config(), {})


def test_faces_are_erased_where_nothing_keeps_them_any_more(tmp_path: Path) -> None:
    """Switched off, nobody would age them out; what is still wanted stays."""
    face_YXC = np.zeros((32, 32, 3), np.uint8)
    evidence = SealedFiles(tmp_path / EVIDENCE_FOLDER, max_bytes=1 << 20)
    sets = CleanSets(tmp_path)
    assert evidence.put("a1", b"face", kind="face", camera="gate", time_s=50.0)
    assert sets.add(CleanFace("gate", 50.0, 0.5, face_YXC, None))
    both = {"upload": "crops", "legal_basis": "consent", "trainer": "https://t:1", "token": 16 * "t"}
    erase_unwanted(Config.model_validate({"evidence": {"explanations": True}, "adaptation": both}), tmp_path)
    assert evidence.get("a1", "face") is not None
    assert sets.size_bytes > 0
    with capture_logs() as logs:
        erase_unwanted(Config(), tmp_path)
        erase_unwanted(Config(), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [(line["event"], line["count"], line["reason"]) for line in logs] == [
        ("faces_erased", 1, "evidence.explanations is off"),
        ("faces_erased", 1, "adaptation.upload is off"),
    ]
