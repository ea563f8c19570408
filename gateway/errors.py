"""Errors, split by who must act."""

from enum import StrEnum


class SpectragateError(Exception):
    """Base of every error this product raises on purpose; its text says what, where and what to do."""


class ConfigError(SpectragateError):
    """The operator must change the configuration or the command line; exit code 78."""


class SourceReason(StrEnum):
    """Why a camera or recording cannot be read, as a word that rules and operators can rely on."""

    AUTH = "auth"
    CODEC = "codec"
    CRASHED = "crashed"
    ENDED = "ended"
    HUNG = "hung"
    NO_VIDEO = "no_video"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    STALLED = "stalled"
    TIMEOUT = "timeout"
    TLS = "tls"
    TOO_LARGE = "too_large"
    TRANSPORT = "transport"
    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"


class SourceError(SpectragateError):
    """A camera or recording cannot be read; the others go on."""

    def __init__(self, text: str, reason: SourceReason = SourceReason.UNREADABLE) -> None:
        super().__init__(text)
        self.reason = reason


class DeliveryError(SpectragateError):
    """The broker refuses or cannot be reached."""


class ExchangeReason(StrEnum):
    """Why nothing came from the trainer's side, as a word that rules and operators can rely on."""

    EXPIRED = "expired"
    INVALID = "invalid"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    UNREACHABLE = "unreachable"


class ExchangeError(SpectragateError):
    """The trainer or its repository cannot be reached or is not to be believed; screening goes on as it is."""

    def __init__(self, text: str, reason: ExchangeReason) -> None:
        super().__init__(text)
        self.reason = reason


class StorageError(SpectragateError):
    """The state folder cannot be used, or the disk takes nothing now."""


class RuntimeFault(SpectragateError):
    """Our own fault or the device's: the process ends and its supervisor restarts it."""


class ScoreFault(RuntimeFault):
    """A bundle scores what is no number; where another stands by, that one goes on."""


class LateFault(RuntimeFault):
    """A session gave no answer in time, which says nothing of its bundle: the machine may be busy, the device hang."""


def innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first failure of a task group, so that callers see the error itself."""
    first = group.exceptions[0]
    return innermost(first) if isinstance(first, BaseExceptionGroup) else first
