"""An offer that names addresses of the plant: what the confined worker really sends is heard on the wire.

A raw socket hears every packet of this machine; where none may be opened, sockets that record stand at the addresses.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from fakes.webrtc import offer_of, on_loopback, publisher

from gateway.cameras import wire
from gateway.cameras.jobs import CameraJob, PeerSource
from gateway.cameras.lines import Lines
from gateway.cameras.link import open_source

__all__ = ["on_loopback"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(180), pytest.mark.usefixtures("on_loopback")]

ALLOWED = "127.0.0.1"
MAGIC = struct.pack("!I", 0x2112A442)
HOSTILE = (
    *("127.0.0.2", "127.0.0.53", "169.254.169.254", "::1", "::ffff:127.0.0.2", "10.0.0.1", "192.168.0.1", "8.8.8.8"),
    *("224.0.0.251", "255.255.255.255", "0.0.0.0", "fe80::1", "2001:db8::1"),  # noqa: S104
    *("3f1c0c1e-9d2a-4000-8000-000000000000.local", "localhost", "metadata.google.internal", "127.2", "2130706434"),
)
ENOUGH = 5
WAIT_S = 60.0


@contextmanager
def recorder(address: str) -> Iterator[socket.socket]:
    """Yield a socket that takes what is sent to an address of the loopback."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as taking:
        taking.bind((address, 0))
        taking.setblocking(False)
        yield taking


def sniffer() -> socket.socket | None:
    """Return a raw socket that hears every packet of every interface; None where that is not allowed."""
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
    except PermissionError:
        return None
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    return raw


def heard(raw: socket.socket) -> Iterator[tuple[str, int, int]]:
    """Yield where STUN went since the last time: host, port that it came from, and port that it went to."""
    while True:
        try:
            packet = raw.recv(65_536)
        except BlockingIOError:
            return
        version = packet[0] >> 4
        start = (packet[0] & 15) * 4 if version == 4 else 40
        target = packet[16:20] if version == 4 else packet[24:40]
        if packet[start + 12 : start + 16] == MAGIC:
            host = socket.inet_ntop(socket.AF_INET if version == 4 else socket.AF_INET6, target)
            yield host, *struct.unpack_from("!HH", packet, start)


def candidates(port: int, recorders: dict[str, int]) -> Iterator[str]:
    """Yield the lines of a hostile offer, all more urgent than the one that is allowed."""
    for number, host in enumerate(HOSTILE):
        target = recorders.get(host, port)
        yield f"a=candidate:{number} 1 udp {2**31 - 1 - number} {host} {target} typ host"
    yield f"a=candidate:90 1 tcp {2**31 - 90} 127.0.0.2 {port} typ host tcptype passive"
    yield f"a=candidate:91 1 udp {2**31 - 91} 127.0.0.2 {recorders['127.0.0.2']} typ relay raddr 10.0.0.1 rport 9"
    yield f"a=candidate:92 1 udp {2**31 - 92} 8.8.8.8 {port} typ srflx raddr 127.0.0.1 rport {port}"
    yield f"a=candidate:93 1 udp 1 {ALLOWED} {port} typ host"


def with_candidates(offer: bytes, lines: Iterator[str]) -> bytes:
    """Return an offer with these candidates in place of its own."""
    kept = [line for line in offer.decode().split("\r\n") if "candidate" not in line]
    return "\r\n".join([*(line for line in kept if line), *lines, ""]).encode()


async def test_no_packet_goes_where_an_offer_points_unless_its_network_is_allowed() -> None:
    """The one allowed address hears our checks; loopback, link-local, mapped, names, TCP and relays hear nothing."""
    job = CameraJob("gate", PeerSource((f"{ALLOWED}/32",)), connect_s=60.0)
    lines, raw, loop = Lines(), sniffer(), asyncio.get_running_loop()
    passed: set[tuple[str, int, int]] = set()
    with ExitStack() as stack:
        takers = {host: stack.enter_context(recorder(host)) for host in (ALLOWED, "127.0.0.2", "127.0.0.53")}
        if raw is not None:
            stack.enter_context(raw)
            # All the time: it hears what all others send, and keeps little of it.
            loop.add_reader(raw, lambda: passed.update(heard(raw)))
            stack.callback(loop.remove_reader, raw)
        ports = {host: taker.getsockname()[1] for host, taker in takers.items()}
        async with publisher() as connection, open_source(job, lines=lines) as events, asyncio.TaskGroup() as group:
            watching = group.create_task(anext(events), name="watch")  # type: ignore[arg-type]
            await watching
            watching = group.create_task(anext(events), name="watch")  # type: ignore[arg-type]
            offer = with_candidates(offer_of(connection), candidates(ports[ALLOWED], ports))
            answer = await lines.offer("gate", offer)
            assert isinstance(answer, wire.Answered), answer
            ours = {int(line.split()[5]) for line in answer.sdp.decode().splitlines() if "candidate:" in line}
            for _ in range(ENOUGH):
                packet = await asyncio.wait_for(loop.sock_recv(takers[ALLOWED], 2048), WAIT_S)
                assert packet[4:8] == MAGIC
            for host in ("127.0.0.2", "127.0.0.53"):
                with pytest.raises(BlockingIOError):
                    takers[host].recv(2048)
            watching.cancel()
        assert ours
        if raw is not None:
            passed.update(heard(raw))
            assert {host for host, *ports in passed if ours & set(ports)} == {ALLOWED}
