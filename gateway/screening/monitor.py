"""Whether a camera's clean passages are flagged no more often than was promised: a sequential test; pure.

What is tested is the promise itself: given everything before, a passage is flagged with at most the rate that its
reference held when it opened. People come in groups and light stays for a while, so neighbouring passages are flagged
together. Passages are therefore gathered into blocks in which at most `BLOCK_PROMISED` flagged ones are promised, and a
block counts once, flagged or not: by the union bound the promise for the block is the sum of those of its passages,
however much they depend on one another.

On the blocks runs a mixture of Shiryaev-Roberts detectors (Shin, Ramdas and Rinaldo, "E-detectors", 2022), each betting
on one multiple of the promised rate. While the promise holds, a false word comes on average at most once in
`BLOCKS_TO_A_FALSE_WORD` blocks, at any length of the run and without knowing when a change might come. The word is
taken back when the evidence has sunk to the square root of what raised it.

Every alert counts but those an operator confirmed as triggers. Fewer alerts than promised are no fault.

K multiples.
"""

import json
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MULTIPLES = (1.5, 2.0, 3.0, 6.0, 15.0, 50.0)
"""How many times the promised rate the detectors bet on."""

BLOCK_PROMISED = 0.1
BLOCK_TRACKS = 200
"""A block is full with so many promised alerts, or passages."""

BLOCKS_TO_A_FALSE_WORD = 100_000.0
KEPT_BLOCKS = 400
"""So many blocks can still lose an alert that turns out to be a trigger; older ones have become one number."""

_MOST_RATE = 0.5
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Realised:
    """What a camera did with what it promised: judged passages, promised alerts among them, and alerts there were."""

    tracks: int
    promised: float
    alerts: int
    exceeds: bool


@dataclass(slots=True)
class _Block:
    """Neighbouring passages: the alerts promised in all, the passages, and the alerts that are not confirmed."""

    promised: float = 0.0
    tracks: int = 0
    alerts: set[str] = field(default_factory=set)

    @property
    def is_full(self) -> bool:
        return self.promised >= BLOCK_PROMISED or self.tracks >= BLOCK_TRACKS


def _stepped(evidence_K: Iterable[float], block: _Block) -> list[float]:
    """Return the detectors' evidence after a block: (M + 1) · likelihood ratio, bounded so that it can sink again."""
    least = min(block.promised, _MOST_RATE)
    after = []
    for evidence, multiple in zip(evidence_K, MULTIPLES, strict=True):
        rate = min(multiple * least, (1.0 + least) / 2.0)
        ratio = rate / least if block.alerts else (1.0 - rate) / (1.0 - least)
        after.append(min((evidence + 1.0) * ratio, BLOCKS_TO_A_FALSE_WORD * len(MULTIPLES)))
    return after


class RateMonitor:
    """Compares realised with promised alerts of one camera under one bundle."""

    def __init__(self) -> None:
        self._before = [0.0] * len(MULTIPLES)  # the evidence before the first block that is kept
        self._blocks: deque[_Block] = deque()
        self._now = list(self._before)
        self._open = _Block()
        self._exceeds = False
        self._tracks = self._alerts = 0
        self._promised = 0.0

    @property
    def realised(self) -> Realised:
        """What there was so far."""
        return Realised(self._tracks, self._promised, self._alerts, self._exceeds)

    def add(self, rate: float, alert_id: str | None) -> None:
        """Take a judged passage: the rate its reference held, and its alert where it was flagged.

        Raises:
            ValueError: The rate does not lie in (0, 1).
        """
        if not 0.0 < rate < 1.0:
            raise ValueError(f"a promised rate lies in (0, 1), not {rate}")
        self._tracks += 1
        self._promised += rate
        block = self._open
        block.tracks += 1
        block.promised += rate
        if alert_id is not None:
            self._alerts += 1
            block.alerts.add(alert_id)
        if block.is_full:
            self._close(block)

    def confirm(self, alert_id: str) -> bool:
        """Take out an alert that was a trigger; return whether it is one of those that are kept."""
        for block in (self._open, *self._blocks):
            if alert_id in block.alerts:
                block.alerts.discard(alert_id)
                self._alerts -= 1
                self._now = list(self._before)
                for each in self._blocks:
                    self._now = _stepped(self._now, each)
                self._judge()
                return True
        return False

    def _close(self, block: _Block) -> None:
        self._open = _Block()
        self._blocks.append(block)
        self._now = _stepped(self._now, block)
        if len(self._blocks) > KEPT_BLOCKS:
            self._before = _stepped(self._before, self._blocks.popleft())
        self._judge()

    def _judge(self) -> None:
        evidence = math.fsum(self._now) / len(MULTIPLES)
        limit = BLOCKS_TO_A_FALSE_WORD
        self._exceeds = evidence >= (math.sqrt(limit) if self._exceeds else limit)

    def to_text(self) -> str:
        """Return it as JSON, so that it survives a restart: what it waits for takes days."""
        return json.dumps(
            {
                "format": _FORMAT,
                "before": self._before,
                "blocks": [_listed(each) for each in self._blocks],
                "open": _listed(self._open),
                "exceeds": self._exceeds,
                "counted": [self._tracks, self._promised, self._alerts],
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: str) -> "RateMonitor":
        """Return the monitor that `to_text` wrote.

        Raises:
            ValueError: It wrote something else.
        """
        try:
            return cls._from(json.loads(text))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"what is kept of a camera's rate of alerts cannot be read: {error!r}") from None

    @classmethod
    def _from(cls, facts: dict[str, Any]) -> "RateMonitor":
        if facts["format"] != _FORMAT or len(facts["before"]) != len(MULTIPLES):
            raise ValueError("what is kept of a camera's rate of alerts has another format")
        monitor = cls()
        monitor._before = [float(each) for each in facts["before"]]
        monitor._blocks = deque(_block(each) for each in facts["blocks"][-KEPT_BLOCKS:])
        monitor._open = _block(facts["open"])
        tracks, promised, alerts = facts["counted"]
        monitor._tracks, monitor._promised, monitor._alerts = int(tracks), float(promised), int(alerts)
        monitor._now = list(monitor._before)
        for each in monitor._blocks:
            monitor._now = _stepped(monitor._now, each)
        monitor._exceeds = bool(facts["exceeds"])
        return monitor


def _listed(block: _Block) -> list[Any]:
    return [block.promised, block.tracks, sorted(block.alerts)]


def _block(facts: list[Any]) -> _Block:
    promised, tracks, alerts = facts
    if not 0.0 <= float(promised) < math.inf:
        raise ValueError("what is kept of a camera's rate of alerts is damaged")
    return _Block(float(promised), int(tracks), {str(each) for each in alerts})
