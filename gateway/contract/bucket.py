"""How often something may be done; pure, the caller brings the time."""


class Bucket:
    """Tokens: `most` at the start, one taken for each time, so many a second put back; `now_s` never goes back."""

    def __init__(self, most: float, per_s: float, *, now_s: float) -> None:
        self._most = self._tokens = most
        self._per_s = per_s
        self._filled_s = now_s

    def take(self, now_s: float) -> bool:
        """Take a token, or return False where none is left."""
        gained = max(0.0, now_s - self._filled_s) * self._per_s
        self._tokens, self._filled_s = min(self._most, self._tokens + gained), now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def wait_s(self) -> float:
        """How long after the last `take` a token is there again."""
        return max(0.0, 1.0 - self._tokens) / self._per_s
