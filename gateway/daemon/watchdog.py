"""Tells systemd that the daemon is alive, for as long as its work moves.

The loop feeds the watchdog, so a loop that is stuck stops feeding it. Every other part has a pulse: how much it has
done, and whether it has anything to do. A part that has work and does none of it, look after look, is wedged; then the
end is asked for at once, because no later ping would tell more. Looks are counted, not seconds: a process that was held
up as a whole, by a machine that swaps or sleeps, looks once when it goes on and accuses nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from gateway.daemon.daemon import Daemon
from gateway.service.notify import TRIGGER, Notifier

LOOK_S = 1.0
MOST_LOOKS = 7
"""A part that has work is expected to move within so many looks; with the first one it makes less than ten seconds."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a part has done so far, and whether something waits for it."""

    done: int
    is_busy: bool


def pulses_of(daemon: Daemon) -> dict[str, Pulse]:
    """Return the pulse of every part that could be stuck while the loop runs.

    A camera may be silent for long, and a worker that hangs is replaced by who reads it; what must not last is taking
    one of its events.
    """
    pulses = {f"camera:{each.name}": Pulse(each.frames.events, each.is_taking) for each in daemon.cameras.all}
    pulses |= {f"screen:{name}": Pulse(done, busy) for name, (done, busy) in daemon.environments.work.items()}
    kept = daemon.obligations
    # A disk that is known to take nothing is waited for; ending would only lose what waits in memory.
    pulses["outbox"] = Pulse(kept.accepted + kept.lost, kept.waiting > 0 and "outbox" not in daemon.postman.troubles)
    turns = daemon.postman.link.turns
    pulses["publisher"] = Pulse(turns or 0, turns is not None)
    return pulses


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
    """Looks at the parts and feeds systemd's watchdog; where there is none, `run` returns at once."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, Pulse]],
        notifier: Notifier,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._look = look
        self._notifier = notifier
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
        _log.critical("wedged", parts=wedged)
        self._notifier.tell(f"STATUS=wedged: {', '.join(wedged)}", TRIGGER)
