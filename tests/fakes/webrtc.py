"""A publisher over WebRTC that sends a prepared clip without encoding it again, at its own pace."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import aioice.ice
import aiortc
import av
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from fakes.camera_clips import access_units

LOOPBACK = ("127.0.0.0/8",)
_CLOCK = 90_000


class ClipTrack(MediaStreamTrack):
    """Loops over the access units of a clip."""

    kind = "video"

    def __init__(self, *, fps: int = 25, units: tuple[bytes, ...] | None = None) -> None:
        super().__init__()
        self._units, self._fps = units or access_units("h264"), fps
        self._begun_s, self._sent = time.monotonic(), 0

    async def recv(self) -> Any:
        """Return the next access unit in its time."""
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(max(0.0, self._begun_s + self._sent / self._fps - time.monotonic()))
        packet = av.Packet(self._units[self._sent % len(self._units)])
        packet.pts = packet.dts = self._sent * _CLOCK // self._fps
        packet.time_base = Fraction(1, _CLOCK)
        self._sent += 1
        return packet


@pytest.fixture
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let publishers of this process use the loopback, which the library skips."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


@asynccontextmanager
async def publisher(track: MediaStreamTrack | None = None) -> AsyncIterator[aiortc.RTCPeerConnection]:
    """Yield a connection with an offer to send a clip; `accept` its answer."""
    connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    connection.addTrack(track or ClipTrack())
    transceiver = connection.getTransceivers()[0]
    transceiver.direction = "sendonly"
    if track is None:
        prefer_h264(connection)
    await connection.setLocalDescription(await connection.createOffer())
    try:
        yield connection
    finally:
        await connection.close()


def prefer_h264(connection: aiortc.RTCPeerConnection) -> None:
    """Let a connection send its clip as what it is."""
    codecs = aiortc.RTCRtpSender.getCapabilities("video").codecs
    chosen = [codec for codec in codecs if codec.mimeType == "video/H264"]
    connection.getTransceivers()[0].setCodecPreferences(chosen)


def offer_of(connection: aiortc.RTCPeerConnection) -> bytes:
    """Return the offer of a connection."""
    return connection.localDescription.sdp.encode()


async def accept(connection: aiortc.RTCPeerConnection, answer: bytes) -> None:
    """Give a connection the answer to its offer."""
    await connection.setRemoteDescription(aiortc.RTCSessionDescription(answer.decode(), "answer"))


@asynccontextmanager
async def viewer() -> AsyncIterator[aiortc.RTCPeerConnection]:
    """Yield a connection with an offer to receive; `accept` its answer."""
    connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    try:
        yield connection
    finally:
        await connection.close()
