"""The child process that parses untrusted bytes: `python -m gateway.cameras.worker FD PARENT_PID`.

It reads one job from the socket, writes messages to it and ends. It blocks while the parent is slow, and dies with it.
"""

import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import time

import av
import cv2

from gateway.cameras import wire
from gateway.cameras.jobs import CameraJob, Job, from_json
from gateway.cameras.looking import messages
from gateway.errors import SpectragateError

JOB_PREFIX = struct.Struct("!I")
ALIVE_EVERY_S = 1.0

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def main(arguments: list[str]) -> int:
    """Run the job that comes over the socket; 0 also when the parent has gone."""
    channel, parent_pid = socket.socket(fileno=int(arguments[0])), int(arguments[1])
    _confine(parent_pid)
    try:
        with channel:
            _work(_receive_job(channel), channel)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    return 0


def _confine(parent_pid: int) -> None:
    # No face pixels in a core file: the limit holds for files, the flag also where a program collects them.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit(0)  # the parent died before the line above
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
    if isinstance(job, CameraJob):
        raise NotImplementedError("live cameras")
    try:
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
