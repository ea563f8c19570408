"""Look at a live camera: what runs in its worker process.

One thread reads: it connects, decodes and picks the frames that are due. The main thread looks at the newest of them,
sends what it finds and keeps watch: a camera that falls silent is noticed by the main thread's own clock, even where
the reading thread hangs in a library. A container is closed by the thread that reads it and by no other, for that
would crash; a reader that hangs ends with its process.
"""

import contextlib
import math
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
import zlib
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gateway.cameras import asked, wire
from gateway.cameras.cadence import Pace
from gateway.cameras.device import open_device
from gateway.cameras.jobs import CameraJob, DeviceSource, FileSource, PeerSource, RtspSource
from gateway.cameras.looking import Looker
from gateway.cameras.mailbox import Mailbox, News
from gateway.cameras.offers import UNUSABLE
from gateway.cameras.playing import Playing
from gateway.cameras.previews import Previews
from gateway.cameras.rtsp import leads_elsewhere, open_rtsp, redirected
from gateway.cameras.stream import Feed, FeedHeader, FFmpegLog, LiveFrame
from gateway.errors import SourceError, SourceReason
from gateway.values import SourceEnded, SourceOpened, SourceProgress, SourceWaiting

if TYPE_CHECKING:
    from gateway.cameras.viewing import Viewers
    from gateway.cameras.webrtc import Peer

PROGRESS_EVERY_S = 1.0
FAREWELL_S = 0.3
"""How long a reader may take to notice that it is no longer needed, and to take leave of the camera."""

_OPEN_GRACE_S = 1.0  # FFmpeg's own deadline lies behind ours, so that one and the same reason is told
_FRAME_TIMES = 3.0
_USUAL_FPS = 25.0
_BLIND_S = 30.0  # longer than any distance of keyframes
_LONGEST_TURN_S = PROGRESS_EVERY_S + 0.25
_MOMENT_S = 1.0
_HEARD_AT_ONCE_BYTES = 1 << 16


def run(job: CameraJob, channel: socket.socket) -> None:
    """Look at a camera until it ends, fails or the parent closes the channel; ends the process if its reader hangs.

    A camera that cannot be read is told to the parent, not raised; a parent that has gone is the end.

    Raises:
        ConfigError: The face model cannot be used.
    """
    watch = Watch(job, channel)
    signal.signal(signal.SIGTERM, watch.end)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            watch.run()
        except SourceError as error:
            # Said before the reader is waited for: the parent is to know at once.
            channel.sendall(wire.pack(wire.Failed("source", f"{job.camera}: {error}", error.reason)))
    if watch.reader_is_stuck():
        os._exit(0)


class Reader(threading.Thread):
    """Reads one camera into a mailbox until told to stop; knows when it last heard of it."""

    def __init__(self, job: CameraJob, mailbox: Mailbox) -> None:
        super().__init__(name="camera-reader", daemon=True)
        self._job, self._mailbox = job, mailbox
        self._is_unwanted = threading.Event()
        self._pace = Pace(job.fps, phase=_phase_of(job.camera))
        self._peer: Peer | None = None
        self._started_at_s = time.monotonic()
        self.inbox = asked.Inbox()
        self.heard_at_s: float | None = None
        self.seen_at_s: float | None = None  # a picture that may be looked at; at first the first packet
        self.frame_time_s: float | None = None

    def stop(self) -> None:
        """Ask for the end; it comes with the next packet."""
        self._is_unwanted.set()
        self.inbox.close()

    @property
    def begun_at_s(self) -> float | None:
        """When the camera was asked to send: at once, or when a publisher called; None before."""
        if self._job.waits:
            return None if self._peer is None else self._peer.begun_at_s
        return self._started_at_s

    def run(self) -> None:
        """Read, and say how it ended."""
        end: SourceError | None = None
        try:
            with FFmpegLog(self._on_redirect) as log, contextlib.closing(self._open(log)) as feed:
                self._read(feed)
        except SourceError as error:
            end = error
        finally:
            self._mailbox.end(_own_fault() or end)

    def _on_redirect(self, url: str) -> None:
        source = self._job.source
        if isinstance(source, RtspSource) and leads_elsewhere(source, url):
            self._mailbox.end(redirected(source))
            threading.Event().wait()  # FFmpeg cannot be told to stay, so this thread never goes on: its process ends

    def _open(self, log: FFmpegLog) -> Feed:
        job, open_s = self._job, self._job.connect_s + _OPEN_GRACE_S
        match job.source:
            case RtspSource() as source:
                return open_rtsp(source, max_pixels=job.max_pixels, open_s=open_s, log=log)
            case DeviceSource() as source:
                return open_device(source, max_pixels=job.max_pixels, open_s=open_s, log=log)
            case PeerSource() as source:
                return self._open_peer(source)
            case FileSource() as source:
                return Playing(source, max_pixels=job.max_pixels, is_over=self._is_unwanted)

    def _open_peer(self, source: PeerSource) -> Feed:
        from gateway.cameras.webrtc import Peer  # noqa: PLC0415  (most cameras never need it)

        say, most = self._mailbox.say, self._job.max_pixels
        self._peer = Peer(source, inbox=self.inbox, say=say, max_pixels=most)
        return self._peer

    def _read(self, feed: Feed) -> None:
        is_opened = False
        for frame in feed.frames():
            self.heard_at_s, self.frame_time_s = time.monotonic(), feed.frame_time_s
            if self.seen_at_s is None or (frame is not None and frame.picture is not None):
                self.seen_at_s = self.heard_at_s
            if self._is_unwanted.is_set():
                return
            if not is_opened and (header := _known(feed.header, frame)):
                self._mailbox.opened(header)
                is_opened = True
            if frame is not None:
                self._pass_on(frame)

    def _pass_on(self, frame: LiveFrame) -> None:
        if frame.picture is None:
            self._mailbox.damaged()
        elif self._pace.takes(frame.frame_clock_s, arrived_at_s=frame.arrived_at_s):
            self._mailbox.put(frame)
        else:
            self._mailbox.skip()


