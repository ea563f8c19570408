"""What gateway and trainer tell their service manager (systemd): that they are ready, stop, and are alive.

The loop feeds the watchdog, so a loop that is stuck stops feeding it. Every other part has a pulse: how much it has
done, and whether it has anything to do. A part that has work and does none of it, look after look, is wedged; then the
end is asked for at once, because no later ping would tell more. Looks are counted, not seconds: a process that was held
up as a whole, by a machine that swaps or sleeps, looks once when it goes on and accuses nobody.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

TRIGGER = "WATCHDOG=trigger"
"""Asks for the end that a missing ping would bring, now."""

LOOK_S = 1.0
MOST_LOOKS = 7
"""A part that has work is expected to move within so many looks; with the first one it makes less than ten seconds."""


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


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a part has done so far, and whether something waits for it."""

    done: int
    is_busy: bool


class Patience:
    """Counts for each part how often it was looked at without having moved."""

    def __init__(self, most_looks: int = MOST_LOOKS) -> None:
        self._most_looks = most_looks
        self._seen: dict[str, tuple[Pulse, int]] = {}

    def look(self, pulses: Mapping[str, Pulse]) -> tuple[str, ...]:
        """Return the parts that are wedged."""
        seen = {}
        for part, pulse in pulses.items():
            before, still = self._seen.get(part, (pulse, -1))
            has_moved = not pulse.is_busy or not before.is_busy or pulse.done != before.done
            seen[part] = (pulse, 0 if has_moved else still + 1)
        self._seen = seen
        return tuple(part for part, (_, still) in seen.items() if still >= self._most_looks)


class Watchdog:
    """Looks at the parts and feeds the manager's watchdog; where there is none, `run` returns at once."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, Pulse]],
        notifier: Notifier,
        *,
        on_wedged: Callable[[tuple[str, ...]], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_wedged` is told the parts before the end is asked for."""
        self._look = look
        self._notifier = notifier
        self._on_wedged = on_wedged
        self._patience = Patience()
        self._sleep = sleep

    async def run(self) -> None:
        """Feed the watchdog until a part is wedged; then ask for the end."""
        watchdog_s = self._notifier.watchdog_s
        if watchdog_s is None:
            return
        pause_s = min(LOOK_S, watchdog_s / 4)
        while not (wedged := self._patience.look(self._look())):
            self._notifier.tell("WATCHDOG=1")
            await self._sleep(pause_s)
        self._on_wedged(wedged)
        self._notifier.tell(f"STATUS=wedged: {', '.join(wedged)}", TRIGGER)
