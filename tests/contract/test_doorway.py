"""Who comes in, how often, and what is remembered of that."""

import socket

import pytest

from gateway.contract import doorway as doorway_module
from gateway.contract.doorway import Doorway, Limits, Rates, is_loopback, listen


class Clock:
    """Stands until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_each_address_has_its_own_rate() -> None:
    """So many at once, then so many a second, and how long to wait is told."""
    clock = Clock()
    rates = Rates(2, 0.5, clock=clock)
    assert [rates.take("192.0.2.1") for _ in range(3)] == [0.0, 0.0, 2.0]
    assert rates.take("192.0.2.2") == 0.0
    clock.now_s = 2.0
    assert [rates.take("192.0.2.1") for _ in range(2)] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),  # whoever has a /64 has all of its addresses
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("no address", "no address", True),
    ],
)
def test_addresses_that_one_subscriber_may_take_are_one(one: str, other: str, is_same: bool) -> None:
    """Or whoever changes the address with every connection would never be counted."""
    rates = Rates(1, 0.5, clock=lambda: 0.0)
    assert rates.take(one) == 0.0
    assert bool(rates.take(other)) is is_same


def test_connections_of_one_subscriber_are_bounded_together() -> None:
    """Over IPv6 whoever has a network has as many addresses as connections."""
    doorway = Doorway(Limits(connections=100, of_address=4), clock=lambda: 0.0)
    open_hosts = [f"2001:db8::{number:x}" for number in range(1, 5)]
    assert not doorway.admits("2001:db8::ffff", open_hosts)
    assert doorway.admits("2001:db8:0:1::1", open_hosts)
    assert doorway.refused["connections"] == 1


def test_addresses_are_forgotten_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays flat, and whoever asks all the time stays counted."""
    monkeypatch.setattr(doorway_module, "MOST_ADDRESSES", 10)
    rates = Rates(1, 1e-9, clock=lambda: 0.0)
    assert rates.take("192.0.2.1") == 0.0
    for number in range(1000):
        rates.take(f"198.51.{number // 250}.{number % 250}")
        assert rates.take("192.0.2.1") > 0.0
    assert len(rates) == 10


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False)],
)
def test_this_machine_is_not_slowed_down(host: str, is_own: bool) -> None:
    """Its connections are bounded all the same."""
    assert is_loopback(host) is is_own
    doorway = Doorway(Limits(3, 2, connections_at_once=1, requests_at_once=1), clock=lambda: 0.0)
    assert [doorway.admits(host, []) for _ in range(3)] == [True, is_own, is_own]
    assert [bool(doorway.pause_s(host)) for _ in range(3)] == [False, not is_own, not is_own]
    assert not doorway.admits(host, [host, host])


def test_refusals_are_counted_by_reason_and_told_once_a_minute() -> None:
    """Anybody can be refused as fast as the network allows; the log is not to be filled by that."""
    clock, told = Clock(), []
    doorway = Doorway(
        Limits(2, 1, connections_at_once=1, connections_per_s=1e-9, requests_at_once=1, requests_per_s=1e-9),
        clock=clock,
        on_refused=lambda *said: told.append(said),
    )
    assert doorway.admits("192.0.2.1", [])
    assert not doorway.admits("192.0.2.1", [])
    assert not doorway.admits("192.0.2.1", ["192.0.2.1"])
    assert not doorway.admits("192.0.2.3", ["192.0.2.1", "192.0.2.2"])
    assert doorway.pause_s("192.0.2.1") == 0.0
    assert doorway.pause_s("192.0.2.1") > 0.0
    assert doorway.refused == {"connections": 2, "connection_rate": 1, "request_rate": 1}
    assert told == [("connection_rate", "192.0.2.1", 1)]
    clock.now_s = 61.0
    doorway.pause_s("192.0.2.1")
    assert told[1:] == [("request_rate", "192.0.2.1", 5)]


def test_name_with_addresses_of_both_kinds_is_listened_on_over_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is where `127.0.0.1` finds it, whatever the machine names first; an address of IPv6 is what it is."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with listen("localhost", 0, Doorway(Limits(1, 1))) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_address_that_cannot_be_listened_on_is_known_at_once() -> None:
    """The taken port is left to its owner, and nothing stays open."""
    with listen("127.0.0.1", 0, Doorway(Limits(1, 1))) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1], Doorway(Limits(1, 1)))
