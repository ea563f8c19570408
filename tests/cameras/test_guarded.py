"""The private seams of aiortc and aioice that a confined worker needs: a new version that moves them fails here."""

import inspect

import aioice.ice
import pytest
from aiortc import rtcdtlstransport
from OpenSSL import SSL

from gateway.cameras.guarded import bind_towards, guard, own_addresses
from gateway.cameras.offers import Reach

LOOPBACK = Reach(["127.0.0.0/8"])


@pytest.fixture
def _guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard this process for one test."""
    for owner, name in (
        (aioice.ice, "StunProtocol"),
        (aioice.ice, "get_host_addresses"),
        (rtcdtlstransport.RTCCertificate, "_create_ssl_context"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    guard(LOOPBACK)


def test_the_library_makes_its_context_as_ours_was_copied_from() -> None:
    """Ours replaces it: what it gains must be looked at."""
    source = inspect.getsource(rtcdtlstransport.RTCCertificate._create_ssl_context)
    for line in ("OP_NO_TICKET", "set_verify", "use_certificate", "use_privatekey", "set_cipher_list", "use_srtp"):
        assert line in source
    assert source.count("ctx.") == 6


@pytest.mark.usefixtures("_guarded")
def test_a_context_takes_publishers_with_rsa_certificates_too() -> None:
    """FFmpeg and some cameras have them."""
    certificate = rtcdtlstransport.RTCCertificate.generateCertificate()
    context = certificate._create_ssl_context(rtcdtlstransport.SRTP_PROFILES)
    assert "ECDHE-RSA-AES128-GCM-SHA256" in SSL.Connection(context, None).get_cipher_list()


class Noting:
    """A transport that notes where it was to send to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        """Note it."""
        self.sent.append(address)


class Receiver:
    """Notes whose words it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def data_received(self, data: bytes, component: int) -> None:
        """Note it."""
        self.heard.append(("", component))

    def request_received(self, message: object, addr: tuple[str, int], *_: object) -> None:
        """Note who asks."""
        self.heard.append(addr)


@pytest.mark.usefixtures("_guarded")
async def test_no_packet_leaves_or_enters_when_its_network_is_not_allowed() -> None:
    """Also where a stranger asks us first, which would make a candidate of it."""
    receiver, transport = Receiver(), Noting()
    stun = aioice.ice.StunProtocol(receiver)  # type: ignore[arg-type]
    stun.transport = transport  # type: ignore[assignment]
    asking = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
    for host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"):
        stun.send_stun(asking, (host, 5))
        await stun.send_data(b"x", (host, 6))
        stun.datagram_received(bytes(asking), (host, 7))
    assert transport.sent == [("127.0.0.1", 5), ("127.0.0.1", 6)]
    assert receiver.heard == [("127.0.0.1", 7)]


@pytest.mark.usefixtures("_guarded")
def test_a_connection_is_bound_to_our_addresses_on_the_way_to_what_is_allowed() -> None:
    """No list of interfaces is asked for: a confined worker may not."""
    bind_towards("a=candidate:1 1 udp 1 127.0.0.9 5 typ host", LOOPBACK)
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == ["127.0.0.1"]
    assert list(own_addresses(["127.0.0.1", "127.0.0.2"])) in (["127.0.0.1"], ["127.0.0.1", "127.0.0.2"])
