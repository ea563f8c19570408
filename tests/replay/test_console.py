"""What the operator sees of a replay."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.brokers import MISSING, Mosquitto, Subscriber, free_port, mosquitto_program
from fakes.recordings import make_passage
from fakes.replays import make_pass, make_result

from gateway.choice import Choice
from gateway.config import Config
from gateway.errors import ConfigError, DeliveryError
from gateway.progress import Bar
from gateway.replay.console import Outputs, Teller, replay_command, table
from gateway.replay.run import PassEnded, ReplaySettings
from gateway.settings import BrokerSettings

CPU = Choice(Config(), device="cpu")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip of one person who walks through the picture."""
    return make_passage(tmp_path_factory.mktemp("clips") / "walk.mp4", 12)


def with_broker(port: int) -> Choice:
    """Return a choice whose configuration names a broker on this machine."""
    return Choice(
        Config(mqtt=BrokerSettings(host="127.0.0.1", port=port, client_id="box", protocol="3.1.1")), device="cpu"
    )


def test_table_is_aligned() -> None:
    """One line per pass, numbers right, names left, failures marked."""
    failed = make_pass("b.mp4", [])
    failed.summary.failure = "b.mp4: the file is empty"
    lines = table([make_pass("long-name.mp4", [0.0, 3.0, None]), make_pass("a.mp4", [3.0], kind="injected"), failed])
    assert lines == [
        "recording       pass          frames  faces  tracks  clean  triggered  unsure  alerts",
        "long-name.mp4                    100     15       3      1          1       1       1",
        "a.mp4           with trigger     100      5       1      0          1       0       1",
        "b.mp4 (failed)                   100      0       0      0          0       0       0",
    ]


async def test_json_goes_to_stdout_alone(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script reads messages and nothing else."""
    assert await replay_command(ReplaySettings((walk,)), CPU, Outputs(as_json=True)) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert json.loads(line)["type"] == "spectragate.verdict.v1"
    assert err == ""


async def test_words_for_people(walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table and promise on stdout, the device and what went wrong on stderr; exit code 1 for what was not read."""
    settings = ReplaySettings((walk, tmp_path / "absent.mp4"))
    assert await replay_command(settings, CPU, Outputs(report=tmp_path / "report")) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("recording")
    assert "absent.mp4 (failed)" in out
    assert "asked for at most 0.1 % false alarms per clean track" in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'report' / 'index.html'}"
    assert err.splitlines() == [
        "screening on the CPU",
        f"error: {tmp_path / 'absent.mp4'}: no such file or folder",
    ]
    assert (tmp_path / "report" / "index.html").is_file()


async def test_metrics_are_printed_where_truth_is_known(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its interval and its n."""
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\nwalk.mp4,clean\n")
    await replay_command(ReplaySettings((walk,), labels=labels), CPU, Outputs())
    lines = capsys.readouterr().out.splitlines()
    assert "BDR            no tracks, n = 0" in lines
    assert [line.split()[0] for line in lines[-6:]] == ["BDR", "FPR", "ACC,", "ACC,", "AUROC", "unsure:"]


def test_damage_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """For the recording, not again for its pass with the trigger."""
    teller = Teller(Bar("x"), Outputs(), None, None, None)
    for kind in ("recorded", "injected"):
        done = make_pass("a.mp4", [], kind=kind)
        done.summary.refused.append("a/1.jpg: damaged")
        asyncio.run(teller.hear(PassEnded(done.run, done.summary)))
    assert capsys.readouterr().err.splitlines() == ["left out: a/1.jpg: damaged"]


def test_no_calibration_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle of one's own may come without."""
    Teller(Bar("x"), Outputs(), None, None, None).close(make_result(clean_tracks=0))
    assert "give clean recordings with --calibrate" in capsys.readouterr().out


def test_calibration_that_suffices_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is missing."""
    Teller(Bar("x"), Outputs(), None, None, None).close(make_result(clean_tracks=1000))
    assert "1000 clean tracks (factory) support it" in capsys.readouterr().out


async def test_publishing_needs_a_broker(walk: Path) -> None:
    """Said before anything is read."""
    with pytest.raises(ConfigError, match="--publish: needs a configuration"):
        await replay_command(ReplaySettings((walk,)), CPU, Outputs(publish=True))


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Callable[[], Mosquitto]:
    """Return a function that makes a broker; the caller starts it."""
    if mosquitto_program() is None:
        pytest.fail(MISSING)
    return lambda: Mosquitto(tmp_path, "allow_anonymous true")


async def test_messages_reach_the_broker(
    walk: Path, start_mosquitto: Callable[[], Mosquitto], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed as JSON is what is published, and the operator learns how much and where."""
    with start_mosquitto() as broker, Subscriber(broker.port, "spectragate/verdicts") as subscriber:
        outputs = Outputs(as_json=True, publish=True)
        assert await replay_command(ReplaySettings((walk,)), with_broker(broker.port), outputs) == 0
        received = await subscriber.next()
    out, err = capsys.readouterr()
    assert received.payload == out.splitlines()[0].encode()
    assert err.splitlines() == [f"published to 127.0.0.1:{broker.port}: 1 on spectragate/verdicts"]


async def test_broker_that_is_not_there_ends_the_replay(walk: Path, tmp_path: Path) -> None:
    """A clear error, and no report that looks like success."""
    with pytest.raises(DeliveryError, match="cannot be used"):
        await replay_command(
            ReplaySettings((walk,)), with_broker(free_port()), Outputs(report=tmp_path / "r", publish=True)
        )
    assert os.listdir(tmp_path) == []  # noqa: PTH208  (pathlib is refused in coroutines)


def test_bar_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go where they belong."""
    with Bar("x", total=3) as bar:
        bar.restart("y")
        bar.show(1, None)
        bar.result("result")
        bar.remark("remark")
    assert capsys.readouterr() == ("result\n", "remark\n")
    assert not sys.stdout.isatty()
