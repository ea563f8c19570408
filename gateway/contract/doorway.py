"""How many come in at a port, how often, and how slowly: what the HTTP servers of gateway and trainer share.

Whoever is at the machine itself has its processor anyway, so loopback is bounded in connections alone; a proxy there
has to bound those behind it. An address of IPv6 is the network of a subscriber (/64): anybody can take another in it.
"""

import asyncio
import ipaddress
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

from gateway.contract.bucket import Bucket

OPENING_S = 10.0
"""Within which a connection's request has to stand there, but for its body."""

TAKING_S = 60.0
"""Within which whoever asked has to take what was sent so far."""

MOST_ADDRESSES = 4096
"""Addresses that are counted; of those that are too many the one that came longest ago is forgotten."""

RefusedFor = Literal["connections", "connection_rate", "request_rate"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Connections that may be open, in all and from one address, and what one address may do at once and a second."""

    connections: int
    of_address: int
    connections_at_once: int = 64
    connections_per_s: float = 10.0
    requests_at_once: int = 600
    requests_per_s: float = 60.0


class Rates:
    """Counts what each address does."""

    def __init__(self, at_once: int, per_s: float, *, clock: Callable[[], float]) -> None:
        self._at_once, self._per_s, self._clock = at_once, per_s, clock
        self._of: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, host: str) -> float:
        """Count one thing more; return 0 where it may be done, or in how many seconds it may be."""
        now_s, key = self._clock(), network_of(host)
        bucket = self._of.get(key)
        if bucket is None:
            bucket = self._of[key] = Bucket(self._at_once, self._per_s, now_s=now_s)
            if len(self._of) > MOST_ADDRESSES:
                self._of.popitem(last=False)
        self._of.move_to_end(key)
        return 0.0 if bucket.take(now_s) else bucket.wait_s

    def __len__(self) -> int:
        """Return how many addresses are counted."""
        return len(self._of)


class Doorway:
    """Whom one server lets in; once a minute at most `on_refused` hears whom it does not, why, and of how many."""

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        spares: Callable[[str], bool] | None = None,
        on_refused: Callable[[RefusedFor, str, int], None] = lambda _why, _host, _count: None,
    ) -> None:
        self._limits = limits
        self._spares = spares or is_loopback
        self._connections = Rates(limits.connections_at_once, limits.connections_per_s, clock=clock)
        self._requests = Rates(limits.requests_at_once, limits.requests_per_s, clock=clock)
        self._clock = clock
        self._words = Bucket(1.0, 1.0 / 60.0, now_s=clock())
        self._on_refused = on_refused
        self.refused: Counter[RefusedFor] = Counter({"connections": 0, "connection_rate": 0, "request_rate": 0})

    @property
    def most_connections(self) -> int:
        """How many connections may be open."""
        return self._limits.connections

    def admits(self, host: str, open_hosts: Sequence[str]) -> bool:
        """Count a new connection; return whether it may stay beside those that are open."""
        beside = sum(network_of(each) == network_of(host) for each in open_hosts)
        if len(open_hosts) >= self._limits.connections or beside >= self._limits.of_address:
            return self._refuse("connections", host)
        if not self._spares(host) and self._connections.take(host):
            return self._refuse("connection_rate", host)
        return True

    def pause_s(self, host: str) -> float:
        """Count a request; return 0 where it may be answered, or in how many seconds the next one may be."""
        pause_s = 0.0 if self._spares(host) else self._requests.take(host)
        if pause_s:
            self._refuse("request_rate", host)
        return pause_s

    def _refuse(self, why: RefusedFor, host: str) -> bool:
        self.refused[why] += 1
        if self._words.take(self._clock()):
            self._on_refused(why, host, self.refused.total())
        return False


class Gate(socket.socket):
    """A listening socket that hangs up on whom its doorway does not let in: before TLS, which is what costs."""

    doorway: Doorway

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._inside: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection.

        Raises:
            ConnectionAbortedError: It is not let in; the loop asks again when the next one waits.
        """
        connection, address = super().accept()
        open_hosts = [host for each, host in self._inside.items() if each.fileno() >= 0]
        if not self.doorway.admits(address[0], open_hosts):
            connection.close()
            raise ConnectionAbortedError
        self._inside[connection] = address[0]
        return connection, address


def listen(host: str, port: int, doorway: Doorway) -> Gate:
    """Listen, so that a port that is taken is known at once; where a name has addresses of both kinds, over IPv4.

    Raises:
        OSError: The address cannot be listened on.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listening = Gate(family, kind, proto)
    listening.doorway = doorway
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(doorway.most_connections)
    except OSError:
        listening.close()
        raise
    return listening


class Prompt(asyncio.Protocol):
    """Ends a connection on which no whole request comes, or no answer is taken, in time; for a server's protocol.

    Who only holds on takes the place of others.
    """

    _patience: asyncio.TimerHandle
    _stalled: asyncio.TimerHandle | None = None
    _line: asyncio.Transport

    @property
    def is_answering(self) -> bool:
        """Whether a request stands there whose answer is not complete."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._line = cast("asyncio.Transport", transport)
        self._line.set_write_buffer_limits(high=1)  # so that what is not taken is told below; 0 would stop TLS for ever
        self._patience = asyncio.get_running_loop().call_later(OPENING_S, self._line.close)

    def pause_writing(self) -> None:
        """Begin to wait for whoever reads."""
        super().pause_writing()
        self._stalled = asyncio.get_running_loop().call_later(TAKING_S, self._line.abort)

    def resume_writing(self) -> None:
        """See that all was taken."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def data_received(self, data: bytes) -> None:
        """See whether a whole request stands there; what trickles in earns no more time."""
        super().data_received(data)
        if self.is_answering:
            self._patience.cancel()
        elif self._patience.cancelled():  # the next request has begun
            self._patience = asyncio.get_running_loop().call_later(OPENING_S, self._line.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._patience.cancel()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own; one that is none is somebody else's."""
    address = _address_of(host)
    return address is not None and address.is_loopback


def network_of(host: str) -> str:
    """Return what an address is counted by: that of IPv4 itself, of IPv6 the /64 in which its owner has all."""
    address = _address_of(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return host if address is None else str(address)


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
