"""A camera that lies: RTSP over loopback TCP whose answers, descriptions and media are changed at random.

Everything is drawn from a seed. An input is one changed message (an RTSP answer, an SDP, an RTP or RTCP packet), and it
is counted once the client's socket holds no byte of it any more: what a client did not read is no input.
"""

import asyncio
import base64
import random
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from fakes.camera_clips import access_units

_PAYLOAD_BYTES = 1100
_BATCH = 40
_READ_S = 3.0
_CONNECTION_S = 15.0
_ESTABLISHED = "01"


def seeds() -> tuple[bytes, ...]:
    """Return the access units of a small camera, with a keyframe every eighth."""
    return access_units(frames=24, gop=8, width=160, height=90)


class Mutator:
    """Changes bytes and texts, mostly a little, at times beyond recognition."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def changed(self, data: bytes) -> bytes:
        """Return other bytes."""
        changed = bytearray(data)
        for _ in range(self._rng.choice((1, 1, 1, 2, 4, 16))):
            self._change(changed)
        return bytes(changed)

    def _change(self, data: bytearray) -> None:
        place = self._rng.randrange(len(data) + 1)
        match self._rng.randrange(6):
            case 0 if place < len(data):
                data[place] ^= 1 << self._rng.randrange(8)
            case 1 if place < len(data):
                data[place] = self._rng.choice((0, 1, 0x7F, 0x80, 0xFF, self._rng.randrange(256)))
            case 2:
                del data[place : place + self._rng.choice((1, 2, 8, 64, 4096))]
            case 3:
                data[place:place] = self._rng.randbytes(self._rng.choice((1, 2, 8, 64)))
            case 4:
                length = self._rng.choice((2, 8, 64))
                data[place:place] = data[place : place + length] * self._rng.choice((1, 2, 50))
            case _:
                data[place : place + 4] = struct.pack("!I", self._rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF)))

    def changed_text(self, text: str) -> bytes:
        """Return another text: numbers, lines and words are changed as well as bytes."""
        lines = text.split("\r\n")
        row = self._rng.randrange(len(lines))
        match self._rng.randrange(7):
            case 0:
                lines[row] = self._rng.choice(("-1", "0", "65536", "4294967296", "9" * 40, "%n%s", "A" * 5000)).join(
                    lines[row].rsplit(self._rng.choice((" ", "=", ":", "/", ";", ",")), 1)
                )
            case 1:
                del lines[row]
            case 2:
                lines[row:row] = [lines[row]] * self._rng.choice((1, 3, 200))
            case 3:
                self._rng.shuffle(lines)
            case 4:
                lines.insert(row, f"{self._rng.choice('abcimostvz')}={self._rng.choice(_STRANGE)}")
            case _:
                return self.changed(text.encode("ascii"))
        return "\r\n".join(lines).encode("utf-8", errors="replace")

    def changed_header(self, header: bytes) -> bytes:
        """Return another JSON text: mostly one value is exchanged for a strange one, so that it still is JSON."""
        if self._rng.random() < 0.3:
            return self.changed(header)
        values = list(re.finditer(rb'(?<=[:\[,])(?:-?[0-9.]+|"[^"]*"|null)', header))
        if not values:
            return header + b" "
        value = self._rng.choice(values)
        return header[: value.start()] + self._rng.choice(_STRANGE_VALUES) + header[value.end() :]


_STRANGE_VALUES = (
    b"-1", b"0", b"1e999", b"1e308", b"0.5", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b'"\\u0000"', b"9" * 400,
    b"[" * 3000 + b"]" * 3000, b'"' + b"A" * 3000 + b'"', b"2147483648", b"1.0000000001", b'"h264"', b'"\\ud800"',
)  # fmt: skip

_STRANGE = (
    "IN IP4 0.0.0.0/127",
    "video 0 RTP/AVP 96 97 98 99 26 33",
    "audio 1 RTP/SAVP 0",
    "fmtp:96 sprop-parameter-sets=AAAA,////,=;profile-level-id=ffffff;sprop-vps=////",
    "rtpmap:96 H265/90000",
    "rtpmap:96 H264/0",
    "rtpmap:96 MP4V-ES/4294967295/9",
    "rtpmap:96 X-QT/90000",
    "rtpmap:96 MP2T/90000",
    "rtpmap:96 vp9/90000",
    "control:rtsp://192.0.2.1/elsewhere",
    "control:file:///etc/passwd",
    "control:" + "../" * 400,
    "range:npt=99999999999999-0",
    "framesize:96 99999-99999",
    "cliprect:0,0,99999,99999",
    "fmtp:96 config=" + "f" * 4000,
    "x-dimensions:99999,99999",
)


def packets(units: tuple[bytes, ...], *, first: int = 0) -> Iterator[bytes]:
    """Yield the RTP packets of H.264 access units at 25 a second, without end."""
    sequence, index = first, 0
    while True:
        unit = units[index % len(units)]
        parts = [part for nal in _nals(unit) for part in _fragments(nal)]
        for part in parts:
            marker = 0x80 if part is parts[-1] else 0
            yield struct.pack("!BBHII", 0x80, 96 | marker, sequence & 0xFFFF, (index * 3600) & 0xFFFFFFFF, 7) + part
            sequence += 1
        index += 1


def _nals(unit: bytes) -> list[bytes]:
    return [part.rstrip(b"\0") for part in unit.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if part.strip(b"\0")]


def _fragments(nal: bytes) -> list[bytes]:
    if len(nal) <= _PAYLOAD_BYTES:
        return [nal]
    kind, rest = nal[0], nal[1:]
    starts = range(0, len(rest), _PAYLOAD_BYTES)
    return [
        bytes([(kind & 0xE0) | 28, (kind & 0x1F) | (0x80 if start == 0 else 0) | (0x40 if start == starts[-1] else 0)])
        + rest[start : start + _PAYLOAD_BYTES]
        for start in starts
    ]


def sender_report(index: int) -> bytes:
    """Return an RTCP sender report."""
    return struct.pack("!BBHIIIIII", 0x80, 200, 6, 7, 3_900_000_000 + index, 0, index * 3600, index, index * 1000)


class HostileCamera:
    """Serves every connection something else: a handshake that is `foul` or not, then `media` packets, most changed.

    `inputs` counts what was read by a client, by kind.
    """

    def __init__(self, *, seed: int, media: int, foul: bool) -> None:
        self._rng = random.Random(seed)
        self._mutator = Mutator(self._rng)
        self._media, self._is_foul = media, foul
        self._units = seeds()
        self._server: asyncio.Server | None = None
        self.inputs: Counter[str] = Counter()
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen on the loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECTION_S):
                await self._handshake(reader, writer)
                await self._stream(writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    async def _handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client asks to play."""
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", errors="replace")
            method = request.split(" ", 1)[0].lstrip("\r\n")
            number = next((line[5:].strip() for line in request.split("\r\n") if line.lower().startswith("cseq:")), "0")
            kind, answer = self._answer(method, number)
            writer.write(answer)
            if kind:
                await self._count(writer, Counter({kind: 1}))
            if method == "PLAY":
                return

    def _answer(self, method: str, number: str) -> tuple[str | None, bytes]:
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1234;timeout=60\r\n"
        description = ""
        match method:
            case "OPTIONS":
                head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n"
            case "DESCRIBE":
                description = self._description()
                head += f"Content-Base: rtsp://127.0.0.1:{self.port}/cam/\r\nContent-Type: application/sdp\r\n"
            case "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000007\r\n"
            case "PLAY":
                head += "Range: npt=0-\r\nRTP-Info: url=rtsp://127.0.0.1/cam/stream=0;seq=0;rtptime=0\r\n"
        if self._is_foul and description and self._rng.random() < 0.7:
            body = self._mutator.changed_text(description)
            return "sdp", f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body
        length = f"Content-Length: {len(description)}\r\n" if description else ""
        if self._is_foul and self._rng.random() < 0.3:
            return "rtsp", self._mutator.changed_text(f"{head}{length}\r\n{description}")
        return None, f"{head}{length}\r\n{description}".encode("ascii")

    def _description(self) -> str:
        parameters = [nal for nal in _nals(self._units[0]) if nal[0] & 0x1F in {7, 8}]
        sets = ",".join(base64.b64encode(nal).decode("ascii") for nal in parameters)
        lines = (
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "t=0 0", "a=control:*", "a=range:npt=0-",
            "m=video 0 RTP/AVP 96", "c=IN IP4 127.0.0.1", "a=rtpmap:96 H264/90000",
            f"a=fmtp:96 packetization-mode=1;profile-level-id=42001e;sprop-parameter-sets={sets}",
            "a=control:stream=0", "a=framerate:25",
        )  # fmt: skip
        return "\r\n".join(lines) + "\r\n"

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        media, sent = packets(self._units), Counter[str]()
        for index in range(self._media):
            kind, message = self._message(next(media), index)
            writer.write(message)
            if kind:
                sent[kind] += 1
            if writer.transport.is_closing():
                return
            if index % _BATCH == _BATCH - 1:
                await self._count(writer, sent)
                sent.clear()
        await self._count(writer, sent)

    def _message(self, packet: bytes, index: int) -> tuple[str | None, bytes]:
        draw = self._rng.random()
        if draw < 0.2:
            return None, _interleaved(0, packet)
        if draw < 0.8:
            return "rtp", _interleaved(0, self._mutator.changed(packet))
        if draw < 0.9:
            return "rtcp", _interleaved(1, self._mutator.changed(sender_report(index)))
        if draw < 0.95:
            return "rtp", self._mutator.changed(_interleaved(0, packet))
        answer = "RTSP/1.0 200 OK\r\nCSeq: 9\r\nContent-Length: 0\r\nSession: 1234\r\n\r\n"
        return "rtsp", self._mutator.changed_text(answer)

    async def _count(self, writer: asyncio.StreamWriter, sent: "Counter[str]") -> None:
        """Count what was sent once the client has read all of it.

        Raises:
            OSError: The connection is gone.
            TimeoutError: The client reads no more.
        """
        await writer.drain()
        port = writer.get_extra_info("peername")[1]
        async with asyncio.timeout(_READ_S):
            while (waiting := _unread(port, self.port)) or writer.transport.get_write_buffer_size():
                if waiting is None:
                    raise ConnectionResetError
                await asyncio.sleep(0.002)
        self.inputs.update(sent)


def _interleaved(channel: int, packet: bytes) -> bytes:
    return struct.pack("!cBH", b"$", channel, len(packet) & 0xFFFF) + packet


def _unread(client_port: int, server_port: int) -> int | None:
    """Return the bytes that wait in a loopback client's socket, None when it is closed.

    What is still on its way in the server's own socket counts as well.
    """
    client, server = f":{client_port:04X}", f":{server_port:04X}"
    unsent, unread = 0, None
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        outgoing, incoming = (int(part, 16) for part in queues.split(":"))
        if state == _ESTABLISHED and local.endswith(client) and remote.endswith(server):
            unread = incoming
        elif local.endswith(server) and remote.endswith(client):
            unsent = outgoing
    return None if unread is None else unread + unsent
