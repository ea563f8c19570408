"""The child process that parses untrusted bytes: `python -m gateway.cameras.worker FD PARENT_PID`, or forked.

It reads one job from the socket, gives up what the job does not need, writes messages to the socket and ends. It blocks
while the parent is slow, and dies with it.
"""

import os
import socket
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import av
import cv2

from gateway.cameras import live, wire
from gateway.cameras.jobs import (
    CameraJob,
    DeviceSource,
    FileSource,
    Job,
    LiveSource,
    PeerSource,
    RecordingJob,
    RtspSource,
    from_json,
)
from gateway.cameras.looking import messages
from gateway.cameras.sandbox import FILE_MEMORY_BYTES, Needs, confine, offer_to_be_killed_first, tie_to_parent
from gateway.errors import SpectragateError

JOB_PREFIX = struct.Struct("!I")
ALIVE_EVERY_S = 1.0

_RTSP_PORT, _RTSPS_PORT = 554, 322


def main(arguments: list[str]) -> int:
    """Run the job that comes over the socket; 0 also when the parent has gone."""
    return run(socket.socket(fileno=int(arguments[0])), parent_pid=int(arguments[1]))


def run(channel: socket.socket, *, parent_pid: int) -> int:
    """Run the job that comes over the channel, confined to what it needs; 0 also when the parent has gone."""
    offer_to_be_killed_first()
    tie_to_parent(parent_pid)
    _quieten()
    try:
        with channel:
            job = _receive_job(channel)
            _load_late_libraries(job)
            confine(needs_of(job))
            _work(job, channel)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    return 0


def needs_of(job: Job) -> Needs:
    """Return what the worker of a job must still be able to reach."""
    model = () if job.faces.model is None else (job.faces.model,)
    if isinstance(job, CameraJob):
        needs = _needs_of_camera(job.source, model)
        return replace(needs, is_peer=needs.is_peer or job.viewing is not None)
    trigger = () if job.inject is None else (job.inject.trigger,)
    sources = (job.path, *_links_in(job.path)) if isinstance(job, RecordingJob) else job.paths
    return Needs((*model, *trigger, *sources), memory_bytes=FILE_MEMORY_BYTES)


def _needs_of_camera(source: LiveSource, model: tuple[Path, ...]) -> Needs:
    match source:
        case RtspSource(url=url, ca_file=ca_file):
            address = urlsplit(url)
            port = address.port or (_RTSPS_PORT if address.scheme == "rtsps" else _RTSP_PORT)
            return Needs((*model, *((ca_file,) if ca_file else ())), tcp_port=port)
        case DeviceSource(path=path):
            return Needs(model, device=path)
        case PeerSource():
            return Needs(model, is_peer=True)
        case FileSource(path=path):
            return Needs((*model, path, *_links_in(path)))


def _links_in(folder: Path) -> tuple[Path, ...]:
    """Return the links in a folder of pictures: what they point to may lie anywhere."""
    try:
        with os.scandir(folder) as entries:
            return tuple(Path(entry) for entry in entries if entry.is_symlink())
    except OSError:
        return ()


def _load_late_libraries(job: Job) -> None:
    if job.faces.model is not None:
        import onnxruntime  # noqa: F401, PLC0415  (a confined process may find no more code to load)
    if isinstance(job, CameraJob) and isinstance(job.source, PeerSource):
        import gateway.cameras.webrtc  # noqa: PLC0415  (most cameras never need it)
    if isinstance(job, CameraJob) and job.viewing is not None:
        import gateway.cameras.viewing  # noqa: F401, PLC0415  (nor this)


def _quieten() -> None:
    cv2.setNumThreads(1)
    # FFmpeg writes straight to stderr, of which the parent keeps the end.
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)


def _receive_job(channel: socket.socket) -> Job:
    (length,) = JOB_PREFIX.unpack(_receive(channel, JOB_PREFIX.size))
    if length > wire.MAX_JOB_BYTES:
        raise ValueError(f"a job of {length} bytes")
    return from_json(_receive(channel, length))


def _receive(channel: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = channel.recv(min(length - len(data), 1 << 20))
        if not part:
            raise ConnectionResetError("the parent has gone")
        data += part
    return bytes(data)


def _work(job: Job, channel: socket.socket) -> None:
    last_sent_s = -ALIVE_EVERY_S
    try:
        if isinstance(job, CameraJob):
            live.run(job, channel)
            return
        for message in messages(job):
            now_s = time.monotonic()
            if isinstance(message, wire.Alive) and now_s - last_sent_s < ALIVE_EVERY_S:
                continue
            channel.sendall(wire.pack(message))
            last_sent_s = now_s
    except SpectragateError as error:
        # Anything else ends the process with a traceback, whose last line the parent reports.
        channel.sendall(wire.pack(wire.failure(error)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
