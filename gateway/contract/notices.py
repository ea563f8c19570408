"""Notices: what became of alerts on their way, numbered like them, so that every loss is itself a published fact.

A notice takes a `seq` of its own on `<prefix>/alerts`. What it says of other messages it says by their `seq`: `gap` of
those that can no longer be had, `flood` of those that were held back and wait to be asked for. `command` tells what a
message from outside made this box do.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from gateway.contract.fields import (
    CameraName,
    Code,
    Count,
    EpochSeconds,
    Event,
    Model,
    Name,
    Positive,
    SeqRange,
    envelope,
)
from gateway.contract.topics import MODEL_ORDER

MAX_RANGES = 512
NO_CAMERA = "alerts"  # the subject of a notice that concerns no camera alone; a word no camera can have


class _Numbered(Model):
    """What every notice says."""

    seq: Count = Field(description="counts the messages on this topic of this box, alerts and notices alike")
    time: EpochSeconds


class _Span(_Numbered):
    from_seq: Count
    to_seq: Count
    count: Positive = Field(description="how many messages from from_seq to to_seq, both included, are meant")

    @model_validator(mode="after")
    def _check_span(self) -> Self:
        if self.to_seq - self.from_seq + 1 < self.count:
            raise ValueError("there are not so many numbers from from_seq to to_seq")
        return self


class Gap(_Span):
    """Messages that can no longer be had, by nobody; `count` of them are gone between the two numbers."""

    kind: Literal["gap"] = "gap"
    reason: Code = Field(description="why: evicted, corrupted, forgotten, not_stored")


class SeverityCounts(Model):
    """How many messages of each severity."""

    watch: Count
    alert: Count
    critical: Count


class Flood(_Span):
    """Alerts of one camera that were held back because too many came; each can be had through `alerts/replay`."""

    kind: Literal["flood"] = "flood"
    camera: CameraName
    held: tuple[SeqRange, ...] = Field(
        min_length=1, max_length=MAX_RANGES, description="which ones, as [first, last], both included"
    )
    severities: SeverityCounts

    @model_validator(mode="after")
    def _check(self) -> Self:
        counted = sum(last - first + 1 for first, last in self.held)
        by_severity = self.severities.watch + self.severities.alert + self.severities.critical
        if not counted == by_severity == self.count:
            raise ValueError("count, held and severities must tell of the same number of messages")
        if (self.held[0][0], self.held[-1][1]) != (self.from_seq, self.to_seq):
            raise ValueError("held must begin at from_seq and end at to_seq")
        return self


class Command(_Numbered):
    """A message from outside that was obeyed."""

    kind: Literal["command"] = "command"
    command: Literal["enabled", "feedback", "model"]
    value: Literal["ON", "OFF", "false_positive", "confirmed"] | Annotated[str, StringConstraints(pattern=MODEL_ORDER)]
    camera: CameraName | None = Field(description="which was switched")
    alert_id: Name | None = Field(description="which was judged")
    environment: Name | None = Field(default=None, description="whose bundle was chosen; its model/state tells the end")
    note: str | None = Field(default=None, max_length=500, description="what somebody wrote beside a judgement")


class Degraded(_Numbered):
    """A part of the box works worse than it should; alerts still come."""

    kind: Literal["degraded"] = "degraded"
    part: Code = Field(description="outbox, gpu, config, quality, operating_point")
    reason: Code = Field(
        description="disk_full, read_only, io_error, folder_missing, locked, corrupt, cpu_fallback, refused, "
        "quality, operating_point"
    )


class Recovered(_Numbered):
    """A part that was degraded since a time works again."""

    kind: Literal["recovered"] = "recovered"
    part: Code
    reason: Code = Field(description="what is over")
    since: EpochSeconds


NoticeData = Annotated[Gap | Flood | Command | Degraded | Recovered, Field(discriminator="kind")]


class Notice(Event):
    """A fact about the alerts themselves, on `<prefix>/alerts` in their line of numbers."""

    type: Literal["spectragate.notice.v1"] = "spectragate.notice.v1"
    data: NoticeData

    @classmethod
    def of(cls, data: NoticeData, *, event_id: str, source: str) -> Self:
        """Wrap `data`; subject and time follow from it."""
        return cls(**envelope(event_id, source, _subject(data), happened_s=data.time), data=data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.check_envelope(_subject(self.data), self.data.time)
        return self


def ranges_of(seqs: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return numbers as ascending ranges [first, last], each as long as it can be."""
    ranges: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return tuple(ranges)


def _subject(data: NoticeData) -> str:
    camera = data.camera if isinstance(data, Flood | Command) else None
    return camera or NO_CAMERA
