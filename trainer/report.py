"""The report of an evaluation: one page that needs nothing else, drawn from the results alone.

Examples are the only pictures of faces in it; they are given by whoever has the faces, and are left out otherwise.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

from trainer.charts import Bar, Curve, bar_chart, legend, roc_chart, spectrum_uri
from trainer.examples import Example
from trainer.hard_negatives import HARD_NEGATIVES
from trainer.judging import ALL, ASKED_FPR, name_of
from trainer.published import AUTOENCODER_WORST_BDR, OURS_WORST_BDR, TABLE_II, TABLES, TITLES, TRIGGERS

DETECTORS = {"untuned": "without fine-tuning", "autoencoder": "autoencoder [29]"}
PLANS = {
    "untuned": "no fine-tuning", "fc": "dense layer", "last1": "last conv + dense", "last2": "last 2 conv + dense",
    "last3": "last 3 conv + dense", "all": "whole network", "scratch": "from scratch",
}  # fmt: skip

Cells = Mapping[tuple[str, str, str, str], Mapping[str, Any]]


def page_of(results: Mapping[str, Any], *, examples: Mapping[str, Sequence[Example]] | None = None) -> str:
    """Return the page."""
    cells = {(cell["source"], cell["environment"], cell["regime"], cell["detector"]): cell for cell in results["cells"]}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    environment.filters["interval"] = interval
    template = environment.from_string((files("trainer") / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        results=results,
        titles=TITLES,
        plan_table=[_plan_table(cells, source, results) for source in results["sources"]],
        environment_tables=[_environment_table(cells, source, results) for source in results["sources"]],
        operating_tables=_operating_tables(cells, results),
        hard_tables=_hard_tables(cells, results),
        gan_rows=_gan_rows(cells, results),
        bars=_bars(cells, results),
        bar_legend=legend([f"ours, tuned ({results['plan']})", "autoencoder [29]"]),
        worst=_worst(cells, results),
        published_worst=[(faces, OURS_WORST_BDR[faces], AUTOENCODER_WORST_BDR[faces]) for faces in OURS_WORST_BDR],
        rocs=_rocs(cells, results),
        spectra=[(_title(results, name), spectrum_uri(each)) for name, each in results["spectra"]["mean_log"].items()],
        examples=examples or {},
        rates=[name_of(rate) for rate in ASKED_FPR],
        tables=TABLES,
        held=sum(entry["holds"] for entry in results["parity"]),
    )


def percent(share: float | None) -> str:
    """Return a share as a figure in %."""
    return "–" if share is None else f"{100 * share:.1f}"


def interval(share: Mapping[str, Any] | None) -> str:
    """Return the interval of a counted share in %."""
    return "" if share is None else f"{100 * share['low']:.1f} to {100 * share['high']:.1f}"


def _title(results: Mapping[str, Any], name: str) -> str:
    column = next((key for key, trigger in results["columns"].items() if trigger == name), name)
    return TITLES.get(column, name)


def _acc_bdr(cell: Mapping[str, Any] | None, results: Mapping[str, Any]) -> list[tuple[float, float] | None]:
    """Return (ACC, BDR) at arg-max for each column of the paper's tables; GAN edits stand in a table of their own."""
    if cell is None:
        return [None] * len(TRIGGERS)
    row: list[tuple[float, float] | None] = []
    for trigger in TRIGGERS:
        found = cell["measures"]["triggers"].get(results["columns"].get(trigger, ""))
        row.append(None if found is None else (found["acc"]["arg-max"], found["bdr"]["arg-max"]["value"]))
    return row


