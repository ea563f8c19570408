"""How large batches are and how long they take, counted in steps, as monitoring wants them."""

from bisect import bisect_left
from dataclasses import dataclass, field

FACES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(slots=True)
class Histogram:
    """How many values lay up to each of `bounds`."""

    bounds: tuple[float, ...]
    count: int = 0
    sum: float = 0.0
    _steps: list[int] = field(default_factory=list)

    def note(self, value: float) -> None:
        """Take one more value."""
        self._steps = self._steps or [0] * (len(self.bounds) + 1)
        self._steps[bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.sum += value

    def cumulated(self) -> tuple[int, ...]:
        """Return for each bound how many values were at most that."""
        total, cumulated = 0, []
        for steps in self._steps[: len(self.bounds)] or [0] * len(self.bounds):
            total += steps
            cumulated.append(total)
        return tuple(cumulated)


class Measured:
    """Batches since the start: their faces, and by device the seconds each took."""

    def __init__(self) -> None:
        self.faces = Histogram(FACES)
        self.took_s: dict[str, Histogram] = {}

    def note(self, faces: int, *, took_s: float, device: str) -> None:
        """Take one more batch."""
        self.faces.note(faces)
        self.took_s.setdefault(device, Histogram(SECONDS)).note(took_s)
