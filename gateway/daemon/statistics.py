"""What was counted since the start, as one message."""

from importlib.metadata import PackageNotFoundError, version

from gateway.contract.states import CameraStats, OutboxStats
from gateway.daemon.cameras import Camera
from gateway.delivery.outbox import OutboxStatus


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
