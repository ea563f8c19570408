"""What the demo tells while it runs, and what it ends with."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway.contract import messages
from gateway.demo.passages import Passage
from gateway.demo.tally import Tally
from gateway.screening import decide


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Started:
    """Broker and detector are ready."""

    broker: BrokerAddress
    is_embedded: bool
    topic: str
    model: messages.ModelIdentity
    seed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `of` frames have been drawn or screened."""

    doing: Literal["drawing", "calibrating", "screening"]
    done: int
    of: int


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The clean passages are over: `tracks` of `passages` are the camera's calibration now."""

    tracks: int
    passages: int
    reference: decide.Reference | None


@dataclass(frozen=True, slots=True)
class AlertPublished:
    """The broker confirmed an alert message; `passage` is what was drawn at that time, None where nobody was."""

    alert: messages.Alert
    passage: Passage | None


@dataclass(frozen=True, slots=True)
class TrackJudged:
    """A track at the gate is over."""

    verdict: messages.VerdictData
    passage: Passage | None


DemoEvent = Started | Progress | Calibrated | AlertPublished | TrackJudged
Listen = Callable[[DemoEvent], None]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What was caught, what was missed, and which of the published alert messages never arrived."""

    tally: Tally
    reference: decide.Reference | None
    published: frozenset[str]
    lost: frozenset[str]

    @property
    def passed(self) -> bool:
        """Whether every trigger was caught and every alert arrived; false alarms are told, not failed on."""
        return self.tally.count("caught") == self.tally.triggered and not self.lost

    @property
    def false_alarms_expected(self) -> float:
        """How many of the clean passages are flagged on average at the rate that decided; NaN where nothing did."""
        clean = len(self.tally.rows) - self.tally.triggered
        return math.nan if self.reference is None else clean * self.reference.false_alarm_rate
