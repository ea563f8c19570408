"""The README's commands exist: each is looked up in the program it calls."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from fakes.daemon_process import DaemonProcess

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {"spectragate": "gateway", "spectragate-trainer": "trainer"}
SHELL_SEPARATORS = {"&&", "||", "|", ";", ">"}


def readme() -> str:
    """Return the text of the README."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


def shell_lines() -> list[str]:
    """Return the commands of the README's shell blocks, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", readme(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def calls() -> list[tuple[str, tuple[str, ...]]]:
    """Return (program, its words) for every call of one of our programs."""
    found = []
    for line in shell_lines():
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            program = word.rpartition("/")[2]
            if program in PROGRAMS:
                ends = [i for i, later in enumerate(words) if i > place and later in SHELL_SEPARATORS]
                found.append((program, tuple(words[place + 1 : min(ends, default=len(words))])))
    return sorted(set(found))


def help_of(program: str, *command: str) -> str:
    """Return what a program says of one of its commands; an unknown command fails the test."""
    done = subprocess.run(
        [sys.executable, "-m", PROGRAMS[program], *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, f"{program} {' '.join(command)}: {done.stderr}"
    return done.stdout


def command_of(program: str, words: tuple[str, ...]) -> list[str]:
    """Return the words that name the command: none, one, or two where the first names a group."""
    command: list[str] = []
    for word in words:
        if word.startswith("-") or (command and "\nCommands:" not in help_of(program, *command)):
            break
        command.append(word)
    return command


def test_readme_shows_both_commands_of_a_fresh_machine() -> None:
    """One line installs and runs the demo, one installs what is missing and runs the tests."""
    demo = [line for line in shell_lines() if "apt-get install" in line and "spectragate demo" in line]
    assert len(demo) == 1
    assert "tests/run" in shell_lines()
    assert (ROOT / "tests" / "run").stat().st_mode & 0o111
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize(("program", "words"), calls(), ids=[" ".join((name, *words)) for name, words in calls()])
def test_command_of_the_readme_exists(program: str, words: tuple[str, ...]) -> None:
    """The program knows the command, and the command knows every option that the README gives it."""
    text = help_of(program, *command_of(program, words))
    options = {word.partition("=")[0] for word in words if word.startswith("-")} - {"--help"}
    unknown = {option for option in options if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)}
    assert unknown == set()


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_every_command_has_help(program: str) -> None:
    """`--help` of each command answers with exit code 0 and says more than its usage line."""
    listing = help_of(program).partition("Commands:")[2]
    commands = re.findall(r"^  ([a-z][a-z-]*)", listing, flags=re.MULTILINE)
    assert commands
    for command in commands:
        assert len(help_of(program, command).splitlines()) > 3, command


@contextmanager
def running_page(folder: Path) -> Iterator[int]:
    """Run the gateway of the quick start, its recording missing; return the port of its page."""
    text = (ROOT / "configs" / "gateway.recording.yaml").read_text(encoding="utf-8")
    config = folder / "gateway.yaml"
    config.write_text(text.replace("../runs", str(folder)).replace("http:\n", "http:\n  port: 0\n"))
    with DaemonProcess(config) as daemon:
        yield daemon.until("http_listening")["port"]
        assert daemon.end()[0] == 0


def test_second_command_shows_the_page(tmp_path: Path) -> None:
    """Whoever follows the quick start finds a door to log in at, with the password that the README names."""
    assert ".venv/bin/spectragate run -c configs/gateway.recording.yaml" in shell_lines()
    text = (ROOT / "configs" / "gateway.recording.yaml").read_text(encoding="utf-8")
    assert 'token: "${HTTP_TOKEN:only-for-a-first-try}"' in text
    assert "`only-for-a-first-try`" in readme()
    with running_page(tmp_path) as port, urlopen(f"http://127.0.0.1:{port}/login", timeout=30) as page:
        assert b'name="password"' in page.read()


def test_questions_over_http_are_answered(tmp_path: Path) -> None:
    """Each line with curl gives the answer that the README shows or describes."""
    lines = [line for line in shell_lines() if line.startswith("curl ")]
    assert len(lines) == 4
    with running_page(tmp_path) as port:
        answers = [
            subprocess.run(
                ["bash", "-c", line.replace(":8080/", f":{port}/")],
                env=os.environ | {"HTTP_TOKEN": "only-for-a-first-try"},
                capture_output=True,
                text=True,
                timeout=30,
            ).stdout
            for line in lines
        ]
    health, ready, cameras, metrics = answers
    assert health.strip() == "alive"
    assert json.loads(ready) == {"ready": False, "reasons": ["no_camera_online"]}
    assert [camera["camera"] for camera in json.loads(cameras)] == ["gate"]
    assert "\nspectragate_camera_up{" in metrics


def test_configurations_of_the_readme_are_fine(tmp_path: Path) -> None:
    """Every block of configuration is taken, with the secrets that it asks for."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", readme(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    (tmp_path / "plant-ca.pem").write_text("a certificate")
    for number, block in enumerate(blocks):
        config = tmp_path / f"{number}.yaml"
        config.write_text(block if "state_folder" in block else f"{block}state_folder: state\n")
        secrets = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "0123456789abcdef" * 2)
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "check-config", str(config)],
            env=os.environ | secrets,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (0, ""), block
