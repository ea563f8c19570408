"""Reading the configuration file: every mistake at once with file, line and key; all of it or nothing."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from gateway.config import Config, secrets_of
from gateway.config_errors import Written, did_you_mean, key_in_words, problems_of, value_at
from gateway.contract import credentials
from gateway.contract.credentials import RUN_SECRETS, is_readable_by_everybody
from gateway.errors import ConfigError
from gateway.redaction import hide
from gateway.strict_yaml import Document, KeyPath, Problem, Value, parse, plain_value

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")

Lookup = Callable[[str], str | None]
"""Finds the value of a `${NAME}`, or None."""


def find_value(name: str, *, environ: Mapping[str, str] = os.environ, run_secrets: Path = RUN_SECRETS) -> str | None:
    """Return the value of a `${NAME}`, as `gateway.contract.credentials` finds it.

    Raises:
        ConfigError: Every user of this machine can read the file.
    """
    try:
        return credentials.find_value(name, environ=environ, run_secrets=run_secrets)
    except PermissionError as error:
        raise ConfigError(str(error)) from None


def load_config(path: Path, *, lookup: Lookup = find_value) -> Config:
    """Return the configuration of a file.

    Raises:
        ConfigError: The file cannot be read or anything in it is wrong; one line per mistake.
    """
    return read_config(path, lookup=lookup)[0]


def read_config(path: Path, *, lookup: Lookup = find_value) -> tuple[Config, Document]:
    """Return the configuration of a file with its document, which knows the lines; its secrets are shown nowhere.

    Raises:
        ConfigError: As `load_config`.
    """
    try:
        document = parse(path.read_bytes())
        is_open_to_all = is_readable_by_everybody(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    expansion = _Expansion(document, lookup)
    value = expansion.expand(document.value, ())
    written = Written(document, frozenset(expansion.touched))
    problems = [*document.problems, *expansion.problems, *_unknown_environments(value, written)]
    try:
        config = _validate(value, expansion.whole, folder=path.parent)
    except ValidationError as error:
        problems += problems_of(error, Config, written, reported={problem.path for problem in problems})
        config = Config()
    if is_open_to_all and not problems:
        problems += _secrets_in_the_open(path, config, document)
    if problems:
        raise ConfigError("\n".join(describe(path, problem) for problem in sorted(problems, key=lambda p: p.line)))
    hide(secrets_of(config))
    return config, document


def describe(path: Path, problem: Problem) -> str:
    """Return one line for the operator: `file:line: key.path: reason`."""
    key = key_in_words(problem.path)
    return f"{path}:{problem.line}: {key + ': ' if key else ''}{problem.reason}"


class _Expansion:
    """Replaces `${NAME}` in a document: `touched` are the paths that held one, `whole` those that are one, unquoted."""

    def __init__(self, document: Document, lookup: Lookup) -> None:
        self._document, self._lookup = document, lookup
        self.problems: list[Problem] = []
        self.touched: set[KeyPath] = set()
        self.whole: set[KeyPath] = set()

    def expand(self, value: Value, path: KeyPath) -> Value:
        match value:
            case dict():
                return {key: self.expand(item, (*path, key)) for key, item in value.items()}
            case list():
                return [self.expand(item, (*path, index)) for index, item in enumerate(value)]
            case str() if "${" in value:
                self.touched.add(path)
                if path in self._document.unquoted and _VARIABLE.fullmatch(value):
                    self.whole.add(path)
                return _VARIABLE.sub(lambda match: self._replace(match, path), value)
        return value

    def _replace(self, match: re.Match[str], path: KeyPath) -> str:
        if match["name"] is None:
            return "${"
        where = "$CREDENTIALS_DIRECTORY, /run/secrets and the environment"
        reason = f"no value under this name in {where}"
        try:
            found = self._lookup(match["name"])
        except ConfigError as error:
            found, reason = None, str(error)
        else:
            found = match["default"] if found is None else found
        if found is None:
            reason = f"${{{match['name']}}}: {reason}"
            self.problems.append(Problem(self._document.line_of(path), path, reason))
            return ""
        return found


def _validate(value: Value, whole: set[KeyPath], *, folder: Path) -> Config:
    """Validate strictly: text is never read as a number, but where an unquoted `${NAME}` stands for one."""
    context = {"folder": folder}
    try:
        return Config.model_validate_json(json.dumps(value), strict=True, context=context)
    except ValidationError as error:
        numbers = {e["loc"] for e in error.errors() if e["type"] in {"int_type", "float_type", "bool_type"}} & whole
        if not numbers:
            raise
        return Config.model_validate_json(json.dumps(_as_plain(value, numbers)), strict=True, context=context)


def _as_plain(value: Value, paths: set[KeyPath], path: KeyPath = ()) -> Value:
    match value:
        case dict():
            return {key: _as_plain(item, paths, (*path, key)) for key, item in value.items()}
        case list():
            return [_as_plain(item, paths, (*path, index)) for index, item in enumerate(value)]
        case str() if path in paths:
            return plain_value(value)
    return value


def _unknown_environments(value: Value, written: Written) -> Iterator[Problem]:
    """Find cameras of an environment that is not there; what is no section at all is refused elsewhere."""
    sections = value if isinstance(value, dict) else {}
    environments = sections.get("environments", {"default": None})
    cameras = sections.get("cameras", {})
    if not isinstance(environments, dict) or not isinstance(cameras, dict):
        return
    for name, camera in cameras.items():
        given = camera.get("environment", "default") if isinstance(camera, dict) else None
        if isinstance(given, str) and given not in environments:
            path = ("cameras", name, "environment")
            known = ", ".join(list(environments)[:10])
            if path in written.document.lines:
                hint = "" if path in written.touched else did_you_mean(given, list(environments))
                reason = f"{written.shown(path)}: there is no such environment{hint or f', only {known}'}"
            else:
                reason = f"this key is needed: one of {known}"
            yield Problem(written.document.line_of(path), path, reason)


def _secrets_in_the_open(path: Path, config: Config, document: Document) -> Iterator[Problem]:
    """Find secrets that stand in a file which every user of this machine can read."""
    secrets = secrets_of(config)
    for place, line in document.lines.items():
        text = value_at(document.value, place)
        is_secret = isinstance(text, str) and text in secrets
        if is_secret or (place[-1:] == ("url",) and any(secret in str(text) for secret in secrets)):
            reason = f"every user of this machine can read it: chmod o= {path}, or write ${{NAME}} instead"
            yield Problem(line, place, reason)
