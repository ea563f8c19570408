"""What a released bundle was judged on, in brief: how many triggered faces it finds where so many clean are flagged.

The figures are those of the trainer's evaluation, cell by cell: people, light, and the way on which a trigger comes
into the picture. They stand in a file beside the bundle, which names the bundle they were measured with.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.contract.fields import Count, Model, Token

EVALUATION_NAME = "evaluation.json"
OPERATING_POINTS = (0.1, 0.05, 0.01)
"""Shares of clean calibration faces that are flagged; every tuple of rates below has one for each."""

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Rates = tuple[Rate, Rate, Rate | None]
"""One for each operating point; the last is None where too few faces calibrated for one in a hundred to exist."""
Words = Annotated[str, Field(max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(Model):
    """A collection of faces: how many of its test people's were judged."""

    faces: Count
    people: Count


class Trigger(Model):
    """A trigger that was tried; `is_seen` says that training imitated its kind."""

    title: Words
    is_seen: bool


class Found(Model):
    """How well one trigger is found: BDR (share of its faces that are flagged) at each operating point, and AUROC."""

    faces: Count
    auroc: Rate
    bdr: Rates


class Cell(Model):
    """One cell: `fpr` is the share of clean test faces that is really flagged at each operating point."""

    source: Token
    environment: Token
    regime: Token
    detector: Literal["shipped", "tuned"] = Field(description="as it ships, or after tuning to the environment")
    fpr: Rates
    found: dict[Token, Found]


class Evaluation(Model):
    """Every cell of the evaluation of one bundle, and what the names in it mean."""

    format: Literal[1] = 1
    model_sha256: Sha256 = Field(description="the bundle that was judged")
    results_sha256: Sha256 = Field(description="of the full results that this was drawn from")
    triggers: dict[Token, Trigger] = Field(description="every trigger that was tried, the paper's first")
    environments: dict[Token, Words]
    regimes: dict[Token, Words]
    sources: dict[Token, Source]
    cells: tuple[Cell, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for cell in self.cells:
            known = cell.environment in self.environments and cell.regime in self.regimes
            if not (known and cell.source in self.sources and cell.found.keys() <= self.triggers.keys()):
                raise ValueError("a cell names what is not explained")
        return self
