"""A socket that stands for systemd and hears what a service tells it."""

import socket
from pathlib import Path
from typing import Self


class FakeManager:
    """Listens at `notify` in a folder, or at an abstract name; `environment` is what systemd would set."""

    def __init__(self, where: Path | str, *, watchdog_s: float | None = None) -> None:
        self.address = str(where / "notify") if isinstance(where, Path) else where
        self.environment = {"NOTIFY_SOCKET": self.address}
        if watchdog_s is not None:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(60.0)

    def __enter__(self) -> Self:
        """Listen."""
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        return self

    def __exit__(self, *_: object) -> None:
        """Hear no more."""
        self._socket.close()

    def read(self) -> list[str]:
        """Return the words of the next message."""
        return self._socket.recv(4096).decode().splitlines()

    def until(self, word: str) -> list[str]:
        """Return the next message that holds a word."""
        while True:
            if word in (words := self.read()):
                return words

    def waiting(self) -> list[list[str]]:
        """Return what has been said and not been read, at once."""
        self._socket.setblocking(False)
        said = []
        try:
            while True:
                said.append(self.read())
        except BlockingIOError:
            return said
        finally:
            self._socket.settimeout(60.0)
