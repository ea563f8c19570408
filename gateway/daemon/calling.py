"""Pull from a WHEP server: the worker's offer goes out over HTTP and the answer comes back, both opaque here.

Whoever pulls takes leave: the server is told when nobody listens any more.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import httpx2
import structlog

from gateway.cameras.addresses import number_of
from gateway.cameras.jobs import PeerSource
from gateway.cameras.lines import Called
from gateway.cameras.offers import MAX_SDP_BYTES
from gateway.errors import SourceError, SourceReason

CALL_S = 5.0
"""Time for everything from the name of the server to its whole answer."""

LEAVE_S = 0.4
"""Time to tell the server that we leave; the daemon has little more to end."""

_REASONS = {
    HTTPStatus.UNAUTHORIZED: SourceReason.AUTH,
    HTTPStatus.FORBIDDEN: SourceReason.AUTH,
    HTTPStatus.NOT_FOUND: SourceReason.NOT_FOUND,
}
_SDP = "application/sdp"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Way:
    """How a server is reached: at which number, whom we believe that it is the server, and what we show it."""

    address: str
    trust: ssl.SSLContext
    token: str | None = field(repr=False)


async def call(source: PeerSource, sdp: bytes) -> Called:
    """Return what the server of a source answers to an offer, and how to leave it.

    Raises:
        SourceError: It does not answer, or not with an answer.
    """
    try:
        async with asyncio.timeout(CALL_S):
            url = httpx2.URL(source.url or "")
            way = _Way(await number_of(url.host), await asyncio.to_thread(_trust, source.ca_file), source.token)
            headers = {"content-type": _SDP, "accept": _SDP}
            async with _asked(way, "POST", url, headers=headers, content=sdp) as response:
                if response.status_code not in {HTTPStatus.OK, HTTPStatus.CREATED}:
                    raise _refused(response.status_code)
                answer, session = await _bounded(response), _session(url, response.headers.get("location"))
    except (TimeoutError, httpx2.TimeoutException):
        raise SourceError("the WHEP server did not answer in time", SourceReason.TIMEOUT) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
        raise _unreachable(error) from None

    async def leave() -> None:
        if session is not None:
            await _leave(way, session)

    return Called(answer, leave)


@asynccontextmanager
async def _asked(
    way: _Way, method: str, url: httpx2.URL, *, headers: dict[str, str], content: bytes = b""
) -> AsyncIterator[httpx2.Response]:
    """Yield the answer to a request to a numeric address, checked against the name in the url."""
    host = url.host
    headers = {"host": url.netloc.decode("ascii"), "accept-encoding": "identity", **headers}
    if way.token is not None:
        headers["authorization"] = f"Bearer {way.token}"
    async with (
        httpx2.AsyncClient(timeout=CALL_S, follow_redirects=False, trust_env=False, verify=way.trust) as client,
        client.stream(
            method, url.copy_with(host=way.address), headers=headers, content=content, extensions={"sni_hostname": host}
        ) as response,
    ):
        yield response


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return whom we believe.

    Raises:
        SourceError: The file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:  # an SSLError too
        why = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise SourceError(f"ca_file {ca_file} cannot be used: {why}", SourceReason.TLS) from None


async def _leave(way: _Way, session: httpx2.URL) -> None:
    try:
        async with asyncio.timeout(LEAVE_S), _asked(way, "DELETE", session, headers={}):
            return
    except (TimeoutError, httpx2.HTTPError, OSError):
        _log.debug("whep_not_left")  # the server notices the silence by itself


def _session(url: httpx2.URL, location: str | None) -> httpx2.URL | None:
    """Return the address of our session; None where there is none, or at another server, which is shown no token."""
    if location is None:
        return None
    try:
        session = url.join(location)
    except httpx2.InvalidURL:
        return None
    same = (session.scheme, session.host, session.port) == (url.scheme, url.host, url.port)
    return session if same else None


async def _bounded(response: httpx2.Response) -> bytes:
    answer = bytearray()
    async for part in response.aiter_raw():
        answer += part
        if len(answer) > MAX_SDP_BYTES:
            raise SourceError("the WHEP server's answer is too long", SourceReason.UNREADABLE)
    return bytes(answer)


def _unreachable(error: BaseException) -> SourceError:
    """Return what is told; what the library says holds the address, which may hold a secret."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return SourceError("the WHEP server's certificate cannot be trusted; check ca_file", SourceReason.TLS)
        cause = cause.__cause__ or cause.__context__
    return SourceError("the WHEP server cannot be reached; check url and network", SourceReason.UNREACHABLE)


def _refused(status: int) -> SourceError:
    reason = _REASONS.get(HTTPStatus(status), SourceReason.REFUSED) if status in set(HTTPStatus) else None
    text = f"the WHEP server refuses with {status}; check url and token"
    return SourceError(text, reason or SourceReason.REFUSED)
