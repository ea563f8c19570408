"""Offers of WebRTC as publishers send them, and what becomes of them when somebody means harm."""

import random

CHROMIUM = b"""v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111 9
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=ice-options:trickle
a=fingerprint:sha-256 D2:B9:31:8F:DF:24:D8:0E:ED:D2:EF:25:9E:AF:6F:B8:34:AE:53:9C:E6:F3:8F:F2:64:15:FA:E8:7F:53:2D:38
a=setup:actpass
a=mid:0
a=recvonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:9 G722/8000
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1467250027 1 udp 2122260223 127.0.0.1 46243 typ host generation 0 network-id 1
a=candidate:1853887674 1 udp 1518280447 47.61.61.61 36768 typ srflx raddr 192.168.0.196 rport 46243
a=candidate:435653019 1 tcp 1845501695 127.0.0.1 9 typ host tcptype active generation 0
a=candidate:1467250027 1 udp 2122260223 8f4b5a5e-0001-4242-9c32-000000000000.local 46243 typ host generation 0
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=ice-options:trickle
a=fingerprint:sha-256 D2:B9:31:8F:DF:24:D8:0E:ED:D2:EF:25:9E:AF:6F:B8:34:AE:53:9C:E6:F3:8F:F2:64:15:FA:E8:7F:53:2D:38
a=setup:actpass
a=mid:1
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=recvonly
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:102 H264/90000
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:103 rtx/90000
a=fmtp:103 apt=102
a=ssrc-group:FID 1001 1002
a=ssrc:1001 cname:user
a=ssrc:1002 cname:user
""".replace(b"\n", b"\r\n")
"""As Chromium writes it, but to receive: no mutation of it can be taken as an offer to send."""

FFMPEG = b"""v=0
o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
s=FFmpegPublishSession
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS
m=video 9 UDP/TLS/RTP/SAVPF 106
c=IN IP4 0.0.0.0
a=ice-ufrag:a174B2f1
a=ice-pwd:0de4e2a3ee4a1b8f5e9c0d1a2b3c4d5e
a=fingerprint:sha-256 D2:B9:31:8F:DF:24:D8:0E:ED:D2:EF:25:9E:AF:6F:B8:34:AE:53:9C:E6:F3:8F:F2:64:15:FA:E8:7F:53:2D:38
a=setup:active
a=mid:0
a=recvonly
a=msid:FFmpeg video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f
a=ssrc:2002 cname:FFmpeg
""".replace(b"\n", b"\r\n")

_WORDS = (
    b"-1",
    b"0",
    b"99999999999",
    b"",
    b"a:b",
    b"\xc3\xa9",
    b"UDP/TLS/RTP/SAVPF",
    b"127.0.0.1",
    b"sha-256",
    b"apt=96",
)
_LINES = (
    b"m=video 9 UDP/TLS/RTP/SAVPF 96",
    b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    b"a=candidate:1 1 udp 1 127.0.0.1 9 typ host",
    b"a=mid:0",
    b"a=group:BUNDLE 0 1 2 3",
    b"a=rtpmap:96 VP8/90000",
    b"a=setup:passive",
    b"a=rid:h send",
    b"a=simulcast:send h;l",
    b"a=ice-lite",
    b"a=inactive",
)


def mutated(offer: bytes, chance: random.Random) -> bytes:
    """Return an offer with a few bytes, lines or words changed, and now and then with far too much of something."""
    lines = offer.split(b"\r\n")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines))
        words = lines[place].split(b" ")
        match chance.randrange(8):
            case 0:
                lines[place] = bytes(chance.randrange(256) for _ in range(chance.randrange(40)))
            case 1:
                lines.insert(place, chance.choice(lines))
            case 2:
                lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]
            case 3:
                words[chance.randrange(len(words))] = chance.choice(_WORDS)
                lines[place] = b" ".join(words)
            case 4:
                del lines[place]
                lines = lines or [b""]
            case 5:
                lines.insert(place, chance.choice(_LINES))
            case 6:
                lines[place:place] = [chance.choice((*lines, *_LINES))] * chance.choice((2, 9, 40, 2000))
            case _:
                chance.shuffle(words)
                lines[place] = b" ".join(words)
    return b"\r\n".join(lines)
