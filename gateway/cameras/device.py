"""Open cameras at this machine: v4l2 devices."""

import errno

import av

from gateway.cameras.jobs import DeviceSource
from gateway.cameras.stream import FFmpegLog, Stream, video_stream
from gateway.errors import SourceError, SourceReason

CODECS = frozenset({"rawvideo", "mjpeg", "h264", "hevc"})

_REFUSALS = {
    errno.ENOENT: ("there is no such device; check its path and that it is plugged in", SourceReason.NOT_FOUND),
    errno.ENODEV: ("there is no such device; check its path and that it is plugged in", SourceReason.NOT_FOUND),
    errno.EACCES: ("it may not be opened; put the user of the gateway into the group video", SourceReason.AUTH),
    errno.EPERM: ("it may not be opened; put the user of the gateway into the group video", SourceReason.AUTH),
    errno.EBUSY: ("another program uses it; end that one", SourceReason.REFUSED),
    errno.ENOTTY: ("it is no camera; choose another device", SourceReason.NO_VIDEO),
    errno.EINVAL: ("it does not offer this size or rate; choose one of those it has", SourceReason.CODEC),
}


def open_device(source: DeviceSource, *, max_pixels: int, open_s: float, log: FFmpegLog) -> Stream:
    """Open a device and return its video stream.

    Raises:
        SourceError: With its reason.
    """
    options = {"codec_whitelist": ",".join(sorted(CODECS))}
    if source.width_px and source.height_px:
        options["video_size"] = f"{source.width_px}x{source.height_px}"
    if source.fps:
        options["framerate"] = f"{source.fps:g}"
    try:
        container = av.open(str(source.path), format="v4l2", options=options, timeout=(open_s, None))
    except av.error.FFmpegError as error:
        text, reason = _REFUSALS.get(error.errno or 0, ("it cannot be read as a camera", SourceReason.UNREADABLE))
        raise SourceError(f"{source.path}: {text}", reason) from None
    try:
        return Stream(container, video_stream(container, CODECS, max_pixels=max_pixels), max_pixels=max_pixels, log=log)
    except SourceError as error:
        container.close()
        raise SourceError(f"{source.path}: {error}", error.reason) from None
