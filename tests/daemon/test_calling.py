"""Pull from a WHEP server: a real one on the loopback, kind or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.cameras.jobs import PeerSource
from gateway.daemon import calling
from gateway.errors import SourceError, SourceReason


@asynccontextmanager
async def serving(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield the address of a server that says this to whoever comes, and what it heard."""
    heard: list[bytes] = []
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(3))
        if answer is None:
            await silent.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hall/whep", heard
    finally:
        silent.set()
        server.close()
        await server.wait_closed()


def reply(status: str, body: bytes = b"answer") -> bytes:
    """Return a whole answer."""
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


async def test_an_offer_is_answered_when_the_token_is_right() -> None:
    """It goes out as SDP with the bearer token."""
    async with serving(reply("201 Created")) as (url, heard):
        assert await calling.call(PeerSource((), url, "secret"), b"v=0") == b"answer"
    assert b"authorization: bearer secret" in heard[0].lower()
    assert b"content-type: application/sdp" in heard[0].lower()
    assert heard[0].endswith(b"v=0")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply("401 Unauthorized"), SourceReason.AUTH),
        (reply("404 Not Found"), SourceReason.NOT_FOUND),
        (reply("302 Found"), SourceReason.REFUSED),
        (reply("500 Oops"), SourceReason.REFUSED),
        (reply("799 Odd"), SourceReason.REFUSED),
        (reply("201 Created", b"x" * 70_000), SourceReason.UNREADABLE),
        (b"no http\r\n\r\n", SourceReason.UNREACHABLE),
    ],
)
async def test_a_source_fails_with_its_reason_when_the_server_is_not_kind(answer: bytes, reason: SourceReason) -> None:
    """The text never holds the address, which may hold a secret."""
    async with serving(answer) as (url, _):
        with pytest.raises(SourceError) as caught:
            await calling.call(PeerSource((), url), b"v=0")
    assert caught.value.reason is reason
    assert "127.0.0.1" not in str(caught.value)


async def test_a_source_fails_when_the_server_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again by whoever watches the camera."""
    monkeypatch.setattr(calling, "CALL_S", 0.1)
    async with serving(None) as (url, _):
        with pytest.raises(SourceError) as caught:
            await calling.call(PeerSource((), url), b"v=0")
    assert caught.value.reason is SourceReason.TIMEOUT
