"""The command `watch` with a real broker and a box that answers: what scripts and operators see of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from fakes.boxes import TOPICS, FakeBox, LiveBox, alert
from fakes.brokers import Mosquitto

from gateway.contract.messages import to_bytes
from gateway.settings import BrokerSettings
from gateway.watch.box import Position
from gateway.watch.console import Console
from gateway.watch.state import load_positions, save_positions
from gateway.watch.steps import Garbled

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
PATIENT_S = 40.0


class Running:
    """A `spectragate watch` child process with its output."""

    def __init__(self, port: int, folder: Path, *options: str) -> None:
        self.out_path, self.err_path = folder / "out", folder / "err"
        command = [sys.executable, "-m", "gateway", "watch", "--host", "127.0.0.1", "--port", str(port)]
        with self.out_path.open("wb") as out, self.err_path.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "--prefix", TOPICS.prefix, *options], env=ENVIRONMENT, stdout=out, stderr=err
            )

    @property
    def lines(self) -> list[dict[str, object]]:
        """What it printed so far."""
        return [json.loads(line) for line in self.out_path.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    @property
    def said(self) -> str:
        """What it said on stderr so far."""
        return self.err_path.read_text()

    def until(self, text: str) -> None:
        """Wait until it says this."""
        deadline_s = time.monotonic() + PATIENT_S
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline_s, self.said
            time.sleep(0.02)

    def numbers(self) -> list[int]:
        """Return the numbers printed so far."""
        return [line["data"]["seq"] for line in self.lines]  # type: ignore[index]

    def until_numbers(self, count: int) -> list[int]:
        """Wait until it has printed so many alerts."""
        deadline_s = time.monotonic() + PATIENT_S
        while len(self.lines) < count:
            assert time.monotonic() < deadline_s, (self.lines, self.said)
            time.sleep(0.02)
        return self.numbers()


@contextlib.contextmanager
def watch(port: int, folder: Path, *options: str) -> Iterator[Running]:
    """Run the command until the block ends."""
    running = Running(port, folder, *options)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(PATIENT_S)


@pytest.mark.end_to_end
@pytest.mark.usefixtures("interrupts_arrive")
def test_each_alert_is_a_line_once_and_gaps_are_filled(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Duplicates dropped, a lost alert asked for and told; Ctrl-C ends it with the state saved."""
    box, state = FakeBox(), tmp_path / "watch.json"
    sent = [box.accept(seq) for seq in range(6)]
    with LiveBox(mosquitto.port, box) as live, watch(mosquitto.port, tmp_path, "--state", str(state)) as running:
        running.until("connected")
        live.publish(sent[1], sent[1], sent[2], sent[5])
        assert running.until_numbers(5) == [1, 2, 5, 3, 4]
        running.until("spectragate/box: seq 3 to 4 filled after")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENT_S) == 130
        assert running.out_path.read_bytes().splitlines()[0] == sent[1]
    with LiveBox(mosquitto.port, box) as live, watch(mosquitto.port, tmp_path, "--state", str(state)) as again:
        again.until("connected")
        assert json.loads(state.read_text())["boxes"][0]["highest"] == 5
        live.publish(*sent, box.accept(7))
        assert sorted(again.until_numbers(2)) == [0, 7]  # 0 came before the first it ever saw, 6 was never accepted
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(PATIENT_S) == 130
        assert "Traceback" not in again.said


@pytest.mark.end_to_end
def test_alert_that_could_not_be_printed_comes_again(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Who reads the lines has gone: the state keeps what was printed, no more."""
    box, state = FakeBox(), tmp_path / "watch.json"
    save_positions(state, [Position("spectragate/box", 3, 0.0)])
    command = [sys.executable, "-m", "gateway", "watch", "--host", "127.0.0.1", "--port", str(mosquitto.port)]
    with subprocess.Popen(
        [*command, "--prefix", TOPICS.prefix, "--state", str(state)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "connected" in process.stderr.readline()
        with LiveBox(mosquitto.port, box) as live:
            live.publish(box.accept(4))
            said = process.stderr.read()
        assert process.wait(PATIENT_S) == 1
    assert "Traceback" not in said
    assert load_positions(state)[0].highest == 3


@pytest.mark.end_to_end
def test_since_seq_and_count(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Everything after a number is asked for, although nothing new comes; so many lines, then the end."""
    box = FakeBox()
    for seq in range(10):
        box.accept(seq)
    with LiveBox(mosquitto.port, box), watch(mosquitto.port, tmp_path, "--since-seq", "4", "--count", "5") as running:
        assert running.process.wait(PATIENT_S) == 0
        assert running.numbers() == [5, 6, 7, 8, 9]


@pytest.mark.end_to_end
def test_all_prints_what_else_is_said(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """With its topic, words and JSON alike; alerts stay as they are."""
    box = FakeBox()
    with watch(mosquitto.port, tmp_path, "--all", "--count", "1") as running:
        running.until("connected")
        with LiveBox(mosquitto.port, box) as live:
            live._client.publish(f"{TOPICS.prefix}/lobby/alert", b"ON", qos=1).wait_for_publish(10.0)
            live._client.publish(f"{TOPICS.prefix}/stats", b'{"a": 1}', qos=1).wait_for_publish(10.0)
            live.publish(box.accept(3))
            assert running.process.wait(PATIENT_S) == 0
        assert {"topic": "plant/lobby/alert", "payload": "ON"} in running.lines
        assert {"topic": "plant/stats", "payload": {"a": 1}} in running.lines
        assert running.lines[-1]["id"] == "box-3"


@pytest.mark.end_to_end
def test_prefix_where_nobody_ever_spoke_is_told(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A typing mistake in the prefix would otherwise wait in silence for ever."""
    with watch(mosquitto.port, tmp_path, "--prefix", "spectragat") as running:
        running.until("no gateway has ever said a word under the prefix 'spectragat'")


@pytest.mark.end_to_end
def test_box_that_is_off_is_no_wrong_prefix(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Its retained word proves that the prefix is right, however long it says nothing else."""
    with LiveBox(mosquitto.port, FakeBox()), watch(mosquitto.port, tmp_path) as running:
        running.until("connected")
        time.sleep(6.0)
        assert "no gateway" not in running.said


def test_message_with_line_breaks_becomes_one_line() -> None:
    """Whoever pretty-prints its JSON does not break a reader of lines."""
    out = StringIO()
    Console(BrokerSettings(), out=out).line(b'{\n "a": 1\n}')
    assert out.getvalue() == '{"a": 1}\n'
    payload = to_bytes(alert(1))
    out = StringIO()
    Console(BrokerSettings(), out=out).line(payload)
    assert out.getvalue().encode() == payload + b"\n"


def test_storm_of_garbage_is_one_remark_a_second() -> None:
    """A broker that garbles everything does not fill the operator's screen."""
    err = StringIO()
    console = Console(BrokerSettings(), err=err)
    for number in range(1_000):
        console.tell(Garbled("plant/alerts", "not JSON"), now_s=number / 1_000)
    console.tell(Garbled("plant/alerts", "not JSON"), now_s=1.0)
    assert err.getvalue().splitlines() == [
        "not used, plant/alerts: not JSON",
        "not used, plant/alerts: not JSON (1001 so far)",
    ]
