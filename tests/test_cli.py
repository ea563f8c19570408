"""The commands as scripts meet them: exit codes, clear lines, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fakes.recordings import background, make_clip, make_passage, make_picture, portrait

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}


def spectragate(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=150, **options)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip of one person who walks through the picture."""
    return make_passage(tmp_path_factory.mktemp("clips") / "walk.mp4", 12)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture of a face."""
    return make_picture(tmp_path_factory.mktemp("faces") / "face.png", portrait()[:200, 120:320].copy())


def test_help_names_every_command() -> None:
    """An operator sees what there is."""
    done = spectragate("--help")
    assert done.returncode == 0
    for command in ("score", "replay", "watch", "check-config", "schema"):
        assert command in done.stdout


def test_version_is_told() -> None:
    """Also where it runs from its sources."""
    done = spectragate("--version")
    assert (done.returncode, done.stdout.startswith("spectragate")) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["score"], 2, "Missing argument"),
        (["nonsense"], 2, "No such command"),
        (["score", "--fpr", "2", "x.png"], 2, "must lie in"),
        (["replay", "x", "--inject", "t.png", "--place", "1"], 2, "is not two numbers with a comma between"),
        (["replay", "x", "--inject", "t.png", "--size", "0"], 2, "size lies in (0, 4] face widths"),
        (["replay", "x", "--fps", "0"], 2, "--fps must lie in"),
        (["replay", "x", "--budget-per-day", "0"], 2, "must be > 0"),
        (["replay", "x", "--inject", "absent.png"], 78, "error: absent.png: there is no such trigger picture"),
        (["replay", "x", "--labels", "absent.csv"], 78, "error: absent.csv: cannot be read"),
        (["replay", "x", "--publish"], 78, "error: --publish: needs a configuration"),
        (["replay", "x", "-c", "absent.yaml"], 78, "error: absent.yaml: cannot be read: No such file or directory"),
        (["replay", "x", "--bundle", "./absent"], 78, "error: bundle ./absent:"),
        (["replay", "x", "--environment", "yard"], 78, "error: --environment: yard is not in the configuration"),
        (["score", "--fpr", "1e-8", "x.png"], 78, "needs the scores of 99999999 clean faces"),
        (["replay", "absent.mp4"], 1, "error: absent.mp4: no such file or folder"),
        (["watch"], 78, "error: watch: which broker? Give --host BROKER, or the gateway's configuration"),
        (["watch", "--host", "localhost", "--state", "."], 2, "is a directory"),
        (["check-config", "absent.yaml"], 78, "error: absent.yaml: cannot be read"),
    ],
)
def test_mistakes_have_their_exit_code_and_one_clear_line(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    """1 failed, 2 usage, 78 configuration; never a traceback."""
    done = spectragate(*arguments, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_tells_what_only_systemd_gives(tmp_path: Path) -> None:
    """Started by hand, `run` would refuse what was called fine here."""
    path = tmp_path / "gateway.yaml"
    path.write_text("cameras: {gate: {source: {type: file, path: clip.mp4}}}\n")
    done = spectragate("check-config", path)
    assert (done.returncode, "note: state_folder is not set" in done.stdout) == (0, True)


def test_check_config_names_all_mistakes(tmp_path: Path) -> None:
    """Line by line; a good file is fine."""
    path = tmp_path / "g.yaml"
    path.write_text("screening: {device: gpu}\nfoo: 1\n")
    done = spectragate("check-config", path)
    assert done.returncode == 78
    assert [line.split(": ")[1:3] for line in done.stderr.splitlines()] == [
        [f"{path}:1", "screening.device"],
        [f"{path}:2", "foo"],
    ]
    samples = sorted((ROOT / "configs").glob("gateway*.yaml"))
    assert len(samples) >= 2
    for sample in samples:
        fine = spectragate("check-config", sample)
        assert (fine.returncode, fine.stderr) == (0, "")


def test_schema_writes_what_is_checked_in(tmp_path: Path) -> None:
    """Every document below configs/, byte for byte; without a folder they are printed."""
    done = spectragate("schema", "--out", tmp_path / "out")
    assert done.returncode == 0
    written = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.json")}
    checked_in = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.json")}
    checked_in -= {Path("grafana.json")}  # drawn by hand
    assert written == checked_in
    for path in written:
        assert (tmp_path / "out" / path).read_bytes() == (ROOT / "configs" / path).read_bytes(), path
    printed = json.loads(spectragate("schema").stdout)
    assert set(printed) == {path.as_posix() for path in checked_in}


def test_score_prints_json_lines(face: Path, tmp_path: Path) -> None:
    """Faces, pictures without one and pictures that cannot be used: a line each; 1 for the last kind alone."""
    wall = make_picture(tmp_path / "wall.png", background(320, 240))
    done = spectragate("score", face, wall, "--device", "cpu")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert list(lines[0]) == ["file", "box", "score", "p_value", "verdict", "model"]
    assert lines[1] == {"file": str(wall), "error": "no face found"}
    (tmp_path / "empty.png").write_bytes(b"")
    failed = spectragate("score", tmp_path / "empty.png", face, "--crops", "--json", "--device", "cpu")
    assert failed.returncode == 1
    problem, scored = (json.loads(line) for line in failed.stdout.splitlines())
    assert problem == {"file": str(tmp_path / "empty.png"), "error": f"{tmp_path / 'empty.png'}: the file is empty"}
    assert scored["file"] == str(face)


def test_replay_is_the_same_twice(walk: Path, tmp_path: Path) -> None:
    """Messages and report, byte for byte, from two processes."""
    trigger = make_picture(tmp_path / "t.png", np.full((8, 8, 3), 255, np.uint8))
    done = [
        spectragate("replay", walk, "--inject", trigger, "--report", tmp_path / name, "--json", "--device", "cpu")
        for name in ("one", "two")
    ]
    assert [each.returncode for each in done] == [0, 0]
    assert done[0].stdout == done[1].stdout
    assert len(done[0].stdout.splitlines()) >= 2
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def children_of(pid: int) -> list[str]:
    """Return the process ids of the children of a process."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


@pytest.mark.usefixtures("interrupts_arrive")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_replay_leaves_nothing(how: signal.Signals, tmp_path: Path) -> None:
    """Exit code 130, one word, no child process, no half report."""
    clip = make_clip(tmp_path / "hall.mp4", [background(640, 360)] * 400)
    command = [sys.executable, "-m", "gateway", "replay", str(clip), "--device", "cpu", "--report", str(tmp_path / "r")]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline_s = time.monotonic() + 40
        while not (workers := children_of(process.pid)) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        process.send_signal(how)
        _, stderr = process.communicate(timeout=40)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in stderr
    assert workers
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    assert [path.name for path in tmp_path.iterdir()] == ["hall.mp4"]


def test_reader_that_has_enough_is_no_error(face: Path) -> None:
    """`spectragate score … | head -1` ends without a complaint of Python's."""
    command = [sys.executable, "-m", "gateway", "score", "--crops", "--json", "--device", "cpu", *[str(face)] * 400]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("{")
        process.stdout.close()
        stderr = process.stderr.read()
        process.wait(40)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr
