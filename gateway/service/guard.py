"""Stands before every route: who may pass, how large a request may be, and what every answer says to browsers.

What is not named here needs the token or a session: a route that is forgotten is closed.
"""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.service.doors import Doors, Session, is_same
from gateway.settings import COMMANDS_PER_MINUTE

COOKIE = "spectragate_session"
CSRF_HEADER = b"x-csrf-token"
WHIP, WHEP = "/whip/", "/whep/"
MOST_BODY_BYTES = 65_536
BODY_S = 10.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOO_OFTEN = "too many requests came from this address"
TOO_MANY = "too many wrong secrets came from this address: wait a minute"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

HEADERS: Mapping[bytes, bytes] = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    b"connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class Refusal(Exception):
    """Why a request does not pass."""

    def __init__(self, status: HTTPStatus, reason: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Rules:
    """Whom the guard lets pass: `open_paths` and what is below `open_prefixes` everybody, WHIP who shows its token.

    Somebody whose browser asks for a page without a session is sent to `login`, where there is one. Pages of another
    site that `allows_origin` takes may publish: their browsers ask first, without a token. Whatever changes something
    is a command and counted, but for `logout` and WebRTC.
    """

    open_paths: frozenset[str] = OPEN_PATHS
    open_prefixes: tuple[str, ...] = ()
    login: str | None = None
    logout: str | None = None
    whip_token: Callable[[str], str | None] = lambda _camera: None
    allows_origin: Callable[[str], bool] = lambda _origin: False


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, doors: Doors, rules: Rules) -> None:
        self._app = app
        self._doors = doors
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it."""
        if scope["type"] != "http":  # neither web sockets nor anything else is served
            return
        send = _with_headers(send, self._shared(scope))
        try:
            self._slow_down(scope)
            self._check(scope)
            self._count(scope)
            await self._app(scope, await _read_body(scope, receive), send)
        except Refusal as refusal:
            await _refuse(refusal, send)

    def _slow_down(self, scope: Scope) -> None:
        """Hang up on whoever asks too often: to be told so again takes a new connection, and those are counted too."""
        pause_s = self._doors.doorway.pause_s(address_of(scope))
        if pause_s:
            raise _too_many(TOO_OFTEN, pause_s, (b"connection", b"close"))

    def _check(self, scope: Scope) -> None:
        state = scope.setdefault("state", {})
        state["session"] = None
        path = scope["path"]
        rules = self._rules
        if path in rules.open_paths or path.startswith(rules.open_prefixes):
            self._check_open(scope)
        elif path.startswith(WHIP):
            if self._is_preflight(scope):
                return
            self._check_token(scope, rules.whip_token(path.removeprefix(WHIP).split("/")[0]))
        elif _values(scope, b"authorization"):
            self._check_token(scope, None)
        else:
            state["session"] = self._check_session(scope)

    def _shared(self, scope: Scope) -> Mapping[bytes, bytes]:
        """Return the headers by which a page of another site may read the answer, none where it may not."""
        origin = _values(scope, b"origin")
        if len(origin) != 1 or not scope["path"].startswith(WHIP) or not self._rules.allows_origin(_text(origin[0])):
            return {}
        return {
            b"access-control-allow-origin": origin[0],
            b"access-control-expose-headers": b"location, retry-after",
            b"vary": b"origin",
        }

    def _is_preflight(self, scope: Scope) -> bool:
        asked = _one(scope, b"access-control-request-method")
        return scope["method"] == "OPTIONS" and asked is not None and bool(self._shared(scope))

    def _count(self, scope: Scope) -> None:
        path, rules = scope["path"], self._rules
        is_free = path in rules.open_paths or path == rules.logout or path.startswith((WHIP, WHEP))
        if scope["method"] in SAFE_METHODS or is_free:
            return
        pause_s = self._doors.command_pause_s()
        if pause_s:
            raise _too_many(f"more than {COMMANDS_PER_MINUTE} commands came in a minute", pause_s)

    def _check_open(self, scope: Scope) -> None:
        """Whoever changes something at an open door must come from our own page."""
        origin = _one(scope, b"origin")
        if scope["method"] not in SAFE_METHODS and origin is not None and not _is_own(scope, origin):
            raise Refusal(HTTPStatus.FORBIDDEN, "the request comes from a page of another site")

    def _check_token(self, scope: Scope, camera_token: str | None) -> None:
        """Take the box's token, or below WHIP that of the camera and no other."""
        address = address_of(scope)
        pause_s = self._doors.failures.pause_s(address)
        if pause_s:
            raise _too_many(TOO_MANY, pause_s)
        shown = _bearer(scope)
        if scope["path"].startswith(WHIP):
            # Compared in any case, so that time does not tell which cameras there are.
            passes = is_same(shown, camera_token or "") and bool(camera_token)
        else:
            passes = self._doors.takes_token(shown)
        if not passes:
            if shown:
                self._doors.failures.note(address)
            raise _unauthorized("the bearer token is missing or wrong")

    def _check_session(self, scope: Scope) -> Session:
        cookie = _cookie(scope)
        session = None if cookie is None else self._doors.session(cookie)
        if session is None:
            if self._rules.login and scope["method"] == "GET" and b"text/html" in (_one(scope, b"accept") or b""):
                to_login = ((b"location", self._rules.login.encode()),)
                raise Refusal(HTTPStatus.SEE_OTHER, "log in first", to_login)
            raise _unauthorized("a bearer token or a session is needed")
        shown = (_one(scope, CSRF_HEADER) or b"").decode("latin-1")
        if scope["method"] not in SAFE_METHODS and not is_same(shown, session.csrf):
            raise Refusal(HTTPStatus.FORBIDDEN, "the header X-CSRF-Token is missing or wrong: load the page again")
        return session


