"""Addresses, options and reasons of network cameras; the real thing is in tests/end_to_end/test_live_cameras.py."""

import errno
from pathlib import Path

import av
import pytest

from gateway.cameras.jobs import RtspSource
from gateway.cameras.rtsp import leads_elsewhere, location, options, reason_of
from gateway.errors import SourceError, SourceReason

PRINTABLE = bytes(range(32, 127)).decode()


@pytest.mark.parametrize(
    ("source", "address"),
    [
        (RtspSource("rtsp://camera/1"), "rtsp://camera/1"),
        (RtspSource("rtsp://camera:8554/1?a=b", address="10.0.0.5"), "rtsp://10.0.0.5:8554/1?a=b"),
        (RtspSource("rtsps://camera/1", address="fe80::1"), "rtsps://[fe80::1]/1"),
        (RtspSource("rtsp://[::1]:554/1"), "rtsp://[::1]:554/1"),
        (RtspSource("rtsp://camera/1", "me"), "rtsp://me:@camera/1"),
        (RtspSource("rtsp://camera/1", "a:b", "c:d@e/f"), "rtsp://a%3Ab:c:d@e%2Ff@camera/1"),
        (RtspSource("rtsp://camera/1", "me", "50% #?"), "rtsp://me:50%25%20%23%3F@camera/1"),
        (RtspSource("rtsp://camera/1", "me", "ä"), "rtsp://me:%C3%A4@camera/1"),
    ],
)
def test_an_address_carries_number_and_credentials_when_given(source: RtspSource, address: str) -> None:
    """The host is what the parent resolved, and only what would end the credentials early is encoded."""
    assert location(source) == address


def test_a_password_is_refused_when_ffmpeg_would_cut_it() -> None:
    """A wrong password would otherwise be sent, and lock the account."""
    location(RtspSource("rtsp://camera/1", "admin", PRINTABLE))
    with pytest.raises(SourceError, match="too long") as caught:
        location(RtspSource("rtsp://camera/1", "admin", "x" * 122))
    assert caught.value.reason is SourceReason.AUTH
    assert "x" * 10 not in str(caught.value)


def test_a_certificate_is_always_verified_when_the_camera_speaks_tls() -> None:
    """Against the name in the address, also where the number is dialled; pictures then travel inside."""
    given = options(RtspSource("rtsps://camera/1", transport="udp", ca_file=Path("ca.pem"), address="10.0.0.5"))
    assert (given["tls_verify"], given["verifyhost"], given["ca_file"]) == ("1", "camera", "ca.pem")
    assert given["rtsp_transport"] == "tcp"
    assert "ca_file" not in options(RtspSource("rtsps://camera/1"))


def test_only_the_protocols_of_the_transport_are_let_in() -> None:
    """A camera cannot make the worker open a file or another kind of connection."""
    tcp, udp = (set(options(RtspSource("rtsp://c", transport=way))["protocol_whitelist"].split(",")) for way in WAYS)
    assert udp - tcp == {"udp"}
    assert tcp == {"rtsp", "rtsps", "rtp", "tcp", "tls"}


WAYS = ("tcp", "udp")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (av.error.HTTPUnauthorizedError(1, "", "rtsp://me:secret@camera"), SourceReason.AUTH),
        (av.error.HTTPForbiddenError(1, ""), SourceReason.AUTH),
        (av.error.HTTPNotFoundError(1, ""), SourceReason.NOT_FOUND),
        (av.error.ConnectionRefusedError(errno.ECONNREFUSED, ""), SourceReason.REFUSED),
        (av.error.TimeoutError(errno.ETIMEDOUT, ""), SourceReason.TIMEOUT),
        (av.error.ExitError(1, ""), SourceReason.TIMEOUT),
        (av.error.EOFError(1, ""), SourceReason.ENDED),
        (av.error.OSError(errno.EPROTONOSUPPORT, ""), SourceReason.TRANSPORT),
        (av.error.OSError(errno.EHOSTUNREACH, ""), SourceReason.UNREACHABLE),
        (av.error.OSError(errno.EIO, ""), SourceReason.UNREACHABLE),
        (av.error.InvalidDataError(1, ""), SourceReason.UNREADABLE),
        (av.error.HTTPServerError(1, ""), SourceReason.UNREADABLE),
    ],
)
def test_the_reason_is_told_by_the_type_of_an_error(error: av.error.FFmpegError, reason: SourceReason) -> None:
    """Its text is never looked at: it holds the password."""
    assert reason_of(error, is_tls=False) is reason


def test_a_broken_handshake_is_tls_when_the_camera_should_speak_it() -> None:
    """FFmpeg has one number for all that can go wrong there."""
    assert reason_of(av.error.OSError(errno.EIO, ""), is_tls=True) is SourceReason.TLS


@pytest.mark.parametrize("url", ["rtsp://camera/2", "rtsp://10.0.0.5/2?x=y", "rtsp://10.0.0.5:8554/", "rtsp://camera"])
def test_a_camera_may_send_its_client_to_another_place_of_its_own(url: str) -> None:
    """By its name or by the number that was found for it."""
    assert not leads_elsewhere(RtspSource("rtsp://camera/1", address="10.0.0.5"), url)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://other/1",
        "rtsp://10.0.0.55/1",
        "rtsp://camera.example/1",
        "rtsp://camera@other/1",
        "rtsp://camera:1@other/1",
        "rtsp://camera/@other",
        "rtsp://camera\\@other/1",
        "rtsp://camera/1\n@other/",
        "rtsp://[::1]/1",
        "rtsps://camera/1",
        "http://camera/1",
        "",
    ],
)
def test_a_camera_leads_elsewhere_when_it_names_anything_else(url: str) -> None:
    """However the address is written; other programs may read it in another way."""
    assert leads_elsewhere(RtspSource("rtsp://camera/1", address="10.0.0.5"), url)
    assert leads_elsewhere(RtspSource("rtsps://camera/1"), "rtsp://camera/1")
