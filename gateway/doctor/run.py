"""The command `doctor`: all checks side by side, what they found in a fixed order, and the exit code."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from gateway.config import Config, secrets_of
from gateway.config_file import load_config
from gateway.doctor import device, machine, outside
from gateway.doctor.findings import Check, Finding, examine, failed, fine, in_thread
from gateway.errors import ConfigError
from gateway.redaction import redacted

DEADLINE_S = 40.0
CAMERAS_AT_A_TIME = 4


async def doctor_command(path: Path | None, *, as_json: bool) -> int:
    """Print what every check found; return 1 where something does not work."""
    findings = await diagnose(path)
    for finding in findings:
        click.echo(redacted(json.dumps(asdict(finding)) if as_json else _in_words(finding)))
    sys.stdout.flush()
    return int(any(finding.level == "failed" for finding in findings))


async def diagnose(path: Path | None) -> list[Finding]:
    """Return what every check found; with a configuration that is wrong, the rest is checked with the defaults."""
    configuration, config = _configuration(path)
    libraries = machine.picture_libraries()
    checks: list[tuple[str, Check]] = [
        ("packages", _blocking(machine.packages)),
        ("device", lambda: device.device(config)),
        ("telemetry", _blocking(machine.telemetry)),
        ("decoder", _blocking(machine.decoder)),
        ("sandbox", _blocking(machine.sandbox)),
        ("open files", _blocking(partial(machine.open_files, config))),
        ("clock", _blocking(machine.clock)),
        ("disk", _blocking(partial(machine.state_folder, config))),
        ("secrets", _blocking(machine.secret_files)),
    ]
    if secrets_of(config):
        checks.append(("passwords", _blocking(partial(machine.guessable_secrets, config))))
    if config.mqtt is not None:
        checks.append(("broker", _blocking(partial(outside.broker, config.mqtt))))
    if libraries.level == "ok":  # whoever imports OpenCV without them is told nothing useful
        checks += [("face model", _blocking(partial(machine.face_models, config))), *_cameras(config)]
    deadline_s = DEADLINE_S * (1 + len(config.cameras) // CAMERAS_AT_A_TIME)
    return [configuration, libraries, *await examine(checks, deadline_s=deadline_s)]


def _configuration(path: Path | None) -> tuple[Finding, Config]:
    if path is None:
        return fine("configuration", "none given, so the defaults are checked; -c FILE names one"), Config()
    try:
        return fine("configuration", str(path)), load_config(path)
    except ConfigError as error:
        return failed(
            "configuration", str(error), "correct these lines; the rest is checked with the defaults"
        ), Config()


def _blocking(work: Callable[[], Finding]) -> Check:
    return partial(in_thread, work)


def _cameras(config: Config) -> list[tuple[str, Check]]:
    from gateway.choice import camera_jobs

    turn = asyncio.Semaphore(CAMERAS_AT_A_TIME)
    jobs = camera_jobs(config)
    return [(f"camera {name}", partial(outside.in_turn, job, turn)) for name, job in jobs.items()]


def _in_words(finding: Finding) -> str:
    first, *rest = finding.found.splitlines() or [""]
    lines = [f"{finding.level:8} {finding.check:14} {first}", *(f"{'':23} {line}" for line in rest)]
    return "\n".join([*lines, *([f"{'':23} → {finding.advice}"] if finding.advice else [])])
