"""A worker without a process, for what a real one would never say."""

import os
import socket


class Speaking:
    """Starts workers that say some bytes and hang up."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    async def __call__(self, channel: socket.socket, stderr: int) -> "SpokenWorker":
        """Say it; it must fit into the buffer of a socket."""
        end = channel.dup()
        end.setblocking(False)
        end.sendall(self._said)
        end.shutdown(socket.SHUT_WR)
        return SpokenWorker(end)


class SpokenWorker:
    """Has ended, with status 0."""

    lost = None
    pid = os.getpid()

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def kill(self) -> None:
        """There is nothing to end."""

    async def exit_status(self, within_s: float) -> int | None:
        """Return that all was well."""
        return 0

    def release(self) -> None:
        """Close its end, with the job unread."""
        self._end.close()
