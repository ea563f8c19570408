"""The units under a real systemd, from `install-service` to a wedge, sandbox and credentials included."""

import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from fakes.brokers import free_port
from fakes.camera_clips import access_units, write_units
from fakes.clean_sets import prepared_job
from fakes.systemd_machine import LIBRARIES, SystemdMachine, lacking

LACKING = lacking()
pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(LACKING is not None, reason=f"no systemd can be started here: {LACKING}"),
]

SPECTRAGATE = "/usr/lib/spectragate/bin/spectragate"
GATEWAY = """\
cameras:
  gate: {source: {type: file, path: /etc/spectragate/gate.h264, loop: true}}
screening: {device: cpu}
http: {port: PORT, token: "${HTTP_TOKEN}"}
"""
TRAINER = """\
folder: /var/lib/spectragate-trainer
keys: /var/lib/spectragate-trainer/keys
passphrase: ${SPECTRAGATE_PASSPHRASE}
environments: [indoor]
http: {port: PORT, token: "${SPECTRAGATE_TRAINER_TOKEN}"}
"""
JOB = "/var/lib/spectragate-trainer/job"
RUN_JOB = (
    "import asyncio, pathlib; from trainer.executor import LocalExecutor; from trainer.vault import KeyHandle; "
    f'job = pathlib.Path("{JOB}"); handle = KeyHandle.model_validate_json((job / "handle.json").read_text()); '
    "asyncio.run(LocalExecutor().run(job, handle))"
)
DROP_IN = f"[Service]\nStandardError=append:/opt/shared/service.log\nEnvironment={LIBRARIES}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SystemdMachine]:
    """A machine under systemd; what the services say goes to a file, as there is no journal."""
    with SystemdMachine(tmp_path) as machine:
        for name in ("spectragate", "spectragate-trainer"):
            machine.write(f"/etc/systemd/system/{name}.service.d/log.conf", DROP_IN)
        yield machine


def answer(url: str) -> bytes:
    """Return what a service answers, once it listens."""
    with urlopen(url, timeout=60) as page:  # noqa: S310 (ours, on loopback)
        return bytes(page.read())


def wedge(machine: SystemdMachine, unit: str) -> float:
    """Stop a service's process from running; return the seconds until systemd has noticed."""
    pid, began_s = machine.shown(unit, "MainPID")["MainPID"], time.monotonic()
    machine.do("kill", f"-{signal.SIGSTOP.value}", pid)
    machine.until(unit, NRestarts="1")
    return time.monotonic() - began_s


def test_gateway_lives_as_its_unit_says(machine: SystemdMachine, tmp_path: Path) -> None:
    """Installed, started, reloaded, wedged, begun anew, stopped; a configuration with mistakes is not tried again."""
    clip = write_units(tmp_path / "gate.h264", access_units())
    machine.do("install", "-D", "-m", "644", f"/opt/shared/{clip.name}", "/etc/spectragate/gate.h264")
    machine.write("/etc/spectragate/secrets/HTTP_TOKEN", "only-for-this-test\n", mode="600")
    assert "installed." in machine.do(SPECTRAGATE, "install-service", "--yes")
    port = free_port()
    machine.write("/etc/spectragate/gateway.yaml", GATEWAY.replace("PORT", str(port)))

    machine.do("systemctl", "enable", "--now", "spectragate")
    assert machine.shown("spectragate", "ActiveState", "SubState", "User") == {
        "ActiveState": "active",
        "SubState": "running",
        "User": "spectragate",
    }
    assert machine.shown("spectragate", "StatusText")["StatusText"].startswith("1 cameras, ")
    assert answer(f"http://127.0.0.1:{port}/healthz") == b"alive\n"
    pid = machine.shown("spectragate", "MainPID")["MainPID"]
    machine.do("systemctl", "reload", "spectragate")  # which can be back before the service has begun to reload
    machine.until_said("config_loaded")
    machine.until("spectragate", SubState="running")
    assert "Active: active (running)" in machine.do("systemctl", "status", "spectragate")
    assert machine.shown("spectragate", "MainPID")["MainPID"] == pid

    assert wedge(machine, "spectragate") < 100
    machine.until("spectragate", SubState="running")
    assert machine.shown("spectragate", "MainPID")["MainPID"] != pid
    assert answer(f"http://127.0.0.1:{port}/healthz") == b"alive\n"
    machine.do("systemctl", "stop", "spectragate")
    machine.until("spectragate", ActiveState="inactive", Result="success")
    assert '"event":"stopped"' in machine.log.replace(" ", "")

    machine.write("/etc/spectragate/gateway.yaml", "cameras: {gate: 7}\n")
    assert machine.run("systemctl", "start", "spectragate").returncode == 1
    time.sleep(3)
    machine.until("spectragate", ActiveState="failed", ExecMainStatus="78")


