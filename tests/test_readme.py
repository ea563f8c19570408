"""The README is run: every command in it by a test, or it stands in a list that says why not."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from fakes import readme as handbook
from fakes.readme import PROGRAMS, ROOT, command, commands

from gateway.contract.states import STATUS_REASONS
from gateway.delivery.packets import LinkReason
from gateway.errors import ExchangeReason
from gateway.storage.database import Degraded

SHELL_SEPARATORS = {"&&", "||", "|", ";", ">"}
RUN_BY = ("test_readme.py", "end_to_end/test_readme_commands.py", "end_to_end/test_readme_service.py")

# Commands that no test runs, and why; what they call of ours is looked up all the same.
NOT_RUN = {
    "tests/run": "it is what runs the tests",
    ".venv/bin/pip install '.[demo,cuda]'": "gigabytes of libraries that only a GPU needs",
    "journalctl -f -u spectragate": "the systemd of the tests keeps no journal",
    "git pull": "a checkout of the tests has nowhere to pull from",
}


def calls() -> list[tuple[str, tuple[str, ...]]]:
    """Return (program, its words) for every call of one of our programs."""
    found = []
    for line in commands():
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            program = word.rpartition("/")[2]
            if program in PROGRAMS and not (
                place and words[place - 1] in {"--now", "status", "reload", "-u", "restart"}
            ):
                ends = [i for i, later in enumerate(words) if i > place and later in SHELL_SEPARATORS]
                found.append((program, tuple(words[place + 1 : min(ends, default=len(words))])))
    return sorted({call for call in found if call[1]})


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


def beginnings_run() -> set[str]:
    """Return how the commands begin that tests run: the first words they give to run, start, typed or command."""
    found = set()
    for name in RUN_BY:
        for node in ast.walk(ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func
                is_reader = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
                is_run = is_reader and called.value.id == "readme" and called.attr in {"run", "start", "typed"}
                if is_run or (isinstance(called, ast.Name) and called.id == "command"):
                    found.add(str(node.args[0].value))
    return found


def test_no_command_is_forgotten() -> None:
    """Each command is run by a test or stands in the list, with its reason; nothing stands in both or for nothing."""
    run = {command(beginning) for beginning in beginnings_run()}
    assert run | NOT_RUN.keys() == set(commands())
    assert not run & NOT_RUN.keys()
    assert all(NOT_RUN.values())


@pytest.mark.parametrize("line", commands())
def test_shell_understands_every_command(line: str) -> None:
    """Quotes and pipes are closed."""
    done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_readme_shows_both_commands_of_a_fresh_machine() -> None:
    """One line installs and runs the demo, one installs what is missing and runs the tests."""
    demo = [line for line in commands() if "apt-get install" in line and "spectragate demo" in line]
    assert len(demo) == 1
    assert "tests/run" in commands()
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
    names = re.findall(r"^  ([a-z][a-z-]*)", listing, flags=re.MULTILINE)
    assert names
    for name in names:
        assert len(help_of(program, name).splitlines()) > 3, name


def test_every_reason_code_is_told() -> None:
    """Whoever reads a word in a status, a notice, a verdict or an answer finds in the table what to do."""
    section = handbook.text().partition("## Troubleshooting by reason code")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    told = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    readiness = {"starting", "no_cameras", "no_camera_online"}
    known = {*STATUS_REASONS, *LinkReason, *ExchangeReason, *Degraded, *readiness} | words_of_contracts()
    assert known - told == set()


def words_of_contracts() -> set[str]:
    """Return the reason codes that the schemas of messages name in their descriptions and examples."""
    from gateway.contract import events, notices, states

    of_gaps = notices.Gap.model_fields["reason"].description or ""
    of_faults = notices.Degraded.model_fields["reason"].description or ""
    of_updates = states.ModelState.model_fields["update"].json_schema_extra
    assert isinstance(of_updates, dict)
    unsure = get_args(get_args(events.VerdictData.model_fields["reason"].annotation)[0])
    listed = f"{of_gaps.partition(': ')[2]}, {of_faults}".split(", ")
    return {*listed, *map(str, of_updates["examples"]), *unsure}


def test_second_command_is_for_a_first_try() -> None:
    """The password that the README names is the configuration's."""
    text = (ROOT / "configs" / "gateway.recording.yaml").read_text(encoding="utf-8")
    assert 'token: "${HTTP_TOKEN:only-for-a-first-try}"' in text
    assert "`only-for-a-first-try`" in handbook.text()


def test_configurations_of_the_readme_are_fine(tmp_path: Path) -> None:
    """Every block of configuration is taken, with the secrets that it asks for."""
    blocks = handbook.blocks("yaml")
    assert len(blocks) >= 3
    for name in ("ca.pem", "1.root.json"):
        (tmp_path / name).write_text("a certificate, or a root")
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
