"""Log lines: JSON for systemd, words for people, and the loggers of libraries among them."""

import ast
import io
import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import pytest
import structlog

from gateway.redaction import hide
from gateway.service.log import configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the process its logging back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_daemon_writes_json_with_the_priority_of_systemd() -> None:
    """One object a line, the event's name first, its facts as fields."""
    stream = io.StringIO()
    configure_logging(daemon=True, stream=stream)
    log = structlog.get_logger()
    log.info("broker_back", host="broker", resent=3)
    log.error("camera_lost", camera="gate")
    log.debug("unheard")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("<6>{")
    assert second.startswith("<3>{")
    parsed = json.loads(first[3:])
    assert list(parsed) == ["event", "level", "time", "host", "resent"]
    assert (parsed["event"], parsed["level"], parsed["resent"]) == ("broker_back", "info", 3)
    assert parsed["time"].endswith("Z")


def test_commands_say_only_what_goes_wrong() -> None:
    """In words; what is merely of interest stays unsaid."""
    stream = io.StringIO()
    configure_logging(daemon=False, stream=stream)
    log = structlog.get_logger()
    log.info("broker_back", host="broker")
    log.warning("broker_lost", host="broker", reason="reset")
    log.warning("odd")
    assert stream.getvalue().splitlines() == ["warning: broker lost: host broker, reason reset", "warning: odd"]


def test_libraries_go_the_same_way() -> None:
    """Python's own loggers, odd levels included, with their names as a fact."""
    stream = io.StringIO()
    configure_logging(daemon=True, stream=stream)
    logging.getLogger("paho").warning("lost %s", "it")
    logging.getLogger("asyncio").log(35, "between")
    logging.getLogger("asyncio").debug("unheard")
    first, second = (json.loads(line[3:]) for line in stream.getvalue().splitlines())
    assert (first["event"], first["logger"], first["said"]) == ("library", "paho", "lost it")
    assert second["said"] == "between"


def test_what_libraries_find_worth_telling_is_not_said() -> None:
    """A file watcher tells of every change of every file; what goes wrong in libraries is said."""
    stream = io.StringIO()
    configure_logging(daemon=True, stream=stream)
    logging.getLogger("watchfiles.main").info("1 change detected")
    assert stream.getvalue() == ""


@contextmanager
def written_to(descriptor: int) -> Iterator[TextIO]:
    """Give a descriptor as a stream; what is left in it when it is closed is nobody's business."""
    stream = os.fdopen(descriptor, "w")
    yield stream
    with suppress(OSError):
        stream.close()


def test_full_disk_does_not_stop_whoever_logs() -> None:
    """Lines that cannot be written are lost."""
    with written_to(os.open("/dev/full", os.O_WRONLY)) as stream:
        configure_logging(daemon=True, stream=stream)
        structlog.get_logger().error("camera_lost", camera="gate")
        logging.getLogger("paho").warning("lost it")


def test_reader_that_is_stuck_does_not_stop_whoever_logs() -> None:
    """Lines are lost while nobody reads, and come again when somebody does; one that hung up stops nothing either."""
    reading, writing = os.pipe()
    with written_to(writing) as stream:
        configure_logging(daemon=True, stream=stream)
        log = structlog.get_logger()
        for _ in range(2000):
            log.info("alert", camera="gate", reason="x" * 200)
        assert 100 < os.read(reading, 2**20).count(b"\n") < 2000
        log.info("stopped")
        assert b"stopped" in os.read(reading, 2**20)
        os.close(reading)
        log.info("stopped")


def test_exceptions_are_one_line() -> None:
    """A traceback is a fact, not a flood."""
    stream = io.StringIO()
    configure_logging(daemon=True, stream=stream)
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line[3:])["exception"]


class Camera:
    """Something whose text is not known before it is asked for."""

    def __str__(self) -> str:
        """Say what PyAV's exceptions say."""
        return "rtsp://view:from-an-object@cam1/stream"


