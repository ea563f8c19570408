"""A broker that garbles, falls silent, or loses what it confirmed: a real one behind a proxy that follows a script.

It stands between the gateways and the broker; the subscriber reaches the broker directly.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fakes.boxes import TOPICS
from fakes.brokers import puback

_PUBLISH = 3
_QOS_1 = 0x02
_ALERTS = TOPICS.alerts.encode()


@dataclass(frozen=True, slots=True)
class Script:
    """How often what happens, as a share of the packets it can happen to; `silent_s` is how long a silence lasts."""

    lose: float = 0.0
    garble: float = 0.0
    garble_answers: float = 0.0
    fall_silent: float = 0.0
    silent_s: float = 0.0


@dataclass
class Proxy:
    """Listens on a port of its own; `done` counts what it did."""

    target: int
    script: Script
    seed: int
    port: int = 0
    honest: bool = False
    done: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen until the block ends."""
        self._rng = random.Random(self.seed)
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    def _happens(self, what: str, share: float) -> bool:
        self.asked[what] += 1
        is_overdue = share * self.asked[what] > 1 and not self.done[what]  # chance must not leave a run without it
        happens = not self.honest and (self._rng.random() < share or is_overdue)
        self.done[what] += happens
        return happens

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                broker = await asyncio.open_connection("127.0.0.1", self.target)
            except ConnectionError:
                writer.close()
                return
            line = _Line(self, (reader, writer), broker)
            try:
                ways = {asyncio.ensure_future(line.to_broker()), asyncio.ensure_future(line.to_gateway())}
                _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in rest:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                writer.close()
                broker[1].close()


@dataclass
class _Line:
    """One connection of a gateway."""

    proxy: Proxy
    gateway: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    broker: tuple[asyncio.StreamReader, asyncio.StreamWriter]

    async def to_broker(self) -> None:
        """Pass packets on, but those that the script loses or garbles."""
        script, reader, writer = self.proxy.script, self.gateway[0], self.broker[1]
        while True:
            kind, head, body = await _packet(reader)
            if kind >> 4 == _PUBLISH and kind & _QOS_1 and body[2:].startswith(_ALERTS):
                if self.proxy._happens("lost", script.lose):
                    self.gateway[1].write(puback(_packet_id(body)))
                    continue
                if self.proxy._happens("garbled", script.garble):
                    body = self._garble(body)
            writer.write(head + body)
            await writer.drain()

    def _garble(self, body: bytes) -> bytes:
        """Replace a few bytes of the second half, which is payload."""
        changed = bytearray(body)
        for _ in range(3):
            changed[self.proxy._rng.randrange(len(body) // 2, len(body))] = self.proxy._rng.randrange(256)
        return bytes(changed)

    async def to_gateway(self) -> None:
        """Pass bytes on, but those that the script garbles or withholds."""
        script, reader, writer = self.proxy.script, self.broker[0], self.gateway[1]
        while chunk := await reader.read(65_536):
            if self.proxy._happens("silent", script.fall_silent):
                await asyncio.sleep(script.silent_s)
                return  # the answers of that time are never heard
            if self.proxy._happens("answer garbled", script.garble_answers):
                chunk = self.proxy._rng.randbytes(len(chunk))
            writer.write(chunk)
            await writer.drain()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Return a packet's first byte, its fixed header, and its body."""
    head = await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        head += await reader.readexactly(1)
        length |= (head[-1] & 0x7F) << shift
        shift += 7
        if not head[-1] & 0x80:
            return head[0], head, await reader.readexactly(length)


def _packet_id(body: bytes) -> int:
    topic_length = int.from_bytes(body[:2], "big")
    return int.from_bytes(body[2 + topic_length : 4 + topic_length], "big")
