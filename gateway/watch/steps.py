"""What the core tells its driver to do or to say."""

from dataclasses import dataclass
from typing import Literal

from gateway.watch.reading import Numbered

LostReason = Literal["gone", "unanswered", "too_many_gaps"]


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message that this subscriber has not had before; `late` where it fills a gap."""

    reading: Numbered
    late: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Publish a request for the numbers from `first` to `last`; None asks every box."""

    source: str | None
    requester: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapNoticed:
    """These numbers did not arrive, and nothing of them is on its way any more."""

    source: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapFilled:
    """The last of these numbers has arrived, so long after the gap began."""

    source: str
    first: int
    last: int
    after_s: float


@dataclass(frozen=True, slots=True)
class GapLost:
    """These numbers are not asked for any more: the box has them no longer, or nobody answers."""

    source: str
    first: int
    last: int
    reason: LostReason


@dataclass(frozen=True, slots=True)
class HeldBack:
    """These numbers were held back by the box's flood control; they can be had by asking for them."""

    source: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Renumbered:
    """The box counts anew: its outbox was lost or replaced."""

    source: str
    seq: int


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The box never said what its newest number is: what came after the newest known may be lost unnoticed."""

    source: str


@dataclass(frozen=True, slots=True)
class Garbled:
    """A message that cannot be read, or a known `id` with other content."""

    topic: str
    reason: str


Step = Deliver | Ask | GapNoticed | GapFilled | GapLost | HeldBack | Renumbered | NoAnswer | Garbled