def test_secrets_are_hidden_in_every_fact() -> None:
    """In texts, keys, lists and objects, in what libraries say and in tracebacks; addresses lose their user names."""
    hide(["hunter2/§"])
    stream = io.StringIO()
    configure_logging(daemon=True, stream=stream)
    log = structlog.get_logger()
    log.info("opened", url="rtsp://view:unknown@cam1/stream", camera=Camera(), more={"hunter2/§": ["hunter2%2F%C2%A7"]})
    logging.getLogger("libav.rtsp").warning("Opening '%s' failed", "rtsp://view:hunter2%2F%C2%A7@cam1")
    log.error("failed", exc_info=OSError(5, "Input/output error", "rtsp://u:p@cam1/x?password=hunter2/§"))
    said = stream.getvalue()
    for secret in ("hunter2", "unknown", "from-an-object", "view", "u:p"):
        assert secret not in said
    assert said.count("rtsp://***@cam1") == 4
    assert len(said.splitlines()) == 3
    assert all(json.loads(line[3:]) for line in said.splitlines())


def test_what_nobody_caught_is_logged() -> None:
    """The end of the program, of a thread, of an object: one line each, without secrets, where Python would print."""
    stream = io.StringIO()
    configure_logging(daemon=True, stream=stream)
    error = ValueError("rtsp://view:unknown@cam1")
    sys.excepthook(ValueError, error, None)
    thread = threading.Thread(target=lambda: int("http://view:unknown@cam1"), name="worker")
    thread.start()
    thread.join(10)
    sys.unraisablehook(
        SimpleNamespace(exc_type=ValueError, exc_value=error, exc_traceback=None, err_msg=None, object=None)
    )
    warnings.showwarning(UserWarning("http://view:unknown@cam1"), UserWarning, "x.py", 1)
    lines = [json.loads(line[3:]) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["uncaught", "uncaught", "unraisable", "library"]
    assert lines[1]["thread"] == "worker"
    assert "unknown" not in stream.getvalue()


# Names of facts that log lines may tell: things, numbers and reasons; nothing here can hold a picture or an address.
# One a line: several people add to them.
FIELDS = {
    "after_s",
    "alert_id",
    "alerts",
    "bundle",
    "by_s",
    "camera",
    "cameras",
    "cameras_begun",
    "cameras_ended",
    "check",
    "client_id",
    "command",
    "count",
    "dropped",
    "environment",
    "environments_begun",
    "error",
    "exc_info",
    "faces_shed",
    "file",
    "folder",
    "from_seq",
    "host",
    "job",
    "how",
    "instead",
    "is_on",
    "keys",
    "kind",
    "logger",
    "lost",
    "lost_at_s",
    "messages",
    "missing",
    "most",
    "name",
    "now",
    "p_value",
    "part",
    "parts",
    "pid",
    "port",
    "promised",
    "reason",
    "recovered",
    "resent",
    "restarts",
    "retry_s",
    "rows",
    "said",
    "sandbox",
    "score",
    "screening_on",
    "sent",
    "seq",
    "severity",
    "state",
    "telemetry",
    "thread",
    "to_seq",
    "topic",
    "topics",
    "tracks_known",
    "value",
    "version",
    "waited_s",
    "warm_s",
    "was",
    "workers",
}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Return every call of a logger in the gateway, with its place."""
    for path in sorted((Path(__file__).parents[2] / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"debug", "info", "warning", "error", "critical", "exception", "log"}
                and ast.unparse(node.func.value) in {"_log", "log", "structlog.get_logger()"}
            ):
                yield f"{path.name}:{node.lineno}", node


def test_log_lines_say_only_what_is_allowed() -> None:
    """The event is a constant word, and each fact has a name from the list: no face, no address, no free data."""
    assert list(log_calls())
    for place, call in log_calls():
        event = call.args[isinstance(call.func, ast.Attribute) and call.func.attr == "log"]  # after the level
        assert isinstance(event, ast.Constant), place
        assert re.fullmatch(r"[a-z][a-z0-9_]*", str(event.value)), place
        names = {keyword.arg for keyword in call.keywords}
        assert names <= FIELDS, f"{place}: {names - FIELDS} is not allowed so far"
