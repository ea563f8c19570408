"""The daemon as a real process, seen over HTTP."""

import json
import signal
import socket
from pathlib import Path

import httpx2
import pytest
from fakes.camera_clips import access_units
from fakes.daemon_process import DaemonProcess
from fakes.screening import alarming_bundle

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(120)]

TOKEN, PASSWORD = "canary-token-0123456789", "canary-password"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def write(folder: Path, port: int = 0) -> Path:
    """Write a configuration of one camera whose every face is triggered."""
    (folder / "walker.h264").write_bytes(b"".join(access_units()))
    alarming_bundle(folder)
    path = folder / "gateway.yaml"
    path.write_text(
        f"http: {{port: {port}, token: {TOKEN}, password: {PASSWORD}}}\n"
        "state_folder: state\nscreening: {device: cpu, alert_budget_per_day: 100000, tracks_per_day: 1}\n"
        "environments: {default: {bundle: ./alarming}}\n"
        "cameras: {gate: {source: {type: file, path: walker.h264, loop: true}}}\n"
    )
    path.chmod(0o600)
    return path


def test_alert_reaches_whoever_listens_and_the_daemon_still_ends_in_time(tmp_path: Path) -> None:
    """From the picture to the event stream; an open stream holds up no end, and no secret is in log or metrics."""
    with DaemonProcess(write(tmp_path)) as daemon:
        port = daemon.until("http_listening")["port"]
        with (
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER, timeout=40) as client,
            client.stream("GET", "/api/v1/events") as stream,
        ):
            lines = stream.iter_lines()
            told = (json.loads(next(lines).removeprefix("data: ")) for line in lines if line.startswith("event: alert"))
            alert = next(each for each in told if each["data"]["type"] == "new")  # the end of one may come before
            assert alert["data"]["camera"] == "gate"
            assert client.get("/readyz").json() == {"ready": True, "reasons": []}
            kept = client.get("/api/v1/alerts").json()
            assert alert["data"]["alert_id"] in {each["data"]["alert_id"] for each in kept}
            metrics = client.get("/metrics").text
            assert "spectragate_inference_seconds_count" in metrics
            code, took_s = daemon.end(signal.SIGTERM)
        assert (code, took_s < 20) == (0, True)
        for secret in (TOKEN, PASSWORD):
            assert secret not in "".join(daemon.raw)
            assert secret not in metrics


def test_alerts_of_the_last_run_are_shown_after_a_restart(tmp_path: Path) -> None:
    """They are in the outbox, with or without a broker."""
    path = write(tmp_path)
    with DaemonProcess(path) as daemon:
        daemon.until("alert")
        daemon.end()
    path.write_text(path.read_text().replace("cameras: {gate", "cameras: {yard"))
    with DaemonProcess(path) as daemon:
        port = daemon.until("http_listening")["port"]
        kept = httpx2.get(f"http://127.0.0.1:{port}/api/v1/alerts", headers=BEARER, timeout=40).json()
        assert "gate" in {each["data"]["camera"] for each in kept}


def test_port_that_is_taken_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    """Exit code 78, which the service manager does not restart, and a line that names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with DaemonProcess(write(tmp_path, port)) as daemon:
            assert daemon.wait() == 78
            assert f"http: 127.0.0.1 port {port}" in "".join(daemon.raw)
