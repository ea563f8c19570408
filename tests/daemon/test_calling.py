"""Pull from a WHEP server: a real one on the loopback, kind or not."""

import asyncio
import contextlib
import gzip
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from fakes.brokers import make_authority

from gateway.cameras.jobs import PeerSource
from gateway.daemon import calling
from gateway.errors import SourceError, SourceReason


@pytest.fixture(autouse=True)
def _time_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is looked at what the server is told, not how soon."""
    monkeypatch.setattr(calling, "LEAVE_S", 20.0)


LEFT = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def serving(
    answer: bytes | None, *, pause_s: float = 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield the address of a server that answers offers so, and what it heard; HOST in it becomes its own name."""
    heard: list[bytes] = []
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await respond(reader, writer)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"DELETE"):
            heard.append(head)
            writer.write(LEFT)
            return
        heard.append(head + await reader.readexactly(3))
        if answer is None:
            await silent.wait()
            return
        host = re.search(rb"(?i)host: (\S+)", head)
        assert host is not None
        await trickle(answer.replace(b"HOST", host[1]), writer)

    async def trickle(whole: bytes, writer: asyncio.StreamWriter) -> None:
        step = 1 if pause_s else len(whole)
        for start in range(0, len(whole), step):
            if silent.is_set():
                return
            writer.write(whole[start : start + step])
            await asyncio.sleep(pause_s)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/hall/whep", heard
    finally:
        silent.set()
        server.close()
        await server.wait_closed()


def reply(status: str, body: bytes = b"answer", *lines: str) -> bytes:
    """Return a whole answer."""
    more = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status}\r\n{more}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


async def test_an_offer_is_answered_when_the_token_is_right() -> None:
    """It goes out as SDP with the bearer token, to the name in the address."""
    async with serving(reply("201 Created")) as (url, heard):
        called = await calling.call(PeerSource((), url, "secret"), b"v=0")
        await called.leave()
    assert called.sdp == b"answer"
    (asked,) = heard  # it named no session, so there is nothing to leave
    assert b"authorization: bearer secret" in asked.lower()
    assert b"content-type: application/sdp" in asked.lower()
    assert b"host: localhost:" in asked.lower()
    assert asked.endswith(b"v=0")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/hall/whep/17", b"/hall/whep/17"),
        ("whep/17", b"/hall/whep/17"),
        ("?session=17", b"/hall/whep?session=17"),
        ("http://HOST/s/17", b"/s/17"),
    ],
)
async def test_the_server_is_told_when_we_leave(location: str, path: bytes) -> None:
    """With the token, at the address that it named."""
    async with serving(reply("201 Created", b"answer", f"location: {location}")) as (url, heard):
        called = await calling.call(PeerSource((), url, "secret"), b"v=0")
        await called.leave()
    assert heard[1].startswith(b"DELETE " + path + b" HTTP/1.1")
    assert b"authorization: bearer secret" in heard[1].lower()


@pytest.mark.parametrize("location", ["http://127.0.0.9:9/s", "https://HOST/s", "http://localhost:1/s", "http://[", ""])
async def test_no_other_server_is_shown_the_token_when_we_leave(location: str) -> None:
    """A session of another server is none; an empty one is the address itself, which knows what it named."""
    async with serving(reply("201 Created", b"answer", f"location: {location}")) as (url, heard):
        called = await calling.call(PeerSource((), url, "secret"), b"v=0")
        await called.leave()
    assert len(heard) == (2 if location == "" else 1)


async def test_we_leave_in_time_when_the_server_is_gone() -> None:
    """Nobody waits for its farewell."""
    async with serving(reply("201 Created", b"answer", "location: /s")) as (url, _):
        called = await calling.call(PeerSource((), url), b"v=0")
    await called.leave()


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
    assert "localhost" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


async def test_an_answer_is_never_unpacked() -> None:
    """Nothing small becomes large: what is compressed although we ask for none is handed on as it is."""
    bomb = gzip.compress(bytes(10 << 20))
    async with serving(reply("201 Created", bomb, "content-encoding: gzip")) as (url, heard):
        assert (await calling.call(PeerSource((), url), b"v=0")).sdp == bomb
    assert b"accept-encoding: identity" in heard[0].lower()


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
async def test_a_source_fails_when_the_server_is_silent_or_trickles(
    pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One deadline for the whole answer: a byte now and then does not extend it."""
    monkeypatch.setattr(calling, "CALL_S", 0.3)
    async with serving(reply("201 Created", b"x" * 4000) if pause_s else None, pause_s=pause_s) as (url, _):
        with pytest.raises(SourceError) as caught:
            await calling.call(PeerSource((), url), b"v=0")
    assert caught.value.reason is SourceReason.TIMEOUT


async def test_a_name_that_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every other camera."""

    def asked(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    with pytest.raises(SourceError) as caught:
        await calling.call(PeerSource((), "http://no-such-host.invalid/whep"), b"v=0")
    assert caught.value.reason is SourceReason.UNREACHABLE


async def test_the_server_shows_a_certificate_of_the_authority_that_we_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the name in the address; the system's authorities do not know it, and another name is another server."""

    async def at_home(_host: str) -> str:
        return "127.0.0.1"

    monkeypatch.setattr(calling, "number_of", at_home)
    make_authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "srv.pem", tmp_path / "srv.key")
    async with serving(reply("201 Created", b"answer", "location: /s"), tls=tls) as (url, heard):
        called = await calling.call(PeerSource((), url, ca_file=tmp_path / "ca.pem"), b"v=0")
        await called.leave()
        assert (called.sdp, len(heard)) == (b"answer", 2)
        foreign = url.replace("localhost", "media.plant.example")
        for source in (PeerSource((), url), PeerSource((), foreign, ca_file=tmp_path / "ca.pem")):
            with pytest.raises(SourceError) as caught:
                await calling.call(source, b"v=0")
            assert caught.value.reason is SourceReason.TLS
        assert len(heard) == 2


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    """Nobody looks for a fault of the network where a file is missing, unreadable or empty."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with pytest.raises(SourceError, match=r"ca_file .*ca\.pem cannot be used: ") as caught:
        await calling.call(PeerSource((), "https://127.0.0.1:9/whep", ca_file=ca_file), b"v=0")
    assert caught.value.reason is SourceReason.TLS
