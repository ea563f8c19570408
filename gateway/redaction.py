"""Texts that may be shown: without the secrets of the configuration, in any of the forms that programs write them."""

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

HIDDEN = "***"

SECRET_WORD = re.compile(r"passw|pwd|pass$|token|secret|credential|key$", re.IGNORECASE)
"""Names of keys whose values are secrets."""

_USER_INFO = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,20}(?::|%3A)(?://|%2F%2F|\\/\\/))[^\s\"'<>]{0,1024}(?:@|%40)",
    re.IGNORECASE,
)
_GIVEN = re.compile(
    r"(?P<name>\b[\w-]{0,40}(?:passw(?:or)?d|pwd|token|secret|credentials?)[\"']?\s*[=:]\s*[\"']?)"
    r"(?!\*\*\*|\$\{[A-Za-z_][A-Za-z0-9_]*\})[^\s\"'&,;}]+",  # the name of a secret is none
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"(?P<name>\b(?:basic|bearer)\s+)[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)
_SHORT = 4

LONGEST = 32_768
"""Characters of a text that are looked at and shown; cameras and brokers have a say in how long some are."""


@dataclass(frozen=True, slots=True)
class Redactor:
    """Hides a set of secrets, user names and passwords in any address, and what stands behind `password=`."""

    secrets: frozenset[str] = frozenset()
    _known: re.Pattern[str] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the pattern once."""
        forms = sorted({form for secret in self.secrets for form in _forms(secret)}, key=len, reverse=True)
        if forms:
            object.__setattr__(self, "_known", re.compile("|".join(map(_pattern, forms))))

    def with_secrets(self, secrets: Iterable[str]) -> "Redactor":
        """Return one that hides these as well."""
        return Redactor(self.secrets | frozenset(secret for secret in secrets if secret))

    def text(self, text: str) -> str:
        """Return a text as it may be shown: of one longer than anything worth reading, the beginning."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        if len(text) > LONGEST:  # after the secrets: half of one is still too much
            text = text[:LONGEST] + "…"
        text = _USER_INFO.sub(rf"\g<scheme>{HIDDEN}@", text)
        text = _AUTHORIZATION.sub(rf"\g<name>{HIDDEN}", text)
        return _GIVEN.sub(rf"\g<name>{HIDDEN}", text)

    def value(self, value: object) -> object:
        """Return a fact of a log line as it may be shown: texts, and what holds texts."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.value(key): self.value(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.value(item) for item in value]
            case None | bool() | int() | float():
                return value
        return self.text(str(value))


class _Process:
    """What this process must not show: as logging itself, there is one of it, because its outputs are one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.redactor = Redactor()

    def add(self, secrets: Iterable[str]) -> None:
        with self._lock:
            self.redactor = self.redactor.with_secrets(secrets)


_process = _Process()


def hide(secrets: Iterable[str]) -> None:
    """Show these nowhere in what this process logs or tells from now on; a configuration does so when it is read."""
    _process.add(secrets)


def redacted(text: str) -> str:
    """Return a text as this process may show it."""
    return _process.redactor.text(text)


def redacted_value(value: object) -> object:
    """Return a fact of a log line as this process may show it."""
    return _process.redactor.value(value)


def _forms(secret: str) -> Iterator[str]:
    """Return a secret as it stands in texts: itself, quoted by Python or JSON, encoded for an address or a header."""
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(repr(secret)[1:-1])[1:-1]
    for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret), quote(quote(secret, safe=""), safe="")):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    yield base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")


def _pattern(form: str) -> str:
    """Return what finds a form; one so short that it is part of other words counts only on its own."""
    if len(form) >= _SHORT:
        return re.escape(form)
    return rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"