def once(machine: SystemdMachine, unit: str, command: str) -> None:
    """Run a command in the sandbox of a unit, once."""
    text = machine.do("cat", f"/etc/systemd/system/{unit}.service")
    changes = {"Type": "oneshot", "ExecStart": command, "Restart": "no", "TimeoutStartSec": "600s"}
    for key, value in changes.items():
        text = re.sub(rf"^{key}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
    machine.write("/etc/systemd/system/once.service", text)
    machine.write("/etc/systemd/system/once.service.d/log.conf", DROP_IN)
    machine.do("systemctl", "daemon-reload")
    machine.do("systemctl", "start", "once", within_s=600)


def test_trainer_lives_as_its_unit_says(machine: SystemdMachine, tmp_path: Path) -> None:
    """With keys of its own, secrets as credentials, a wedge that is noticed, and room for torch in a job's process."""
    for name, secret in (("SPECTRAGATE_PASSPHRASE", "a long passphrase"), ("SPECTRAGATE_TRAINER_TOKEN", "t" * 16)):
        machine.write(f"/etc/spectragate/secrets/{name}", secret, mode="600")
    machine.do(SPECTRAGATE, "install-service", "--trainer", "--yes")
    as_trainer = ("setpriv", "--reuid=spectragate-trainer", "--regid=spectragate-trainer", "--clear-groups", "env")
    keys = ("SPECTRAGATE_KEYS_PASSPHRASE=a long passphrase", f"{SPECTRAGATE}-trainer", "keys", "init")
    machine.do(*as_trainer, *keys, "/var/lib/spectragate-trainer/keys", "--environment", "indoor")
    port = free_port()
    machine.write("/etc/spectragate/trainer.yaml", TRAINER.replace("PORT", str(port)))

    machine.do("systemctl", "enable", "--now", "spectragate-trainer")
    assert machine.shown("spectragate-trainer", "SubState")["SubState"] == "running"
    status = machine.shown("spectragate-trainer", "StatusText")["StatusText"]
    assert status == f"takes clean sets at 127.0.0.1:{port}"
    assert answer(f"http://127.0.0.1:{port}/healthz") == b'{"status":"ok"}'

    assert wedge(machine, "spectragate-trainer") < 100
    machine.until("spectragate-trainer", SubState="running")
    assert answer(f"http://127.0.0.1:{port}/healthz") == b'{"status":"ok"}'
    machine.do("systemctl", "stop", "spectragate-trainer")
    machine.until("spectragate-trainer", ActiveState="inactive", Result="success")
    job, handle = prepared_job(tmp_path / "job", reference="/opt/shared/reference/index.csv", epochs=1)
    shutil.copy(handle.faces_key, job / "faces.key")
    (job / "handle.json").write_text(handle.model_copy(update={"faces_key": f"{JOB}/faces.key"}).model_dump_json())
    machine.do("cp", "-r", "/opt/shared/job", JOB)
    machine.do("chown", "-R", "spectragate-trainer:", JOB)
    once(machine, "spectragate-trainer", f"/usr/lib/spectragate/bin/python -c '{RUN_JOB}'")
    assert '"scorecard":{' in machine.do("cat", f"{JOB}/result.json").replace(" ", "")
