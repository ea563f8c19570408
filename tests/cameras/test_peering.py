"""Connections of the library: what is read into them, and that nothing is left of them."""

from pathlib import Path

import pytest
from fakes.sdp_offers import CHROMIUM
from fakes.webrtc import on_loopback

from gateway.cameras import peering
from gateway.cameras.offers import Reach, Refusal, cleaned

__all__ = ["on_loopback"]

LOOPBACK = Reach(["127.0.0.0/8"])


async def test_a_connection_asks_no_server_for_its_address() -> None:
    """The library's default is a public one."""
    connection = peering.new_connection()
    assert connection._RTCPeerConnection__configuration.iceServers == []
    await peering.end(connection)


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"a=setup:actpass", b"a=setup:sideways", 400),
        (b"a=mid:1", b"a=mid:0", 400),
        (b"a=rtpmap:96 VP8/90000", b"a=rtpmap:96 VP8", 400),
        (b"UDP/TLS/RTP/SAVPF 96", b"UDP/TLS/RTP/SAVPF 72", 400),
    ],
)
async def test_what_the_librarys_parser_raises_is_a_refusal(old: bytes, new: bytes, status: int) -> None:
    """It raises whatever Python does."""
    text = cleaned(CHROMIUM.replace(old, new), LOOPBACK)
    connection = peering.new_connection()

    async def read_and_answer() -> None:
        await peering.read(connection, text, "offer")
        await peering.answer(connection)

    with pytest.raises(Refusal) as caught:
        await read_and_answer()
    assert caught.value.status == status
    await peering.end(connection)


def descriptors() -> int:
    """Return how many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.usefixtures("on_loopback")
async def test_a_connection_that_stumbles_over_its_end_leaves_no_socket() -> None:
    """A line of the offer without a transport stops the library half way."""
    text = cleaned(CHROMIUM, LOOPBACK)
    before = descriptors()
    connection = peering.new_connection()
    await peering.read(connection, text, "offer")
    await peering.answer(connection)
    assert descriptors() > before
    connection.getTransceivers()[0].receiver.setTransport(None)
    await peering.end(connection)
    assert descriptors() == before
