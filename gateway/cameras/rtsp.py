"""Open network cameras: RTSP over TCP, UDP or TLS.

Errors are told by their type alone. The text of FFmpeg's exceptions carries the address with the password, so neither
it nor FFmpeg's log ever leaves the worker.
"""

import errno
import re
from urllib.parse import quote, urlsplit

import av

from gateway.cameras.jobs import RtspSource
from gateway.cameras.stream import FFmpegLog, Stream, video_stream
from gateway.errors import SourceError, SourceReason

CODECS = frozenset({"h264", "hevc", "mjpeg"})

# Enough to find the first parameter sets; the default reads for a second or five before the first frame.
_PROBE_BYTES = 32768
_SMALLEST_QUEUE = "2"  # packets
_SOCKET_BYTES = 1 << 20  # a keyframe arrives as one burst of datagrams

# FFmpeg cuts what stands before the @ of an address at this length, and would then send a wrong password.
_LONGEST_CREDENTIALS = 127
_SAFE = "!$&'()*+,;=:@-._~|^`{}<>\"\\"

_REASONS: tuple[tuple[type[BaseException], SourceReason], ...] = (
    (av.error.HTTPUnauthorizedError, SourceReason.AUTH),
    (av.error.HTTPForbiddenError, SourceReason.AUTH),
    (av.error.HTTPNotFoundError, SourceReason.NOT_FOUND),
    (av.error.ConnectionRefusedError, SourceReason.REFUSED),
    (av.error.TimeoutError, SourceReason.TIMEOUT),
    (av.error.ExitError, SourceReason.TIMEOUT),
    (av.error.EOFError, SourceReason.ENDED),
    (av.error.ConnectionResetError, SourceReason.ENDED),
    (av.error.BrokenPipeError, SourceReason.ENDED),
)
_NUMBERS = {
    errno.EPROTONOSUPPORT: SourceReason.TRANSPORT,
    errno.ENETUNREACH: SourceReason.UNREACHABLE,
    errno.EHOSTUNREACH: SourceReason.UNREACHABLE,
    errno.EHOSTDOWN: SourceReason.UNREACHABLE,
    errno.ENETDOWN: SourceReason.UNREACHABLE,
}
_TEXTS = {
    SourceReason.AUTH: "refuses the user name or password, or asks for them; check both, and the rights of that user",
    SourceReason.NOT_FOUND: "has no stream of this path; check the part of the address after the host",
    SourceReason.REFUSED: "refuses connections on this port; check the port, and that RTSP is switched on",
    SourceReason.TIMEOUT: "did not answer in time; check that it is on and can be reached",
    SourceReason.TRANSPORT: "does not send over this transport; choose the other of tcp and udp",
    SourceReason.TLS: "has a certificate that cannot be verified, or speaks no TLS; check its name and ca_file",
    SourceReason.UNREACHABLE: "cannot be reached; check its address and the network",
    SourceReason.ENDED: "closed the connection before it sent a picture",
    SourceReason.UNREADABLE: "answers in a way that is not understood, or with an error of its own",
}


def open_rtsp(source: RtspSource, *, max_pixels: int, open_s: float, log: FFmpegLog) -> Stream:
    """Connect and return the camera's video stream.

    Raises:
        SourceError: With its reason; the text holds neither user name nor password.
    """
    try:
        container = av.open(
            location(source), format="rtsp", options=options(source), timeout=(open_s, None), metadata_errors="replace"
        )
    except av.error.FFmpegError as error:
        reason = reason_of(error, is_tls=_is_tls(source))
        raise SourceError(f"the camera at {_place(source)} {_TEXTS[reason]}", reason) from None
    try:
        return Stream(container, video_stream(container, CODECS, max_pixels=max_pixels), max_pixels=max_pixels, log=log)
    except SourceError as error:
        container.close()
        raise SourceError(f"the camera at {_place(source)}: {error}", error.reason) from None


def options(source: RtspSource) -> dict[str, str]:
    """Return what FFmpeg is told besides the address."""
    chosen = {
        "rtsp_transport": "tcp" if _is_tls(source) else source.transport,
        "allowed_media_types": "video",
        "codec_whitelist": ",".join(sorted(CODECS)),
        "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls" + ("" if source.transport == "tcp" else ",udp"),
        "probesize": str(_PROBE_BYTES),
        "buffer_size": str(_SOCKET_BYTES),
    }
    if chosen["rtsp_transport"] == "tcp":
        # Cameras drop packets when a connection is slow; without a queue FFmpeg would not even count those of TCP.
        chosen["reorder_queue_size"] = _SMALLEST_QUEUE
    if _is_tls(source):
        chosen |= {"tls_verify": "1", "verifyhost": urlsplit(source.url).hostname or ""}
        chosen |= {"ca_file": str(source.ca_file)} if source.ca_file else {}
    return chosen


def location(source: RtspSource) -> str:
    """Return the address with the numeric host that the parent found and with the credentials, as FFmpeg reads it.

    Raises:
        SourceError: The credentials are too long for it.
    """
    parts = urlsplit(source.url)
    host = source.address or parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    place = host if parts.port is None else f"{host}:{parts.port}"
    if source.username is not None:
        # Only what would end it early is encoded: the room is small.
        name = quote(source.username, safe=_SAFE.replace(":", ""))
        credentials = f"{name}:{quote(source.password or '', safe=_SAFE)}"
        if len(credentials) > _LONGEST_CREDENTIALS:
            raise SourceError("its user name and password are too long together; shorten them", SourceReason.AUTH)
        place = f"{credentials}@{place}"
    return parts._replace(netloc=place).geturl()


def leads_elsewhere(source: RtspSource, url: str) -> bool:
    """Return whether a camera that sends its client to `url` means another host, or one without TLS.

    FFmpeg would go there and take name and password along.
    """
    parts = urlsplit(source.url)
    hosts = {source.address or "", parts.hostname or ""} - {""}
    places = "|".join(re.escape(f"[{host}]" if ":" in host else host) for host in hosts)
    return re.fullmatch(rf"{parts.scheme}://({places})(:\d+)?(/[^@\s]*)?", url) is None


def redirected(source: RtspSource) -> SourceError:
    """Return the error of a camera that sends its client elsewhere."""
    text = f"the camera at {_place(source)} sends us to another host; if that is right, give its address as the url"
    return SourceError(text, SourceReason.NOT_FOUND)


def reason_of(error: BaseException, *, is_tls: bool) -> SourceReason:
    """Return why a camera could not be opened, by the type and number of FFmpeg's error."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    number = getattr(error, "errno", None)
    if number == errno.EIO:
        return SourceReason.TLS if is_tls else SourceReason.UNREACHABLE
    return _NUMBERS.get(number, SourceReason.UNREADABLE) if isinstance(number, int) else SourceReason.UNREADABLE


def _is_tls(source: RtspSource) -> bool:
    return urlsplit(source.url).scheme == "rtsps"


def _place(source: RtspSource) -> str:
    """Return host and port for a message; not the path, which may hold a secret."""
    parts = urlsplit(source.url)
    host = parts.hostname or ""
    return host if parts.port is None else f"{host}:{parts.port}"
