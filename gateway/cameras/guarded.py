"""aiortc and aioice, held to what a confined worker may do: their private seams, all in one place.

They bind to addresses of this machine that lead to allowed networks alone, and neither send to others nor listen to
them. DTLS takes publishers with RSA certificates too, and checks them without memory that is both written and run,
which the filter of system calls forbids.
"""

import contextlib
import ctypes
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import aioice.ice
from aiortc import rtcdtlstransport
from OpenSSL import SSL

from gateway.cameras.offers import Reach, candidates_in, first_hosts

_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES256-GCM-SHA384"
)
_DISCARD_PORT = 9

_VerifyCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


# The handshake goes on: after it aiortc compares the certificate with the fingerprint of the offer.
_accept_any = _VerifyCallback(lambda _is_valid, _store: 1)


_bound: ContextVar[tuple[str, ...]] = ContextVar("our addresses", default=())

_Stun: Any = aioice.ice.StunProtocol


class _GuardedStun(_Stun):  # type: ignore[misc]
    """Neither hears nor answers whoever lies outside the reach."""

    def __init__(self, receiver: Any, *, reach: Reach) -> None:
        super().__init__(receiver)
        self._reach = reach

    def datagram_received(self, data: Any, addr: tuple[Any, ...]) -> None:
        if self._reach.allows(addr[0]):
            super().datagram_received(data, addr)

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._reach.allows(addr[0]):
            await super().send_data(data, addr)

    def send_stun(self, message: Any, addr: tuple[str, int]) -> None:
        if self._reach.allows(addr[0]):
            super().send_stun(message, addr)


def guard(reach: Reach) -> None:
    """Hold every connection of this process to a reach."""
    aioice.ice.StunProtocol = partial(_GuardedStun, reach=reach)  # type: ignore[misc, assignment]
    aioice.ice.get_host_addresses = _ours
    setattr(rtcdtlstransport.RTCCertificate, "_create_ssl_context", _context)  # noqa: B010  (typed as private)


def bind_towards(sdp: str, reach: Reach) -> None:
    """Let the connections of this task be bound to our addresses on the ways to a description's candidates."""
    _bound.set(tuple(own_addresses((*candidates_in(sdp), *first_hosts(reach.networks)))))


def _ours(use_ipv4: bool, use_ipv6: bool) -> list[str]:  # noqa: FBT001  (called by the library)
    return [address for address in _bound.get() if (use_ipv6 if ":" in address else use_ipv4)]


def own_addresses(targets: Iterable[str]) -> Iterator[str]:
    """Yield our address on the way to each target, as the system would choose it; no packet is sent."""
    seen: set[str] = set()
    for target in targets:
        with contextlib.suppress(OSError):
            family = socket.AF_INET6 if ipaddress.ip_address(target).version == 6 else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, _DISCARD_PORT))
                address = str(probe.getsockname()[0])
            if address not in seen:
                seen.add(address)
                yield address


def _context(certificate: Any, srtp_profiles: list[Any]) -> SSL.Context:
    """Return what `RTCCertificate._create_ssl_context` of aiortc 1.16 does, but for ciphers and callback."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_options(SSL.OP_NO_TICKET)
    library: Any = SSL
    address = ctypes.cast(_accept_any, ctypes.c_void_p).value
    callback = library._ffi.cast("int (*)(int, X509_STORE_CTX *)", address)  # noqa: SLF001
    mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    library._lib.SSL_CTX_set_verify(context._context, mode, callback)  # noqa: SLF001
    context.use_certificate(certificate._cert)  # noqa: SLF001
    context.use_privatekey(certificate._key)  # noqa: SLF001
    context.set_cipher_list(_CIPHERS)
    context.set_tlsext_use_srtp(b":".join(profile.openssl_profile for profile in srtp_profiles))
    return context
