"""No secret leaves the program: twelve are planted, every output of every command is searched for them."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote, quote_plus

import pytest
from fakes.brokers import Mosquitto, Subscriber, free_port, make_authority
from fakes.configs import mistakes_in
from fakes.daemon_process import PATIENT

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(120)]

CANARIES = {
    name: f"c4n4ry-{name}"
    for name in (
        "broker-password",
        "camera-password",
        "url-token",
        "credential-file",
        "environment",
        "key-file",
        "userinfo",
        "host-userinfo",
        "misspelt-key",
        "missing-blank",
        "tag",
        "wrong-type",
    )
}
ODD = " p§/%@"
"""What makes a password differ from its encoded forms."""

GOOD = """\
mqtt:
  {{host: localhost, port: {port}, user: gw, password: "{broker-password}",
   tls_ca_certs: ca.pem, tls_certfile: client.pem, tls_keyfile: client.key}}
screening: {{device: cpu}}
state_folder: {folder}
cameras:
  away: {{source: {{type: rtsp, url: "rtsp://127.0.0.1:1/x?token={url-token}", username: view, password: "${{FILE}}"}}}}
  odd: {{source: {{type: rtsp, url: "rtsp://127.0.0.1:{rtsp}/x", username: view, password: "{camera-password}{odd}"}}}}
  safe:
    source: {{type: rtsp, url: "rtsps://127.0.0.1:{rtsp}/x", username: view, password: "${{VARIABLE}}"}}
"""

BROKEN = """\
mqtt:
  host: "mqtt://gw:{host-userinfo}@broker"
  pasword: {misspelt-key}
  port: ${{VARIABLE}}
  user: [{wrong-type}]
  password: ["{wrong-type}"]
cameras:
  a: {{source: {{type: rtsp, url: "rtsp://view:{userinfo}@cam/x"}}}}
  b: {{source: {{type: rtsp, password:{missing-blank}, url: "rtsp://cam"}}}}
  c: {{source: {{type: rtsp, url: "rtsp://cam", username: u, password: !{tag} x}}}}
"""


# What is run, at what words it is ended, and what shows that it did reach broker and camera.
COMMANDS = [
    (("doctor",), (), ("ok       broker", "auth: odd")),
    (("run",), ('"camera_lost"', '"reason": "auth"'), ('"camera_lost"', '"reason": "auth"', '"stopped"')),
]


@dataclass(slots=True)
class Said:
    """What a command and its children showed to others: output, arguments, and the children's environment."""

    output: str = ""
    arguments: set[str] = field(default_factory=set)

    def everything(self) -> str:
        """Return all of it."""
        return "\n".join([self.output, *self.arguments])


def forms(canary: str) -> set[str]:
    """Return a canary as it may stand in an output."""
    whole = canary + ODD
    return {canary, quote(canary, safe=""), quote_plus(whole), quote(whole, safe=""), canary.upper()}


def family_of(pid: int) -> Iterator[int]:
    """Return a process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from family_of(int(child))


def spectragate(*arguments: object, environ: dict[str, str], until: tuple[str, ...] = ()) -> Said:
    """Run a command to its end, or ten seconds and until it has said something, and gather what it shows."""
    said = Said()
    program = ["-c", PATIENT, str(arguments[-1])] if arguments[0] == "run" else ["-m", "gateway", *map(str, arguments)]
    command = [sys.executable, *program]
    over = threading.Event()
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(command, env={**os.environ, **environ}, stdout=output, stderr=output) as process,
    ):
        watching = threading.Thread(target=watch, args=(process.pid, said, over), name="watching")
        watching.start()
        began_s = time.monotonic()
        try:
            while process.poll() is None and (ran_s := time.monotonic() - began_s) < 60.0:
                if until and ran_s > 10.0 and all(part in text_of(output) for part in until):
                    break
                time.sleep(0.1)
            process.terminate()
            process.wait(30)
        finally:
            over.set()
            watching.join(10)
        said.output = text_of(output)
    return said


def text_of(file: IO[str]) -> str:
    """Return what was written to a file so far; its place is another's, and is left alone."""
    return os.pread(file.fileno(), 1 << 24, 0).decode("utf-8", "replace")


