"""Whether a camera gets less attention than it asked for, because the box has too little time; pure, times are given.

Said when losses have gone on for `SUSTAINED_S`: a few frames are lost whenever a worker warms up, and that is no state
of a camera. Losses further apart than `TOGETHER_S` do not go on, they happened. Taken back when
nothing was lost for `CALM_S`, and no change follows another within `HOLD_S`: a box at its limit would otherwise say
both words many times a second.
"""

SUSTAINED_S = 3.0
TOGETHER_S = 2.5
CALM_S = 10.0
HOLD_S = 5.0
REPLACED_SHARE = 0.1
"""Share of the frames that were due which a newer one may replace before that counts as overload."""


class Overload:
    """The overload of one camera."""

    def __init__(self) -> None:
        self.is_on = False
        self._losing_since_s = float("inf")
        self._lost_at_s = float("-inf")
        self._changed_at_s = float("-inf")

    def lose(self, now_s: float) -> None:
        """Note that a face or a frame was given up."""
        if now_s - self._lost_at_s > TOGETHER_S:
            self._losing_since_s = now_s
        self._lost_at_s = now_s

    def advance(self, now_s: float) -> bool:
        """Return whether `is_on` changed; call it whenever the camera says something."""
        if self.is_on:
            loses = now_s - self._lost_at_s < CALM_S
        else:
            loses = self._lost_at_s - self._losing_since_s >= SUSTAINED_S and now_s - self._lost_at_s <= TOGETHER_S
        if loses == self.is_on or now_s - self._changed_at_s < HOLD_S:
            return False
        self.is_on, self._changed_at_s = loses, now_s
        return True


def replaces_too_many(*, replaced: int, looked_at: int) -> bool:
    """Return whether of the frames that were due since the last word too many were replaced by newer ones."""
    return replaced > REPLACED_SHARE * (replaced + looked_at)
