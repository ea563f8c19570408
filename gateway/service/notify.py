"""What systemd is told: that the service is ready, reloads, stops, is alive; where nobody listens, nothing happens."""

import os
import socket
import time
from collections.abc import Mapping

TRIGGER = "WATCHDOG=trigger"
"""Asks for the end that a missing ping would bring, now."""


class Notifier:
    """Speaks to the service manager that started this process, if one did; never waits and never fails."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        asked = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(asked) / 1e6 if self._address and mine and asked.isdecimal() and int(asked) else None

    def tell(self, *words: str) -> bool:
        """Say `NAME=value` words in one message; return whether it went out."""
        if not self._address:
            return False
        # A name in the abstract namespace is written with @ and begins with NUL.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to_manager:
                to_manager.setblocking(False)  # noqa: FBT003 (a method of the socket)
                to_manager.sendto("\n".join(words).encode(), address)
        except OSError:
            return False
        return True

    def ready(self, status: str) -> None:
        """Say that the service does its work, and what that is."""
        self.tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that the configuration is read again; `ready` follows."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the service ends in good order."""
        self.tell("STOPPING=1", "STATUS=stopping")
