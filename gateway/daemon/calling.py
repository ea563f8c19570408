"""Pull from a WHEP server: the worker's offer goes out over HTTP and the answer comes back, both opaque here."""

from http import HTTPStatus

import httpx2

from gateway.cameras.jobs import PeerSource
from gateway.cameras.offers import MAX_SDP_BYTES
from gateway.errors import SourceError, SourceReason

CALL_S = 5.0

_REASONS = {
    HTTPStatus.UNAUTHORIZED: SourceReason.AUTH,
    HTTPStatus.FORBIDDEN: SourceReason.AUTH,
    HTTPStatus.NOT_FOUND: SourceReason.NOT_FOUND,
}
_SDP = "application/sdp"


async def call(source: PeerSource, sdp: bytes) -> bytes:
    """Return what the server of a source answers to an offer.

    Raises:
        SourceError: It does not answer, or not with an answer.
    """
    headers = {"content-type": _SDP, "accept": _SDP}
    if source.token is not None:
        headers["authorization"] = f"Bearer {source.token}"
    try:
        async with (
            httpx2.AsyncClient(timeout=CALL_S, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", source.url or "", content=sdp, headers=headers) as response,
        ):
            if response.status_code not in {HTTPStatus.OK, HTTPStatus.CREATED}:
                raise _refused(response.status_code)
            return await _bounded(response)
    except httpx2.TimeoutException:
        raise SourceError("the WHEP server did not answer in time", SourceReason.TIMEOUT) from None
    except (httpx2.HTTPError, httpx2.InvalidURL):
        # What the library says holds the address, which may hold a secret.
        text = "the WHEP server cannot be reached; check url, network and certificate"
        raise SourceError(text, SourceReason.UNREACHABLE) from None


async def _bounded(response: httpx2.Response) -> bytes:
    answer = bytearray()
    async for part in response.aiter_bytes():
        answer += part
        if len(answer) > MAX_SDP_BYTES:
            raise SourceError("the WHEP server's answer is too long", SourceReason.UNREADABLE)
    return bytes(answer)


def _refused(status: int) -> SourceError:
    reason = _REASONS.get(HTTPStatus(status), SourceReason.REFUSED) if status in set(HTTPStatus) else None
    text = f"the WHEP server refuses with {status}; check url and token"
    return SourceError(text, reason or SourceReason.REFUSED)
