"""Logs: an event's name is a constant, its facts are fields; never face data, never a secret.

The daemon writes one JSON object a line to stderr, each with the sd-daemon prefix `<n>` that systemd reads as its
priority. Commands say only what goes wrong, in words. Python's own loggers, those of libraries, go the same way, and so
does what nobody caught. Every fact passes `redaction`: libraries and exceptions repeat addresses with their passwords.
"""

import json
import logging
import select
import sys
import threading
from collections.abc import MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

import structlog

from gateway.redaction import redacted_value

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
PATIENCE_MS = 100
"""How long one line waits for a reader that is behind."""

_Event = MutableMapping[str, Any]


def configure_logging(*, daemon: bool, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr): all from info on as JSON, or warnings as words."""
    level = logging.INFO if daemon else logging.WARNING
    render = _as_json if daemon else _as_words
    lines = _Lines(stream or sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(logging.WARNING)  # what libraries find worth telling is hardly what an operator does
    logging.captureWarnings(capture=True)
    sys.excepthook = _tell_uncaught
    threading.excepthook = _tell_uncaught_in_thread
    sys.unraisablehook = _tell_unraisable


class _Lines:
    """Writes lines, and loses those that cannot be written: a full disk or a stuck reader must not stop the cameras."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._is_stuck = False

    def msg(self, line: str) -> None:
        """Write a line; wait a moment for a slow reader, and not again before it reads."""
        with self._lock, suppress(OSError):
            self._is_stuck = not self._is_writable(0 if self._is_stuck else PATIENCE_MS)
            if not self._is_stuck:
                self._file.write(line + "\n")
                self._file.flush()

    debug = info = warning = error = critical = msg

    def _is_writable(self, within_ms: int) -> bool:
        poll = select.poll()
        try:
            poll.register(self._file, select.POLLOUT)
        except ValueError:  # no file of the system's
            return True
        return bool(poll.poll(within_ms))


def _tell_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("uncaught", exc_info=(kind, error, trace))


def _tell_uncaught_in_thread(caught: threading.ExceptHookArgs) -> None:
    if caught.exc_value is not None:
        where = caught.thread.name if caught.thread else ""
        told = (caught.exc_type, caught.exc_value, caught.exc_traceback)
        structlog.get_logger().critical("uncaught", thread=where, exc_info=told)


def _tell_unraisable(caught: "sys.UnraisableHookArgs") -> None:
    if caught.exc_value is not None:
        told = (caught.exc_type, caught.exc_value, caught.exc_traceback)
        structlog.get_logger().error("unraisable", exc_info=told)


class _ToStructlog(logging.Handler):
    """Hands what libraries log to structlog, under one event name and with the logger as a fact."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        level = record.levelno if record.levelno in {10, 20, 30, 40, 50} else logging.WARNING
        log.log(level, "library", logger=record.name, said=record.getMessage(), exc_info=record.exc_info or None)


def _without_secrets(_logger: Any, _method: str, event: _Event) -> _Event:
    """Hide secrets in every fact, before JSON changes how they are written."""
    return {key: redacted_value(value) for key, value in event.items()}


def _as_json(_logger: Any, _method: str, event: _Event) -> str:
    """Return `<n>{json}`, keys in the order in which they came, event and level first."""
    level = event.pop("level")
    facts = {"event": event.pop("event"), "level": level, "time": event.pop("timestamp"), **event}
    return f"<{_PRIORITIES.get(level, 6)}>{json.dumps(facts)}"


def _as_words(_logger: Any, _method: str, event: _Event) -> str:
    level, name = event.pop("level"), event.pop("event")
    event.pop("timestamp")
    facts = ", ".join(f"{key} {value}" for key, value in event.items() if value is not None)
    return f"{level}: {str(name).replace('_', ' ')}{': ' if facts else ''}{facts}"
