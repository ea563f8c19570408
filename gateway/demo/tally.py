"""What was caught and missed: the finished tracks against what was drawn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.contract import messages
from gateway.demo.passages import Passage, passage_at

Outcome = Literal["caught", "missed", "false alarm", "clean"]


@dataclass(frozen=True, slots=True)
class Row:
    """One passage and what the gateway said of it.

    `verdict` is None where no track was found; with several tracks it is the most suspicious one's.
    """

    passage: Passage
    tracks: int
    verdict: messages.VerdictData | None

    @property
    def outcome(self) -> Outcome:
        """How the verdict compares with the truth; a triggered face that is not called triggered is missed."""
        is_alarm = self.verdict is not None and self.verdict.verdict == "triggered"
        if self.passage.trigger is None:
            return "false alarm" if is_alarm else "clean"
        return "caught" if is_alarm else "missed"


@dataclass(frozen=True, slots=True)
class Tally:
    """All passages, and the tracks that belong to none of them."""

    rows: tuple[Row, ...]
    strays: tuple[messages.VerdictData, ...]

    def count(self, outcome: Outcome) -> int:
        """Return how many passages ended like this; an alarm at nobody is a false alarm as well."""
        strays = sum(stray.verdict == "triggered" for stray in self.strays) if outcome == "false alarm" else 0
        return Counter(row.outcome for row in self.rows)[outcome] + strays

    @property
    def triggered(self) -> int:
        """How many passages carried a trigger."""
        return sum(row.passage.trigger is not None for row in self.rows)


def tally(passages: Sequence[Passage], verdicts: Sequence[messages.VerdictData]) -> Tally:
    """Sort the finished tracks of a recording that begins at 0 s into its passages."""
    found: dict[int, list[messages.VerdictData]] = {passage.number: [] for passage in passages}
    strays: list[messages.VerdictData] = []
    for verdict in verdicts:
        passage = passage_at(passages, verdict.start_time, verdict.end_time)
        (strays if passage is None else found[passage.number]).append(verdict)
    rows = (Row(passage, len(found[passage.number]), _worst(found[passage.number])) for passage in passages)
    return Tally(tuple(rows), tuple(strays))


def _worst(verdicts: Sequence[messages.VerdictData]) -> messages.VerdictData | None:
    return max(verdicts, key=_suspicion, default=None)


def _suspicion(verdict: messages.VerdictData) -> tuple[bool, bool, float]:
    return verdict.verdict == "triggered", verdict.score is not None, verdict.score or 0.0
