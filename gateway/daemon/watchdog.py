"""What of the daemon must move for systemd to be told that it is alive; how that is told is the contract's."""

import structlog

from gateway.contract.supervision import Pulse
from gateway.daemon.daemon import Daemon

_log = structlog.get_logger()


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


def say_wedged(parts: tuple[str, ...]) -> None:
    """Log which parts do not move, the last thing before the end is asked for."""
    _log.critical("wedged", parts=parts)