def _plan_table(cells: Cells, source: str, results: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for plan, words in PLANS.items():
        cell = cells.get((source, "original", "authors", plan))
        if cell is not None:
            published = TABLE_II["none" if plan == "untuned" else plan]
            fpr = cell["measures"]["fpr"]["arg-max"]
            rows.append((words, fpr, _acc_bdr(cell, results), list(zip(published.acc, published.bdr, strict=True))))
    return {"source": source, "rows": rows}


def _environment_table(cells: Cells, source: str, results: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for environment in results["environments"]:
        for detector, words in (("untuned", "without fine-tuning"), (results["plan"], "after fine-tuning")):
            cell = cells.get((source, environment, "authors", detector))
            if cell is not None:
                fpr = cell["measures"]["fpr"]["arg-max"]
                rows.append((f"{environment}, {words}", fpr, _acc_bdr(cell, results)))
    return {"source": source, "rows": rows, "parity": [p for p in results["parity"] if p["source"] == source]}


def _operating_tables(cells: Cells, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return BDR at every asked FPR, one table a source, regime and environment, tuned."""
    return [
        {
            "source": source,
            "regime": regime,
            "environment": environment,
            "measures": cell["measures"],
            "rows": [(name, results["triggers"][name], each) for name, each in cell["measures"]["triggers"].items()],
            "worst": _worst_of(cell["measures"]),
        }
        for (source, environment, regime, detector), cell in cells.items()
        if detector == results["plan"]
    ]


def _worst_of(measures: Mapping[str, Any]) -> dict[str, float]:
    """Return the lowest BDR over the triggers at every operating point."""
    names = next(iter(measures["triggers"].values()))["bdr"] if measures["triggers"] else {}
    return {name: min(each["bdr"][name]["value"] for each in measures["triggers"].values()) for name in names}


def _hard_tables(cells: Cells, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how often clean faces that carry something are flagged, one table a source, regime and detector."""
    return [
        {
            "source": source,
            "regime": regime,
            "detector": PLANS.get(detector, detector),
            "measures": cell["measures"],
            "rows": [
                (HARD_NEGATIVES[name].words if name in HARD_NEGATIVES else name, name == ALL, found)
                for name, found in cell["measures"]["hard_negatives"].items()
            ],
        }
        for (source, _, regime, detector), cell in cells.items()
        if "hard_negatives" in cell["measures"] and detector in {"untuned", results["plan"]}
    ]


def _gan_rows(cells: Cells, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"source": source, "environment": environment, "regime": regime, "detector": detector,
         "gan": cell["measures"]["gan"], "fpr": cell["measures"]["fpr"]}
        for (source, environment, regime, detector), cell in cells.items()
        if cell["measures"]["gan"] is not None and detector in {"untuned", "autoencoder", results["plan"]}
    ]  # fmt: skip


def _paper_point(cell: Mapping[str, Any]) -> str | None:
    """Return the operating point at the lower of the paper's FPRs, None where the paper has none."""
    return next((name for name in cell["measures"]["fpr"] if name.startswith("paper")), None)


def _bars(cells: Cells, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return Figures 5 and 6: ours beside the autoencoder at the paper's FPR, by environment."""
    charts = []
    for source in results["sources"]:
        for environment in results["environments"]:
            ours = cells.get((source, environment, "authors", results["plan"]))
            other = cells.get((source, environment, "authors", "autoencoder"))
            point = _paper_point(ours) if ours else None
            if ours is None or other is None or point is None:
                continue
            groups = {}
            for column, name in results["columns"].items():
                pair = [cell["measures"]["triggers"][name]["bdr"][point] for cell in (ours, other)]
                groups[TITLES[column]] = [_bar(share) for share in pair]
            if ours["measures"]["gan"] is not None:
                groups["GAN"] = [_bar(cell["measures"]["gan"]["bdr"][point]) for cell in (ours, other)]
            fprs = [cell["measures"]["fpr"][point]["value"] for cell in (ours, other)]
            title = f"{source}, {environment}: BDR at FPR {percent(fprs[0])} % (ours), {percent(fprs[1])} %"
            charts.append({"title": title, "svg": bar_chart(groups, title=title)})
    return charts


def _bar(share: Mapping[str, Any]) -> Bar:
    low, high = share.get("by_person", (share["low"], share["high"]))
    value = 100 * share["value"]
    return Bar(value, 100 * low, 100 * high, f"{value:.1f} % ({100 * low:.1f} to {100 * high:.1f})")


def _worst(cells: Cells, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the worst BDR over the paper's triggers by source and environment, ours and the autoencoder's."""
    rows = []
    for source in results["sources"]:
        for environment in results["environments"]:
            found = {}
            for detector in (results["plan"], "autoencoder"):
                cell = cells.get((source, environment, "authors", detector))
                point = _paper_point(cell) if cell else None
                if cell is not None and point is not None:
                    named = results["columns"].values()
                    worst = min(named, key=lambda name: cell["measures"]["triggers"][name]["bdr"][point]["value"])
                    share = cell["measures"]["triggers"][worst]["bdr"][point]
                    found[detector] = (_title(results, worst), share, cell["measures"]["fpr"][point])
            if len(found) == 2:
                rows.append({"source": source, "environment": environment, "found": list(found.values())})
    return rows


def _rocs(cells: Cells, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    charts = []
    for (source, environment, regime, detector), cell in cells.items():
        if detector == results["plan"] and environment == "original":
            names = [name for name in results["columns"].values() if name in cell["measures"]["triggers"]]
            names = names or list(cell["measures"]["triggers"])[:6]
            title = f"{source}, {regime}"
            curves = [Curve(_title(results, name), cell["measures"]["triggers"][name]["roc"]) for name in names]
            entry = {"title": title, "svg": roc_chart(curves, title=title), "legend": legend([c.name for c in curves])}
            charts.append(entry)
    return charts
