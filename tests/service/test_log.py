"""Log lines: JSON for systemd, words for people, and the loggers of libraries among them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.service.log import configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the process its logging back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
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
