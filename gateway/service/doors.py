"""Who may come in: bearer tokens, the page's sessions, and a pause for whoever guesses.

Secrets are compared in constant time. Ten wrong ones from one address within a minute, and that address is not listened
to until the minute is over, whatever it shows; only a session that was opened before goes on. Commands are counted
too, whoever gives them: each becomes an alert of its own, and must not crowd the others out.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gateway.contract.bucket import Bucket
from gateway.contract.doorway import Doorway, Limits, RefusedFor, network_of
from gateway.settings import COMMANDS_PER_MINUTE

MOST_FAILURES = 10
WINDOW_S = 60.0
MOST_ADDRESSES = 1024
MOST_SESSIONS = 64
SESSION_S = 12 * 3600.0
MOST_BEGUN = 1024
"""Of what a session begins so much is remembered; what is older has ended by itself."""


LIMITS = Limits(connections=128, of_address=64)
"""One address gets half of all connections; a page of fifty cameras asks less than twenty times a second."""

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Session:
    """Somebody who logged in; `name` is the cookie, `csrf` what every change must show beside it."""

    name: str = field(repr=False)
    csrf: str = field(repr=False)
    ends_at_s: float
    is_over: bool = False
    _begun: OrderedDict[int, Callable[[], object]] = field(default_factory=OrderedDict, repr=False)
    _number: int = 0

    def begin(self, end: Callable[[], object]) -> Callable[[], None]:
        """Have something ended with the session that it began; at once where the session is over already.

        What is returned is called when that has ended by itself.
        """
        if self.is_over:
            end()
            return lambda: None
        self._number += 1
        number = self._number
        self._begun[number] = end
        if len(self._begun) > MOST_BEGUN:
            self._begun.popitem(last=False)

        def forget() -> None:
            self._begun.pop(number, None)

        return forget

    def close(self) -> None:
        """End, and with it what began here."""
        self.is_over = True
        while self._begun:
            self._begun.popitem(last=False)[1]()


def is_same(shown: str, expected: str) -> bool:
    """Return whether both are the same, in a time that tells neither where they differ nor how long they are."""
    return hmac.compare_digest(_digest(shown), _digest(expected))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class Failures:
    """Counts wrong secrets by address, of IPv6 by its /64; where there are too many the oldest is forgotten."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str) -> None:
        """Take one more wrong secret, and tell when they are too many."""
        network = network_of(address)
        times = self._of.setdefault(network, deque(maxlen=MOST_FAILURES))
        times.append(self._clock())
        self._of.move_to_end(network)
        if len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)
        pause_s = self.pause_s(address)
        if pause_s:
            _log.warning("http_address_paused", host=address, retry_s=round(pause_s, 1))

    def pause_s(self, address: str) -> float:
        """Return how long an address is not listened to, 0 where it is."""
        times = self._of.get(network_of(address))
        if times is None or len(times) < MOST_FAILURES:
            return 0.0
        return max(0.0, times[0] + WINDOW_S - self._clock())


class Doors:
    """Knows the token and the password of the box, and who is in; `doorway` bounds how many come, and how often."""

    def __init__(
        self,
        token: str,
        password: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        doorway: Doorway | None = None,
    ) -> None:
        self.doorway = doorway or Doorway(LIMITS, clock=clock, on_refused=_log_refused)
        self._token = token
        self._password = password or token
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self.failures = Failures(clock=clock)
        self._commands = Bucket(COMMANDS_PER_MINUTE, COMMANDS_PER_MINUTE / 60.0, now_s=clock())

    def command_pause_s(self) -> float:
        """Count a command; return 0 where it may be obeyed, or how long to wait where too many came."""
        return 0.0 if self._commands.take(self._clock()) else self._commands.wait_s

    def takes_token(self, shown: str) -> bool:
        """Return whether this is the box's token."""
        return is_same(shown, self._token)

    def open_session(self, password: str) -> Session | None:
        """Return a new session for whoever knows the password; the oldest ends where there are too many."""
        if not is_same(password, self._password):
            return None
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), self._clock() + SESSION_S)
        self._sessions[_digest(session.name).hex()] = session
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)[1].close()
        return session

    def session(self, name: str) -> Session | None:
        """Return the session of a cookie, or None where there is none or it is over."""
        session = self._sessions.get(_digest(name).hex())
        if session is not None and self._clock() >= session.ends_at_s:
            self.close_session(name)
            return None
        return session

    def close_session(self, name: str) -> None:
        """End a session, and what began in it."""
        session = self._sessions.pop(_digest(name).hex(), None)
        if session is not None:
            session.close()


def _log_refused(why: RefusedFor, host: str, count: int) -> None:
    _log.warning("http_address_refused", host=host, reason=why, dropped=count)
