"""What was counted since the start, as one message, and what the clock did meanwhile."""

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import structlog

from gateway.contract.states import CameraStats, OutboxStats
from gateway.daemon.cameras import Camera
from gateway.delivery.outbox import OutboxStatus

CLOCK_STEP_S = 2.0
"""A wall clock that moved so much against the monotonic one was set by somebody."""

_log = structlog.get_logger()


class ClockSteps:
    """Tells the log where the wall clock was set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._gap_s = clock() - time.monotonic()

    def look(self) -> None:
        """Compare the wall clock with what it was the last time."""
        gap_s = self._clock() - time.monotonic()
        if abs(gap_s - self._gap_s) > CLOCK_STEP_S:
            _log.warning("clock_step", by_s=round(gap_s - self._gap_s, 3))
        self._gap_s = gap_s


def product_version() -> str:
    """Return the version that is installed."""
    try:
        return version("spectragate")
    except PackageNotFoundError:
        return "unknown"


def camera_stats(camera: Camera, *, alerts_held: int) -> CameraStats:
    """Return what was counted for a camera."""
    frames, summary = camera.frames, camera.summary
    return CameraStats(
        camera=camera.name,
        frames_received=frames.received,
        frames_looked_at=frames.looked_at,
        frames_skipped=frames.skipped,
        frames_replaced=frames.replaced,
        frames_damaged=frames.damaged,
        faces_found=summary.faces,
        faces_dropped=summary.faces_dropped,
        faces_shed=summary.faces_shed,
        frame_age_ms=summary.newest_age_ms,
        tracks_clean=summary.verdicts["clean"],
        tracks_triggered=summary.verdicts["triggered"],
        tracks_unsure=summary.verdicts["unsure"],
        alerts_held=alerts_held,
    )


def outbox_stats(status: OutboxStatus) -> OutboxStats:
    """Return how the outbox is."""
    return OutboxStats(
        depth=status.depth,
        oldest_s=status.oldest_s,
        bytes=status.bytes,
        last_seq=status.last_seq,
        evicted=status.alerts_evicted,
        degraded=status.degraded,
    )
