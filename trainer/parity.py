"""Ours beside the paper's Tables III and IV: is the paper's BDR inside or below our interval, at no higher an FPR?"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from trainer.published import ENVIRONMENTS, TABLES, TRIGGERS, Table

READ_AS: Mapping[str, str] = MappingProxyType({name: name for name in ENVIRONMENTS} | {"bright": "brightness"})
"""Our environments that are compared with one of the paper's: its brightness may mean changing or brighter light."""


def published_rates(environment: str) -> tuple[float, ...]:
    """Return the FPRs, as shares, that the paper states for an environment."""
    name = READ_AS.get(environment)
    return tuple(sorted({table.fpr[name] / 100 for table in TABLES})) if name else ()


def compare(cells: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one entry a source, table, environment and trigger; `columns` names the trigger of each column.

    `cells` are those of the authors' protocol, tuned by `last2`.
    """
    by_place = {
        (cell["source"], cell["environment"]): cell["measures"]
        for cell in cells
        if cell["regime"] == "authors" and cell["detector"] == "last2"
    }
    sources = list(dict.fromkeys(source for source, _ in by_place))
    return [
        _entry(source, table, environment, trigger, measured)
        for source in sources
        for table in TABLES
        for environment in READ_AS
        if (source, environment) in by_place
        for trigger, measured in _measured(by_place[source, environment], columns)
        if _point(table, environment) in measured["bdr"]
    ]


def _point(table: Table, environment: str) -> str:
    """Return the name of the operating point; so few calibration faces that it cannot be had leave it out."""
    return f"paper {table.fpr[READ_AS[environment]]:g}%"


def _measured(measures: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for trigger in TRIGGERS:
        if trigger == "gan" and measures["gan"] is not None:
            # Their clean faces are the unedited inputs: the source's own faces say nothing of this collection.
            yield trigger, {"bdr": measures["gan"]["bdr"], "fpr": measures["gan"]["inputs"]}
        elif columns.get(trigger) in measures["triggers"]:
            yield trigger, {"bdr": measures["triggers"][columns[trigger]]["bdr"], "fpr": measures["fpr"]}


def _entry(source: str, table: Table, environment: str, trigger: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    rate = table.fpr[READ_AS[environment]]
    name = _point(table, environment)
    place = TRIGGERS.index(trigger)
    paper_bdr = table.after[READ_AS[environment]].bdr[place]
    ours, fpr = measured["bdr"][name], measured["fpr"][name]
    low, high = ours.get("by_person", (ours["low"], ours["high"]))
    reached = 100 * high + 1e-9 >= paper_bdr
    within = 100 * fpr["value"] <= rate
    return {
        "source": source,
        "table": table.name,
        "environment": environment,
        "trigger": trigger,
        "paper_bdr": paper_bdr,
        "paper_fpr": rate,
        "bdr": round(100 * ours["value"], 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
        "n": ours["n"],
        "fpr": round(100 * fpr["value"], 2),
        "fpr_faces": fpr["n"],
        "holds": bool(reached and within),
        "reason": _reason(reached=reached, within=within, edited=trigger == "gan"),
    }


def _reason(*, reached: bool, within: bool, edited: bool) -> str | None:
    if reached and within:
        return None
    missed = "" if reached else "the paper's BDR lies above our interval"
    over = "" if within else "our FPR came out above the paper's"
    where = "the thresholds come from another collection than the edited faces" if edited else ""
    return "; ".join(part for part in (missed, over, where) if part)
