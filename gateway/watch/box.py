"""The line of numbers of one box: what has arrived, what is missing, and what was asked for.

Pure: the time is a parameter. One request is under way at a time. A missing range is asked for when it has not shrunk
for `PATIENCE_S`: behind an outage the newest alerts come first and the older ones follow by themselves.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

from gateway.contract.messages import ReplayEnd
from gateway.watch.gaps import Missing, Range
from gateway.watch.reading import Span
from gateway.watch.steps import Ask, GapFilled, GapLost, GapNoticed, HeldBack, LostReason, NoAnswer, Renumbered, Step

PATIENCE_S = 0.5
ANSWER_S = 2.0
MAX_ASKED = 1_000
MAX_ATTEMPTS = 8
MAX_SEQ = 2**53 - 1
_LAST_BACKOFF_S = 30.0


class Fate(Enum):
    """What becomes of a message."""

    NEW = auto()
    LATE = auto()
    DUPLICATE = auto()


@dataclass(frozen=True, slots=True)
class Position:
    """How far a box's line is known; what a subscriber keeps over a restart."""

    source: str
    highest: int
    newest_s: float
    missing: tuple[Span, ...] = ()
    quiet: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    requester: str
    first: int
    last: int
    deadline_s: float
    tail: bool = False


@dataclass(slots=True)
class _Gap:
    first: int
    last: int
    noticed_s: float
    left: int


def backoff_s(attempts: int) -> float:
    """Return how long to wait after so many requests that brought nothing."""
    return min(0.5 * 2.0 ** min(attempts, 16), _LAST_BACKOFF_S)


