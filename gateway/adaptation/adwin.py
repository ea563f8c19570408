"""ADWIN (Bifet and Gavaldà, 2007): the mean of a bounded signal over the longest window in which it did not change.

Values are kept in an exponential histogram, so memory grows with the logarithm of the window's length. Own code: the
package that has it brings a compiler's worth of dependencies.
"""

import math
from dataclasses import dataclass, field

MAX_ROWS_OF_A_SIZE = 5
MIN_SIDE = 10  # samples on each side of a cut
_LOOK_EVERY = 8


@dataclass(slots=True)
class Adwin:
    """Values within 0..1. `rows` are (count, sum, sum of squares), the oldest first, counts being powers of two."""

    delta: float
    rows: list[tuple[int, float, float]] = field(default_factory=list)
    seen: int = 0

    @property
    def width(self) -> int:
        """How many values the window holds."""
        return sum(count for count, _, _ in self.rows)

    @property
    def mean(self) -> float:
        """The mean of the window; 0 when it is empty."""
        width = self.width
        return sum(total for _, total, _ in self.rows) / width if width else 0.0

    def add(self, value: float) -> bool:
        """Take a value in; return whether the window was cut because the mean has changed."""
        self.seen += 1
        value = min(1.0, max(0.0, value))
        self.rows.append((1, value, value * value))
        self._compress()
        if self.seen % _LOOK_EVERY:
            return False
        is_cut = False
        while (cut := self._cut()) is not None:
            del self.rows[:cut]
            is_cut = True
        return is_cut

    def _compress(self) -> None:
        """Join the two oldest rows of a size wherever there are too many of it."""
        size = 1
        while True:
            places = [place for place, (count, _, _) in enumerate(self.rows) if count == size]
            if len(places) <= MAX_ROWS_OF_A_SIZE:
                return
            first, second = places[:2]
            (_, total, squares), (_, more, more_squares) = self.rows[first], self.rows[second]
            self.rows[first : second + 1] = [(2 * size, total + more, squares + more_squares)]
            size *= 2

    def _cut(self) -> int | None:
        """Return how many of the oldest rows differ from the others by more than chance allows, or None."""
        width, total = self.width, sum(total for _, total, _ in self.rows)
        if width < 2 * MIN_SIDE:
            return None
        variance = max(0.0, sum(squares for _, _, squares in self.rows) / width - (total / width) ** 2)
        log_term = math.log(2.0 * math.log(max(width, 3)) / self.delta)
        old_count, old_total = 0, 0.0
        for place, (count, subtotal, _) in enumerate(self.rows[:-1], start=1):
            old_count += count
            old_total += subtotal
            new_count = width - old_count
            if old_count < MIN_SIDE or new_count < MIN_SIDE:
                continue
            harmonic = 1.0 / (1.0 / (old_count - MIN_SIDE + 1) + 1.0 / (new_count - MIN_SIDE + 1))
            bound = math.sqrt(2.0 / harmonic * variance * log_term) + 2.0 / (3.0 * harmonic) * log_term
            if abs(old_total / old_count - (total - old_total) / new_count) > bound:
                return place
        return None