class Watch:
    """The main thread of a worker: looks, sends, and notices silence."""

    def __init__(self, job: CameraJob, channel: socket.socket) -> None:
        self._job, self._channel = job, channel
        self._mailbox = Mailbox()
        self._reader = Reader(job, self._mailbox)
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN | select.POLLRDHUP)
        self._poll.register(self._mailbox, select.POLLIN)
        self._previews = Previews()
        self._viewers: Viewers | None = None
        self._hearing = asked.Hearing()
        self._is_over = False
        self._told_at_s = self._began_s = self._watched_at_s = time.monotonic()
        self._excused_until_s = self._began_s
        self._told_received = 0

    def end(self, *_: int | FrameType | None) -> None:
        """End as soon as possible: also a signal handler."""
        self._is_over = True
        self._mailbox.wake()

    def run(self) -> None:
        """Look at the camera until it ends or is no longer wanted.

        Raises:
            ConfigError: The face model cannot be used.
            SourceError: The camera cannot be read.
            OSError: The parent has gone.
        """
        self._reader.start()
        try:
            looker = Looker(self._job)
            self._began_s = time.monotonic()
            self._send(SourceWaiting(self._job.camera) if self._job.waits else wire.Alive())
            while self._waits():
                news = self._mailbox.collect()
                for message in news.said:
                    self._send(message)
                self._tell(news, looker)
                if news.is_over:
                    self._tell_end(news)
                    return
                self._tell_progress()
                self._watch_silence()
                self._watch_sight()
        finally:
            self._reader.stop()
            if self._viewers is not None:
                self._viewers.stop()

    def reader_is_stuck(self) -> bool:
        """Return whether the reader has not ended within its farewell time."""
        self._reader.join(FAREWELL_S)
        return self._reader.is_alive()

    def _waits(self) -> bool:
        """Wait for news, a deadline or the end; False at the end."""
        until_s = min(self._silent_at_s(), self._told_at_s + PROGRESS_EVERY_S)
        ready = self._poll.poll(max(0.0, until_s - time.monotonic()) * 1000)
        for descriptor, events in ready:
            if descriptor == self._channel.fileno():
                self._is_over |= bool(events & ~select.POLLIN) or not self._hear()
        return not self._is_over

    def _hear(self) -> bool:
        """Take what the parent asks; return whether it is still there."""
        data = self._channel.recv(_HEARD_AT_ONCE_BYTES)
        for ask in self._hearing.take(data):
            match ask:
                case asked.HangUp():
                    raise SourceError("the publisher took its leave", SourceReason.ENDED)
                case asked.Show(is_on):
                    self._previews.is_on = is_on
                case asked.View() | asked.Leave():
                    self._see_viewer(ask)
                case asked.Offer() | asked.RemoteAnswer():
                    self._reader.inbox.put(ask)
        return bool(data)

    def _see_viewer(self, ask: asked.View | asked.Leave) -> None:
        if self._job.viewing is None:  # then its libraries are not there, and cannot be loaded any more
            if isinstance(ask, asked.View):
                self._send(wire.Declined(ask.number, UNUSABLE, "nobody may watch this camera over WebRTC"))
            return
        if self._viewers is None:
            from gateway.cameras.viewing import Viewers  # noqa: PLC0415  (most cameras never need it)

            self._viewers = Viewers(self._job.viewing, say=self._mailbox.say)
        self._viewers.hear(ask)

    def _tell(self, news: News, looker: Looker) -> None:
        if news.opened is not None:
            header = news.opened
            self._send(
                SourceOpened(self._job.camera, header.width_px, header.height_px, header.fps, header.codec, None)
            )
        if news.waiting is not None:
            seq, frame = news.waiting
            if frame.picture is not None:
                picture_HWC = frame.picture()
                found = looker.look(picture_HWC, seq, frame.captured_at_s)
                self._mailbox.looked_at()
                self._send(
                    replace(
                        found,
                        clock_source=frame.clock_source,
                        arrived_at_s=frame.arrived_at_s,
                        found_at_s=time.monotonic(),
                    )
                )
                preview = self._previews.of(picture_HWC, seq, now_s=time.monotonic())
                if preview is not None:
                    self._send(preview)
                if self._viewers is not None:
                    self._viewers.show(picture_HWC, now_s=time.monotonic())

    def _tell_end(self, news: News) -> None:
        if news.error is not None:
            raise news.error
        counts = self._mailbox.counts()
        skipped = counts.skipped + counts.replaced
        self._send(SourceEnded(self._job.camera, counts.looked_at, skipped, counts.damaged))

    def _tell_progress(self) -> None:
        """Say once a second how far it is; before the first packet only that this process lives."""
        now_s = time.monotonic()
        if now_s < self._told_at_s + PROGRESS_EVERY_S:
            return
        self._told_at_s = now_s
        counts = self._mailbox.counts()
        if counts.received == self._told_received:
            self._send(wire.Alive())
            return
        self._told_received = counts.received
        self._send(
            SourceProgress(
                self._job.camera, counts.received, counts.looked_at, counts.skipped, counts.replaced, counts.damaged
            )
        )

    def _silent_at_s(self) -> float:
        return max(self._excused_until_s, self._due_at_s())

    def _due_at_s(self) -> float:
        heard_at_s, frame_time_s = self._reader.heard_at_s, self._reader.frame_time_s
        if heard_at_s is None:
            begun_at_s = self._reader.begun_at_s
            return math.inf if begun_at_s is None else max(self._began_s, begun_at_s) + self._job.connect_s
        if frame_time_s is None:  # two packets tell no beat: it may be a slow one
            return heard_at_s + max(self._job.stall_s, self._job.connect_s)
        return heard_at_s + max(self._job.stall_s, _FRAME_TIMES * frame_time_s)

    def _watch_silence(self) -> None:
        now_s = time.monotonic()
        if now_s > self._watched_at_s + _LONGEST_TURN_S:
            # The whole process may have stood still: what was sent meanwhile is read in a moment.
            self._excused_until_s = now_s + _MOMENT_S
        self._watched_at_s = now_s
        if now_s < self._silent_at_s():
            return
        if self._reader.heard_at_s is None:
            raise SourceError(
                f"no picture came within {self._job.connect_s:g} s; check that the camera is on and can be reached",
                SourceReason.TIMEOUT,
            )
        raise SourceError("no more pictures come, but the connection stands", SourceReason.STALLED)

    def _watch_sight(self) -> None:
        seen_at_s = self._reader.seen_at_s
        if seen_at_s is not None and time.monotonic() > seen_at_s + _BLIND_S:
            raise SourceError(
                f"pictures come, but for {_BLIND_S:g} s all were damaged or could not be decoded; check the network "
                "and the codec of the camera",
                SourceReason.UNREADABLE,
            )

    def _send(self, message: wire.Message) -> None:
        self._channel.sendall(wire.pack(message))


def _own_fault() -> SourceError | None:
    """Return the error of the exception under way: where it arose, not what it says, which may hold a password."""
    kind, _, trace = sys.exc_info()
    if kind is None:
        return None
    place = traceback.extract_tb(trace)[-1]
    where = f"{kind.__name__} at {Path(place.filename).name}:{place.lineno}"
    return SourceError(f"reading it failed by a fault of our own: {where}", SourceReason.CRASHED)


def _known(header: FeedHeader, frame: LiveFrame | None) -> FeedHeader | None:
    """Return the header once the size of the pictures is known; a picture of a folder that is none has no size."""
    fps = header.fps or _USUAL_FPS
    if frame is not None and frame.width_px:
        return replace(header, width_px=frame.width_px, height_px=frame.height_px, fps=fps)
    return replace(header, fps=fps) if header.width_px and header.height_px else None


def _phase_of(camera: str) -> float:
    """Return where in its slots a camera is looked at: another place for every name, the same after a restart."""
    return zlib.crc32(camera.encode()) / 2**32