class Box:
    """One box as a subscriber knows it. `name` makes the requests' names, which answers repeat."""

    def __init__(self, position: Position, *, name: str, now_s: float, floor: int = -1) -> None:
        self.source = position.source
        self._name = name
        self._numbers = itertools.count(1)
        self._highest = position.highest
        self._newest_s = position.newest_s
        self._floor = floor  # nobody wants what lies at or below
        asked_for = [Range(*span, noticed_s=now_s, ask_at_s=now_s) for span in position.missing]
        quiet = [Range(*span, noticed_s=now_s, ask_at_s=now_s, quiet=True) for span in position.quiet]
        self._missing = Missing(asked_for + quiet)
        self._gaps: dict[int, _Gap] = {}
        self._gap_numbers = itertools.count(1)
        self._asked: _Asked | None = None
        self._tail_at_s: float | None = None
        self._tail_attempts = 0

    @classmethod
    def beginning_at(cls, seq: int, source: str, *, name: str, now_s: float) -> "Box":
        """Return a box whose first message is about to be taken; what came before is not asked for."""
        before = ((0, seq - 1),) if seq > 0 else ()
        return cls(Position(source, seq - 1, float("-inf"), quiet=before), name=name, now_s=now_s)

    @property
    def position(self) -> Position:
        """How far the line is known now."""
        ranges = self._missing.ranges
        missing, quiet = (
            tuple((one.first, one.last) for one in ranges if one.quiet is wanted) for wanted in (False, True)
        )
        return Position(self.source, self._highest, self._newest_s, missing, quiet)

    def take(self, seq: int, happened_s: float, *, now_s: float, known: bool) -> tuple[Fate, list[Step]]:
        """Take a message's number; `known` says that this very message was here before."""
        if self._asked is not None and self._asked.first <= seq <= self._asked.last:
            self._asked = replace(self._asked, deadline_s=now_s + ANSWER_S)
        fate, steps = self._place(seq, happened_s, now_s=now_s, known=known)
        if fate is not Fate.DUPLICATE:
            self._newest_s = max(self._newest_s, happened_s)
        return (Fate.DUPLICATE if known else fate), steps

    def _place(self, seq: int, happened_s: float, *, now_s: float, known: bool) -> tuple[Fate, list[Step]]:
        if seq > self._highest:
            steps = self._reach(seq - 1, now_s)
            self._highest = seq
            return Fate.NEW, steps
        # What was here before, or was left out on purpose, is not newer than all that came: then the box counts anew.
        anew = not known and seq > self._floor and happened_s > self._newest_s
        hit = self._missing.take(seq, ask_at_s=now_s + PATIENCE_S)
        if hit is not None and not (anew and hit.quiet and not hit.gap):
            return Fate.LATE, self._fill(hit, now_s)
        return self._count_anew(seq) if anew else (Fate.DUPLICATE, [])

    def _count_anew(self, seq: int) -> tuple[Fate, list[Step]]:
        self._highest, self._asked, self._newest_s = seq, None, float("-inf")
        self._missing = Missing([Range(0, seq - 1, noticed_s=0.0, ask_at_s=0.0, quiet=True)] if seq > 0 else [])
        self._gaps.clear()
        return Fate.NEW, [Renumbered(self.source, seq)]

    def _reach(self, last: int, now_s: float) -> list[Step]:
        """Everything up to `last` exists; what of it has not arrived is missing."""
        if last <= self._highest:
            return []
        new = Range(self._highest + 1, last, noticed_s=now_s, ask_at_s=now_s + PATIENCE_S)
        self._highest = last
        return self._lose(self._missing.add(new), "too_many_gaps")

    def _fill(self, hit: Range, now_s: float) -> list[Step]:
        gap = self._gaps.get(hit.gap)
        if gap is None:
            return []
        gap.left -= 1
        if gap.left:
            return []
        del self._gaps[hit.gap]
        return [GapFilled(self.source, gap.first, gap.last, now_s - gap.noticed_s)]

    def _lose(self, ranges: Iterable[Range], reason: LostReason) -> list[Step]:
        steps: list[Step] = []
        for one in ranges:
            self._strike(one)
            steps.append(GapLost(self.source, one.first, one.last, reason))
        return steps

    def _strike(self, one: Range) -> None:
        """Count a range out of the gap under which it was told."""
        gap = self._gaps.get(one.gap)
        if gap is not None:
            gap.left -= one.count
            if gap.left <= 0:
                del self._gaps[one.gap]

    def forget(self, gone: Iterable[Span]) -> list[Step]:
        """The box says that it can give these no more."""
        return self._lose([one for span in gone for one in self._missing.silence(*span)], "gone")

    def hold_back(self, held: Iterable[Span]) -> list[Step]:
        """The box says that it kept these back on purpose."""
        steps: list[Step] = []
        for span in held:
            for one in self._missing.silence(*span):
                self._strike(one)
                steps.append(HeldBack(self.source, one.first, one.last))
        return steps

    def ask_again(self, now_s: float) -> None:
        """The way to the box is new: ask for what is missing, and for what may have come after the newest known."""
        soon_s = now_s + PATIENCE_S
        self._asked = None
        # What is due already stays due: a box that comes and goes all the time is asked between two falls.
        self._tail_at_s = soon_s if self._tail_at_s is None else min(self._tail_at_s, soon_s)
        self._tail_attempts = 0
        self._missing.change(0, MAX_SEQ, lambda one: replace(one, attempts=0, ask_at_s=min(one.ask_at_s, soon_s)))

    @property
    def next_s(self) -> float | None:
        """When there is something to do."""
        if self._asked is not None:
            return self._asked.deadline_s
        times = [time_s for time_s in (self._missing.next_s, self._tail_at_s) if time_s is not None]
        return min(times, default=None)

    def tick(self, now_s: float) -> list[Step]:
        """Give up on an answer that is overdue, and ask for the next."""
        steps: list[Step] = []
        if self._asked is not None and self._asked.deadline_s <= now_s:
            steps += self._end_asking(self._asked, None, now_s)
        if self._asked is None:
            steps += self._ask(now_s)
        return steps

    def _ask(self, now_s: float) -> list[Step]:
        span = self._missing.due(now_s, at_most=MAX_ASKED)
        tail = span is None
        if span is None:
            if self._tail_at_s is None or self._tail_at_s > now_s:
                return []
            if self._highest >= MAX_SEQ:  # nothing can come after it
                self._tail_at_s = None
                return []
            span = self._highest + 1, MAX_SEQ
        steps = self._notice(*span)
        requester = f"{self._name}-{next(self._numbers)}"
        self._asked = _Asked(requester, *span, deadline_s=now_s + ANSWER_S, tail=tail)
        return [*steps, Ask(self.source, requester, *span)]

    def _notice(self, first: int, last: int) -> list[Step]:
        """Tell of each range in [first, last] of which nothing was told yet."""
        steps: list[Step] = []

        def told(one: Range) -> Range:
            if one.gap:
                return one
            number = next(self._gap_numbers)
            self._gaps[number] = _Gap(one.first, one.last, one.noticed_s, one.count)
            steps.append(GapNoticed(self.source, one.first, one.last))
            return replace(one, gap=number)

        self._missing.change(first, last, told)
        return steps

    def answered(self, end: ReplayEnd, *, now_s: float) -> list[Step]:
        """Take the end of a replay; those that others asked for tell as much as ours."""
        steps = self.forget(end.missing)
        steps += self._reach(min(end.last_seq, MAX_SEQ), now_s)
        asked = self._asked
        if asked is None or end.requester != asked.requester:
            return steps
        if end.answered_to_seq is None:
            return steps + self._end_asking(asked, None, now_s)
        return steps + self._end_asking(asked, min(end.answered_to_seq, asked.last), now_s)

    def _end_asking(self, asked: _Asked, answered_to: int | None, now_s: float) -> list[Step]:
        """The request is over: whatever still misses of what it covered was asked for in vain."""
        self._asked = None
        if asked.tail:
            self._tail_attempts += 1
            over = answered_to is not None or self._tail_attempts >= MAX_ATTEMPTS
            self._tail_at_s = None if over else now_s + backoff_s(self._tail_attempts)
            return [NoAnswer(self.source)] if over and answered_to is None else []

        def later(one: Range) -> Range:
            return replace(one, attempts=one.attempts + 1, ask_at_s=now_s + backoff_s(one.attempts))

        if answered_to is not None and answered_to < asked.first:
            answered_to = None  # the box has never come so far
        last = asked.last if answered_to is None else answered_to
        hit = self._missing.change(asked.first, last, later)
        if answered_to is not None:  # the answer was cut short, or the gap is longer than one request: go on at once
            self._missing.change(last + 1, last + MAX_ASKED, lambda one: replace(one, ask_at_s=now_s))
        given_up = [one for one in hit if one.attempts + 1 >= MAX_ATTEMPTS]
        silenced = [part for one in given_up for part in self._missing.silence(one.first, one.last)]
        return self._lose(silenced, "unanswered")
