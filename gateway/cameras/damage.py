"""Which frames a damaged recording spoils.

Only the frame that was hit is marked by its decoder. The harm lasts until the next keyframe, and it reaches back:
frames that are shown before the marked one may have been predicted from it (B-frames), so they are held until it has
come out.
Damage that a decoder does not notice cannot be known here.
"""

from typing import Generic, Protocol, TypeVar

LONGEST_RUN = 16
"""Frames that are held at most: no codec predicts from further ahead."""

_B_FRAME = 3


class DecodedFrame(Protocol):
    """What is asked of a frame of PyAV."""

    pts: int | None
    is_corrupt: bool
    key_frame: int
    pict_type: int


_Frame = TypeVar("_Frame", bound=DecodedFrame)


class DamageFilter(Generic[_Frame]):
    """Takes decoded frames in the order they are shown and gives them back in it, each with whether it is spoiled."""

    def __init__(self) -> None:
        self._is_damaged = False
        self._since_pts: int | None = None
        self._held: list[tuple[_Frame, bool]] = []

    def lost(self, pts: int | None) -> None:
        """Take note that a packet of this time stamp could not be read or decoded."""
        self._is_damaged = True
        if pts is not None and (self._since_pts is None or pts > self._since_pts):
            self._since_pts = pts
        self._held = [(frame, True) for frame, _ in self._held]

    def take(self, frame: _Frame, *, reorders: bool) -> list[tuple[_Frame, bool]]:
        """Take the next frame; return those whose state is settled. `reorders` says that B-frames may point ahead."""
        if frame.is_corrupt:
            self.lost(frame.pts)
        elif frame.key_frame and not self._is_before_damage(frame.pts):
            self._is_damaged, self._since_pts = False, None
        self._held.append((frame, self._is_damaged))
        if reorders and frame.pict_type == _B_FRAME and len(self._held) < LONGEST_RUN:
            return []
        return self.flush()

    def flush(self) -> list[tuple[_Frame, bool]]:
        """Return the frames that are held: nothing more comes."""
        settled, self._held = self._held, []
        return settled

    def _is_before_damage(self, pts: int | None) -> bool:
        # Decoders hold frames back: a keyframe from before the damage may come out after the damage was noticed.
        return pts is not None and self._since_pts is not None and pts <= self._since_pts
