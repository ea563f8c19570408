"""What a publisher may ask of us: an offer of WebRTC, bounded, cleaned and checked before any library reads it.

An offer names the addresses to which our packets would go. Those outside the allowed networks are struck out, names
(mDNS) too, so that nobody can make us knock at doors of the plant.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

MAX_SDP_BYTES = 64 * 1024
MAX_LINE = 4096
MAX_MEDIA = 8
MAX_CANDIDATES = 32
MAX_ATTRIBUTES = 128
"""Attributes of one name: the library compares every codec with every other, and 2,000 would take it minutes."""
MAX_FEEDBACK = 384
"""The same of `rtcp-fb`, of which a browser sends half a dozen for each codec."""

MALFORMED, TOO_LARGE, NOT_SDP, UNUSABLE = 400, 413, 415, 422

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HIGH_PROFILE = re.compile(r"(?i)(profile-level-id=)64[0-9a-f]{4}")
_CANDIDATE_FIELDS = 8
_START_BITRATE = "x-google-start-bitrate=2500;x-google-min-bitrate=1200;x-google-max-bitrate=4000"


class Refusal(Exception):
    """An offer is not taken; `status` is the answer over HTTP, the text says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Reach:
    """The networks that media may come from and go to."""

    def __init__(self, allow: Iterable[str]) -> None:
        self.networks: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in allow)

    def allows(self, host: str) -> bool:
        """Return whether a numeric address lies in a network that is allowed; a name never does."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if address.is_multicast or address.is_unspecified or getattr(address, "ipv4_mapped", None) is not None:
            return False
        return any(address in network for network in self.networks)


def cleaned(offer: bytes, reach: Reach) -> str:
    """Return an offer without what must not be in it.

    Raises:
        Refusal: It is too large, no offer at all, or offers nothing that can be watched.
    """
    lines = _lines(offer)
    media = [line for line in lines if line.startswith("m=")]
    _check_numbers(lines, media)
    if any(line.startswith("m=application") for line in media):
        raise Refusal(UNUSABLE, "data channels are not taken; send video alone")
    if not any(line.startswith("m=video") for line in media):
        raise Refusal(UNUSABLE, "no video is offered")
    mids = {line.removeprefix("a=mid:") for line in lines if line.startswith("a=mid:")}
    return "".join(f"{_mended(line, mids)}\r\n" for line in lines if _stays(line, reach))


def _check_numbers(lines: list[str], media: list[str]) -> None:
    if len(media) > MAX_MEDIA:
        raise Refusal(TOO_LARGE, f"more than {MAX_MEDIA} media lines")
    if sum(line.startswith("a=candidate:") for line in lines) > MAX_CANDIDATES:
        raise Refusal(TOO_LARGE, f"more than {MAX_CANDIDATES} candidates")
    for name, count in Counter(line.split(":", 1)[0] for line in lines if line.startswith("a=")).items():
        if count > (MAX_FEEDBACK if name == "a=rtcp-fb" else MAX_ATTRIBUTES):
            raise Refusal(TOO_LARGE, f"more attributes of one name than any publisher needs: {count}")
    if any(len(line.split()) > MAX_ATTRIBUTES for line in media):
        raise Refusal(TOO_LARGE, f"a media line of more than {MAX_ATTRIBUTES} words")
    named: set[int] = set()
    for line in lines:
        if line.startswith("m="):
            named.clear()
        elif line.startswith("a=rtpmap:"):
            payload = _payload(line)
            if payload in named:  # each would be answered by all of them
                raise Refusal(MALFORMED, f"a=rtpmap:{payload} stands twice")
            named.add(payload)


def _payload(line: str) -> int:
    number = line.removeprefix("a=rtpmap:").split(" ", 1)[0]
    if not re.fullmatch(r"[0-9]{1,3}", number):
        raise Refusal(MALFORMED, "an a=rtpmap of no number")
    return int(number)


def candidates_in(sdp: str) -> Iterator[str]:
    """Yield the addresses of the candidates of a description."""
    for line in sdp.splitlines():
        fields = line.split()
        if line.startswith("a=candidate:") and len(fields) >= _CANDIDATE_FIELDS:
            yield fields[4]


def first_hosts(networks: Sequence[Network]) -> Iterator[str]:
    """Yield an address of each network, to ask the system by which of ours it would be reached."""
    for network in networks:
        yield str(network.network_address + (1 if network.num_addresses > 1 else 0))


def hastened(answer: str) -> str:
    """Return an answer that asks browsers for the full picture at once; they would begin with a stamp of it."""
    lines, result, is_video = answer.splitlines(), [], False
    described = {line.split(" ", 1)[0] for line in lines if line.startswith("a=fmtp:")}
    for line in lines:
        is_video = line.startswith("m=video") if line.startswith("m=") else is_video
        if is_video and line.startswith("a=fmtp:") and "apt=" not in line:
            line = f"{line};{_START_BITRATE}"  # noqa: PLW2901
        result.append(line)
        number = line.removeprefix("a=rtpmap:").split(" ", 1)[0]
        is_codec = is_video and line.startswith("a=rtpmap:") and " rtx/" not in line
        if is_codec and f"a=fmtp:{number}" not in described:
            result.append(f"a=fmtp:{number} {_START_BITRATE}")
    return "".join(f"{line}\r\n" for line in result)


def _lines(offer: bytes) -> list[str]:
    if len(offer) > MAX_SDP_BYTES:
        raise Refusal(TOO_LARGE, f"an offer of more than {MAX_SDP_BYTES} bytes")
    try:
        text = offer.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(NOT_SDP, "the offer is no text") from None
    lines = re.split(r"\r?\n", text.rstrip("\r\n"))
    if lines[0] != "v=0":
        raise Refusal(NOT_SDP, "the offer does not begin as one: v=0")
    if any(len(line) > MAX_LINE or not line.isprintable() for line in lines):
        raise Refusal(MALFORMED, "a line that is too long or holds control characters")
    return lines


def _stays(line: str, reach: Reach) -> bool:
    if not line.startswith("a=candidate:"):
        return True
    fields = line.split()
    return len(fields) >= _CANDIDATE_FIELDS and fields[2].lower() == "udp" and reach.allows(fields[4])


def _mended(line: str, mids: set[str]) -> str:
    if line.startswith("a=group:BUNDLE"):
        return " ".join(["a=group:BUNDLE", *(mid for mid in line.split()[1:] if mid in mids)])
    # The decoder reads High well; the library refuses an offer that names nothing else.
    return _HIGH_PROFILE.sub(r"\g<1>42e01f", line)
