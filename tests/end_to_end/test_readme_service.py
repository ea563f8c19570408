"""The README's commands about services, typed on a machine under systemd."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.brokers import free_port
from fakes.readme import command
from fakes.systemd_machine import LIBRARIES, PROGRAM, SystemdMachine, lacking

LACKING = lacking()
pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(LACKING is not None, reason=f"no systemd can be started here: {LACKING}"),
]

# What differs from an operator's machine: nobody logs in, so there is no sudo; the program is there, not downloaded.
SUDO = """\
#!/bin/sh
if [ "$1" = -u ]; then
    user=$2; shift 2
    exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
fi
exec "$@"
"""
NOTED = '#!/bin/sh\necho "NAME $@" >> /opt/shared/called\n'
DROP_IN = f"[Service]\nStandardError=append:/opt/shared/service.log\nEnvironment={LIBRARIES}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SystemdMachine]:
    """A machine under systemd, with stand-ins for sudo, pip, and the Python that makes environments."""
    with SystemdMachine(tmp_path) as machine:
        machine.write("/opt/stand-ins/sudo", SUDO, mode="755")
        machine.write("/opt/stand-ins/python3", NOTED.replace("NAME", "python3"), mode="755")
        machine.write(f"{PROGRAM}/bin/pip", NOTED.replace("NAME", "pip"), mode="755")
        for name in ("spectragate", "spectragate-trainer"):
            machine.write(f"/etc/systemd/system/{name}.service.d/log.conf", DROP_IN)
        yield machine


def typed(machine: SystemdMachine, line: str) -> str:
    """Type a command; it must succeed."""
    passphrase = "export SPECTRAGATE_KEYS_PASSPHRASE='a long passphrase'; "
    return machine.do("sh", "-c", f"PATH=/opt/stand-ins:$PATH; {passphrase}{line}")


def test_gateway_is_installed_started_and_updated(machine: SystemdMachine, tmp_path: Path) -> None:
    """From nothing to a service that runs, and on to the next version."""
    typed(machine, command("sudo python3 -m venv"))
    typed(machine, command("sudo /usr/lib/spectragate/bin/pip install ."))
    assert "WatchdogSec=10s" in typed(
        machine, command("sudo /usr/lib/spectragate/bin/spectragate install-service --show")
    )
    typed(machine, command("sudo /usr/lib/spectragate/bin/spectragate install-service --yes"))
    assert (tmp_path / "called").read_text().splitlines() == ["python3 -m venv /usr/lib/spectragate", "pip install ."]
    machine.write("/etc/spectragate/secrets/HTTP_TOKEN", "only-for-this-test", mode="600")
    machine.write("/etc/spectragate/gateway.yaml", f'http: {{port: {free_port()}, token: "${{HTTP_TOKEN}}"}}\n')
    typed(machine, command("sudo /usr/lib/spectragate/bin/spectragate install-service --yes"))
    typed(machine, command("sudo systemctl enable --now spectragate"))
    assert "active (running)" in typed(machine, command("systemctl status spectragate"))
    typed(machine, command("sudo systemctl reload spectragate"))
    assert "fine" in typed(machine, command("sudo env CREDENTIALS_DIRECTORY"))
    pid = machine.shown("spectragate", "MainPID")
    typed(machine, command("sudo systemctl restart spectragate"))
    assert machine.shown("spectragate", "MainPID") != pid
    machine.until("spectragate", SubState="running", NRestarts="0")


def test_trainer_is_installed_with_its_keys(machine: SystemdMachine) -> None:
    """Keys that are the service's own, and a service that runs with the configuration that comes along."""
    typed(machine, command("sudo /usr/lib/spectragate/bin/pip install '.[trainer]'"))
    for name in ("SPECTRAGATE_PASSPHRASE", "SPECTRAGATE_TRAINER_TOKEN"):
        machine.write(f"/etc/spectragate/secrets/{name}", "a long passphrase", mode="600")
    typed(machine, command("sudo /usr/lib/spectragate/bin/spectragate install-service --trainer"))
    typed(machine, command("sudo -u spectragate-trainer"))
    text = machine.do("cat", "/opt/checkout/configs/trainer.yaml").replace("port: 8443", f"port: {free_port()}")
    machine.write("/etc/spectragate/trainer.yaml", text)
    typed(machine, command("sudo systemctl enable --now spectragate-trainer"))
    machine.until("spectragate-trainer", SubState="running", NRestarts="0")
