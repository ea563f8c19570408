"""Offers are bounded, cleaned and checked before a library reads them."""

import pytest

from gateway.cameras.offers import MAX_SDP_BYTES, Reach, Refusal, candidates_in, cleaned, first_hosts, hastened

PLANT = Reach(["10.0.0.0/8", "fc00::/7"])
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"


def candidate(host: str, protocol: str = "udp") -> str:
    """Return a candidate line."""
    return f"a=candidate:1 1 {protocol} 2122 {host} 5000 typ host\r\n"


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        (b"\xff\xfe", 415),
        (b"hello", 415),
        (b"", 415),
        (b"v=0" + b" " * MAX_SDP_BYTES, 413),
        ((HEAD + VIDEO * 9).encode(), 413),
        ((HEAD + VIDEO + candidate("10.0.0.1") * 33).encode(), 413),
        ((HEAD + VIDEO + "a=x:" + "y" * 5000).encode(), 400),
        ((HEAD + VIDEO + "a=x:\x00").encode(), 400),
        ((HEAD + VIDEO + "a=rtpmap:96 VP8/90000\r\na=rtpmap:096 VP8/90000\r\n").encode(), 400),
        ((HEAD + VIDEO + "a=rtpmap:x VP8/90000\r\n").encode(), 400),
        ((HEAD + VIDEO + "a=ssrc:1 cname:a\r\n" * 129).encode(), 413),
        ((HEAD + VIDEO + "a=rtcp-fb:96 nack\r\n" * 385).encode(), 413),
        ((HEAD + VIDEO.replace("96", " ".join(map(str, range(126))))).encode(), 413),
        (HEAD.encode(), 422),
        ((HEAD + VIDEO + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n").encode(), 422),
    ],
)
def test_an_offer_is_refused_when_it_breaks_a_bound(offer: bytes, status: int) -> None:
    """Each with the status that tells the publisher what kind of mistake it is."""
    with pytest.raises(Refusal) as caught:
        cleaned(offer, PLANT)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("host", "stays"),
    [
        ("10.1.2.3", True),
        ("fd00::1", True),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("::ffff:10.1.2.3", False),
        ("8.8.8.8", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("3f1c0c1e-9d2a.local", False),
        ("10.1", False),
    ],
)
def test_candidates_stay_only_when_their_network_is_allowed(host: str, stays: bool) -> None:
    """The loopback, the cloud's metadata, mapped addresses and names are struck out."""
    text = cleaned((HEAD + VIDEO + candidate(host)).encode(), PLANT)
    assert list(candidates_in(text)) == ([host] if stays else [])


def test_candidates_over_tcp_are_struck_out() -> None:
    """Media comes in datagrams alone."""
    assert "candidate" not in cleaned((HEAD + VIDEO + candidate("10.1.2.3", "tcp")).encode(), PLANT)


def test_an_offer_is_mended_when_it_bundles_what_is_not_there_or_names_high_alone() -> None:
    """Both stop the library, and neither means harm."""
    fmtp = "a=fmtp:96 profile-level-id=640028;packetization-mode=1\r\n"
    text = cleaned((HEAD + "a=group:BUNDLE 0 7\r\n" + VIDEO + fmtp).encode(), PLANT)
    assert "a=group:BUNDLE 0\r\n" in text
    assert "profile-level-id=42e01f;" in text


def test_an_answer_asks_for_the_full_picture_at_once() -> None:
    """H.264 has a line to add to, VP8 gets one, retransmission none."""
    video = "m=video 9 X 96 97 98\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    answer = hastened(video + "a=rtpmap:98 H264/90000\r\na=fmtp:98 profile-level-id=42e01f\r\n")
    assert "a=fmtp:96 x-google-start-bitrate=2500" in answer
    assert "a=fmtp:98 profile-level-id=42e01f;x-google-start-bitrate=2500" in answer
    assert "a=fmtp:97 apt=96\r\n" in answer


def test_a_network_is_asked_for_by_its_first_host() -> None:
    """A single address is its own first host."""
    networks = Reach(["10.0.0.0/8", "192.168.7.9/32", "fc00::/7"]).networks
    assert list(first_hosts(networks)) == ["10.0.0.1", "192.168.7.9", "fc00::1"]
