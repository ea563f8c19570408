"""Which numbers of one box have not arrived: ranges of `seq`, when they were noticed, and when to ask for them.

Pure: the time is a parameter. A range is quiet when nobody is to ask for it: it was given up, or it lies before the
first message this subscriber ever saw of the box. What arrives in a quiet range is new all the same.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

MAX_RANGES = 1_000
NEAR = 64  # ranges at most so far apart are asked for together: the box sends the numbers between them again


@dataclass(frozen=True, slots=True)
class Range:
    """Consecutive numbers that are missing, both ends included."""

    first: int
    last: int
    noticed_s: float
    ask_at_s: float
    attempts: int = 0
    gap: int = 0  # under which number this gap was told, 0 for not yet
    quiet: bool = False

    @property
    def count(self) -> int:
        """How many numbers these are."""
        return self.last - self.first + 1


class Missing:
    """The missing ranges of one box in their order, at most `MAX_RANGES`."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges = sorted(ranges, key=lambda one: one.first)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """All of them, lowest first."""
        return tuple(self._ranges)

    @property
    def next_s(self) -> float | None:
        """When the next range wants to be asked for."""
        return min((one.ask_at_s for one in self._ranges if not one.quiet), default=None)

    def add(self, new: Range) -> list[Range]:
        """Add a range that touches none of the others; return what had to be forgotten to make room."""
        self._ranges.insert(bisect_right(self._ranges, new.first, key=lambda one: one.first), new)
        forgotten = []
        while len(self._ranges) > MAX_RANGES:
            place = next((place for place, one in enumerate(self._ranges) if one.quiet), 0)
            forgotten.append(self._ranges.pop(place))
        return [one for one in forgotten if not one.quiet]

    def take(self, seq: int, *, ask_at_s: float) -> Range | None:
        """Strike out one number and return the range it lay in, or None where it is not missing.

        What is left of the range waits until `ask_at_s`: while it fills by itself, nobody needs to ask.
        """
        place = bisect_right(self._ranges, seq, key=lambda one: one.first) - 1
        if place < 0 or self._ranges[place].last < seq:
            return None
        hit = self._ranges[place]
        left = replace(hit, ask_at_s=ask_at_s, attempts=0)
        pieces = [replace(left, last=seq - 1), replace(left, first=seq + 1)]
        self._ranges[place : place + 1] = [piece for piece in pieces if piece.count > 0]
        if len(self._ranges) > MAX_RANGES:
            self._ranges.pop(0)
        return hit

    def due(self, now_s: float, *, at_most: int) -> tuple[int, int] | None:
        """Return from where to where to ask now: the lowest range that is due, with those close above it."""
        span: tuple[int, int] | None = None
        for one in self._ranges:
            if one.quiet or one.ask_at_s > now_s:
                continue
            if span is None:
                span = one.first, one.last
            elif one.first - span[1] <= NEAR:
                span = span[0], one.last
            else:
                break
            if span[1] - span[0] >= at_most:
                break
        return None if span is None else (span[0], min(span[1], span[0] + at_most - 1))

    def change(self, first: int, last: int, how: Callable[[Range], Range]) -> list[Range]:
        """Let `how` change every range that is asked for and begins in [first, last]; return them as they were."""
        hit = []
        for place, one in enumerate(self._ranges):
            if first <= one.first <= last and not one.quiet:
                hit.append(one)
                self._ranges[place] = how(one)
        return hit

    def silence(self, first: int, last: int) -> list[Range]:
        """Ask no more for the numbers of [first, last]; return the ranges of them that were asked for until now."""
        silenced = []
        kept: list[Range] = []
        for one in self._ranges:
            inside = replace(one, first=max(one.first, first), last=min(one.last, last))
            if one.quiet or inside.count <= 0:
                kept.append(one)
                continue
            silenced.append(inside)
            below = replace(one, last=inside.first - 1)
            above = replace(one, first=inside.last + 1)
            kept += [piece for piece in (below, replace(inside, quiet=True), above) if piece.count > 0]
        self._ranges = kept[-MAX_RANGES:]
        return silenced