def session_of(request: HTTPConnection) -> Session | None:
    """Return the session in which a request comes; None where it shows the token."""
    session: Session | None = request.state.session
    return session


def address_of(scope: Scope) -> str:
    """Return where a request comes from."""
    client = scope.get("client")
    return client[0] if client else ""


def _too_many(reason: str, pause_s: float, *headers: tuple[bytes, bytes]) -> Refusal:
    wait = str(math.ceil(pause_s)).encode()
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, reason, ((b"retry-after", wait), *headers))


def _unauthorized(reason: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, reason, ((b"www-authenticate", b"Bearer"),))


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _one(scope: Scope, name: bytes) -> bytes | None:
    """Return a header that stands once.

    Raises:
        Refusal: It stands twice: two readers would each believe another.
    """
    values = _values(scope, name)
    if len(values) > 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the header {name.decode()} stands twice")
    return values[0] if values else None


def _bearer(scope: Scope) -> str:
    kind, _, token = (_one(scope, b"authorization") or b"").decode("latin-1").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _cookie(scope: Scope) -> str | None:
    # Not by http.cookies: it takes 10 s and more for a header of 60 KB of backslashes, and all screening stands still.
    for part in _text(_one(scope, b"cookie") or b"").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def _is_own(scope: Scope, origin: bytes) -> bool:
    host = _one(scope, b"host") or b""
    return origin in {b"http://" + host, b"https://" + host}


async def _read_body(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that hands out the body, read whole, and after it what else comes.

    Raises:
        Refusal: It is larger than any request of ours, or does not come in time.
    """
    length = _one(scope, b"content-length") or b"0"
    if not length.isdigit() or int(length) > MOST_BODY_BYTES:
        raise _too_large()
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    break
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MOST_BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {BODY_S:g} s") from None
    handed_out = False

    async def replay() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _too_large() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MOST_BODY_BYTES} bytes")


def _with_headers(send: Send, more: Mapping[bytes, bytes]) -> Send:
    """Add the headers of every answer and `more`, where the route has not set them itself."""

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in {**HEADERS, **more}.items() if name not in there]
            message = {**message, "headers": headers}
        await send(message)

    return send_with


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"detail": refusal.reason}).encode()
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *refusal.headers,
    ]
    start: dict[str, Any] = {"type": "http.response.start", "status": int(refusal.status), "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
