"""Logs: an event's name is a constant, its facts are fields; never face data, never a secret.

The daemon writes one JSON object a line to stderr, each with the sd-daemon prefix `<n>` that systemd reads as its
priority. Commands say only what goes wrong, in words. Python's own loggers, those of libraries, go the same way.
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_Event = MutableMapping[str, Any]


def configure_logging(*, daemon: bool, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr): all from info on as JSON, or warnings as words."""
    level = logging.INFO if daemon else logging.WARNING
    render = _as_json if daemon else _as_words
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(level)


class _ToStructlog(logging.Handler):
    """Hands what libraries log to structlog, under one event name and with the logger as a fact."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        level = record.levelno if record.levelno in {10, 20, 30, 40, 50} else logging.WARNING
        log.log(level, "library", logger=record.name, said=record.getMessage(), exc_info=record.exc_info or None)


def _as_json(_logger: Any, _method: str, event: _Event) -> str:
    """Return `<n>{json}`, keys in the order in which they came, event and level first."""
    level = event.pop("level")
    facts = {"event": event.pop("event"), "level": level, "time": event.pop("timestamp"), **event}
    return f"<{_PRIORITIES.get(level, 6)}>{json.dumps(facts, default=str)}"


def _as_words(_logger: Any, _method: str, event: _Event) -> str:
    level, name = event.pop("level"), event.pop("event")
    event.pop("timestamp")
    facts = ", ".join(f"{key} {value}" for key, value in event.items() if value is not None)
    return f"{level}: {str(name).replace('_', ' ')}{': ' if facts else ''}{facts}"
