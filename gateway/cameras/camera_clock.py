"""When a frame was captured, in UTC: by the camera's own clock where it says it and is believable, else by arrival.

A network camera ties its time stamps to its wall clock now and then (RTCP sender reports); FFmpeg hands the time on
with each packet that follows. Such a report may come late, jump, or be absurd: cameras boot in 1970 or live in another
time zone. So each time is held against our own clock when it is used, never once and for all, which also settles what
happens when either clock is set: the next frame has the new time.

All times are parameters; nothing here reads a clock.
"""

import struct

from gateway.values import ClockSource

MOST_BEHIND_S = 10.0
"""A frame that claims to be older than this when it arrives: no camera holds frames so long, so its clock is wrong."""

MOST_AHEAD_S = 1.0
"""Nothing arrives before it was captured; this much is forgiven to two clocks that are set by time servers."""

DOUBT_S = 0.5
"""A clock that was not believed must be so far inside these limits. One that lies at a limit would else be believed
with one frame and not with the next, and every change is a step in time, which ends the tracks of all faces."""

_PRODUCER_REFERENCE_TIME = struct.Struct("=qi")  # AVProducerReferenceTime: UTC in µs since 1970, flags


def reference_time_s(side_data: bytes) -> float | None:
    """Return the UTC time that FFmpeg's side data `prft` of a packet tells, or None where it is of another shape."""
    if len(side_data) < _PRODUCER_REFERENCE_TIME.size:
        return None
    wall_us, _ = _PRODUCER_REFERENCE_TIME.unpack_from(side_data)
    return float(wall_us / 1e6)


class CameraClock:
    """Turns the time stamps of one stream into UTC."""

    def __init__(self) -> None:
        self._zero_utc_s: float | None = None
        self._doubt_s = 0.0

    def report(self, stamp_s: float, utc_s: float) -> None:
        """Take note that the camera's clock showed `utc_s` at the time stamp `stamp_s`."""
        self._zero_utc_s = utc_s - stamp_s

    def read(self, stamp_s: float | None, *, arrived_utc_s: float) -> tuple[float, ClockSource]:
        """Return when the frame of a time stamp was captured, given when it arrived by our own clock."""
        if stamp_s is not None and self._zero_utc_s is not None:
            captured_s = self._zero_utc_s + stamp_s
            if self._doubt_s - MOST_BEHIND_S <= captured_s - arrived_utc_s <= MOST_AHEAD_S - self._doubt_s:
                self._doubt_s = 0.0
                return captured_s, ClockSource.RTCP_NTP
            self._doubt_s = DOUBT_S
        return arrived_utc_s, ClockSource.ARRIVAL
