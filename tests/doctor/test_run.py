"""The command `doctor`: a fixed order, words and JSON, exit codes, and a broken configuration among the findings."""

import json
from pathlib import Path

import pytest

from gateway.doctor.run import diagnose, doctor_command

ALWAYS = ["configuration", "libraries", "packages", "device", "telemetry", "decoder", "sandbox", "open files", "clock"]


def configured(folder: Path, text: str) -> Path:
    """Return a configuration file that only its owner can read."""
    path = folder / "gateway.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_checks_of_the_configuration_follow_those_of_the_machine(tmp_path: Path) -> None:
    """The broker and each camera by name, in the order of the file."""
    text = f"""\
screening: {{device: cpu}}
state_folder: {tmp_path}
mqtt: {{host: 127.0.0.1, port: 1}}
cameras:
  b: {{source: {{type: rtsp, url: "rtsp://127.0.0.1:1/x"}}}}
  a: {{source: {{type: rtsp, url: "rtsp://127.0.0.1:1/x"}}}}
"""
    findings = await diagnose(configured(tmp_path, text))
    assert [each.check for each in findings] == [
        *ALWAYS, "disk", "secrets", "broker", "face model", "camera b", "camera a"
    ]  # fmt: skip
    assert {each.check for each in findings if each.level == "failed"} == {"broker", "camera b", "camera a"}
    assert all(each.advice for each in findings if each.level != "ok")


async def test_exit_code_is_1_where_something_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is none; each finding is a line, and what to do stands below."""
    assert await doctor_command(configured(tmp_path, "screening: {device: cpu}"), as_json=False) == 0
    assert capsys.readouterr().out.startswith("ok       configuration  ")
    assert await doctor_command(configured(tmp_path, "mqtt: {port: 1, host: 127.0.0.1}"), as_json=False) == 1
    said = capsys.readouterr().out
    assert "failed   broker         127.0.0.1:1 cannot be reached: Connection refused" in said
    assert "→ check mqtt.host" in said


async def test_wrong_configuration_is_one_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All its lines, and the machine is looked at all the same."""
    path = configured(tmp_path, "scening: {}\ndetect: {fps: x}\n")
    assert await doctor_command(path, as_json=True) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(list(line) == ["check", "level", "found", "advice"] for line in lines)
    assert lines[0]["level"] == "failed"
    assert lines[0]["found"].splitlines() == [
        f"{path}:1: scening: unknown key (did you mean screening?)",
        f'{path}:2: detect.fps: "x": must be a valid number',
    ]
    assert [line["check"] for line in lines][: len(ALWAYS)] == ALWAYS


async def test_secrets_are_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither of the broker nor of a camera, whatever they answer."""
    text = """\
mqtt: {port: 1, host: 127.0.0.1, user: gw, password: hunter2}
cameras: {a: {source: {type: rtsp, url: "rtsp://127.0.0.1:1/x?password=hunter3", username: u, password: hunter4}}}
"""
    assert await doctor_command(configured(tmp_path, text), as_json=False) == 1
    assert "hunter" not in capsys.readouterr().out