def watch(pid: int, said: Said, over: threading.Event) -> None:
    """Look again and again at the arguments of a family, and at what camera workers know of the environment."""
    while not over.wait(0.02):
        for member in family_of(pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{member}/cmdline").read_bytes().decode("utf-8", "replace")
                said.arguments.add(command)
                if "gateway.cameras" in command:
                    said.arguments.add(Path(f"/proc/{member}/environ").read_bytes().decode("utf-8", "replace"))


@pytest.fixture
def refusing_camera() -> Iterator[int]:
    """Return the port of a camera that answers everything with a refusal that repeats what it was asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse_all, args=(server,), name="camera", daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def refuse_all(server: socket.socket) -> None:
    """Answer 401 with a challenge, twice, then hang up."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                for number in range(1, 3):
                    connection.recv(4096)
                    answer = f'RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
                    connection.sendall(answer.encode())


def secret_file(path: Path, text: str) -> Path:
    """Write a file that its owner alone can read."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def environment_with_secrets(folder: Path) -> dict[str, str]:
    """Return where `${NAME}` finds its values."""
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700)
    secret_file(credentials / "FILE", CANARIES["credential-file"])
    return {"CREDENTIALS_DIRECTORY": str(credentials), "VARIABLE": CANARIES["environment"]}


def assert_silent(text: str, but: tuple[str, ...] = ()) -> None:
    """Find no planted secret in a text, in no form."""
    for name, canary in CANARIES.items():
        for form in forms(canary):
            assert form not in text or name in but, f"{name} as {form}"


def test_refused_configuration_repeats_no_secret(tmp_path: Path) -> None:
    """Whatever an operator mistypes around a password, the error names the place and not the password."""
    lines = BROKEN.format(**CANARIES)
    # A tag or a missing blank ends YAML itself: each is also tried on its own.
    alone = ["cameras:\n" + line if line.startswith("  ") and "source" in line else line for line in lines.splitlines()]
    for text in ["mqtt:\n" + line if line.startswith("  ") else line for line in alone if "c4n4ry" in line]:
        assert_silent("\n".join(mistakes_in(tmp_path, text, VARIABLE=CANARIES["environment"])))
    parsable = lines.replace(f"!{CANARIES['tag']}", "x").replace("word:c4n", "word: c4n")
    path = secret_file(tmp_path / "gateway.yaml", parsable)
    said = spectragate("check-config", path, environ=environment_with_secrets(tmp_path))
    assert len(said.output.splitlines()) >= 5
    assert_silent(said.everything())


@pytest.mark.long
def test_running_commands_show_no_secret(tmp_path: Path, refusing_camera: int) -> None:
    """Output, arguments of all processes, what children know, messages and files: none holds a secret."""
    users = tmp_path / "users"
    password = CANARIES["broker-password"]
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(users), "gw", password], check=True, capture_output=True)
    users.chmod(0o644)
    make_authority(tmp_path)
    with (tmp_path / "client.key").open("a") as key:
        key.write(CANARIES["key-file"])
    for name in ("ca.pem", "srv.pem", "srv.key"):
        (tmp_path / name).chmod(0o644)
    (tmp_path / "client.key").chmod(0o600)
    tmp_path.chmod(0o755)
    encrypted = free_port()
    tls = [
        f"listener {encrypted} 127.0.0.1", f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/srv.pem",
        f"keyfile {tmp_path}/srv.key", "require_certificate true",
    ]  # fmt: skip
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    environ = environment_with_secrets(tmp_path)
    with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}", *tls) as mosquitto:
        facts = {"port": encrypted, "rtsp": refusing_camera, "folder": state, "odd": ODD, **CANARIES}
        path = secret_file(tmp_path / "gateway.yaml", GOOD.format(**facts))
        with Subscriber(mosquitto.port, user="gw", password=password) as subscriber:
            for arguments, until, parts in COMMANDS:
                said = spectragate(*arguments, "-c", path, environ=environ, until=until)
                assert all(part in said.output for part in parts)
                assert_silent(said.everything())
                assert "Traceback" not in said.output
            subscriber.send("end", b"end")
            received = asyncio.run(subscriber.until(b"end"))
            assert_silent("\n".join(f"{each.topic} {each.payload!r}" for each in received))
    assert_silent("\n".join(each.read_bytes().decode("latin-1") for each in state.rglob("*") if each.is_file()))
