"""What is aimed at and what was reached: drawn from the files of results alone, so that no figure is typed by hand.

Given are results of evaluations of one bundle, of bundles that were trained without some kinds of perturbation (they
count for the triggers that are new to them, where those are not new to the bundle itself), and of whole passages.
Every figure is of the tuned detector, with thresholds from the calibration faces of the same source.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.data import DataError
from trainer.judging import ALL
from trainer.published import TITLES

Cell = Mapping[str, Any]
Document = Mapping[str, Any]

ASKED = "1%"
DIGITAL = ("native",)
CAMERA = ("jpeg", "h264")
PAPER_ENVIRONMENTS = ("original", "brightness", "motion")


@dataclass(frozen=True, slots=True)
class Aim:
    """A range that a figure should lie in."""

    words: str
    at_least: float = float("-inf")
    at_most: float = float("inf")

    def met(self, value: float) -> bool:
        """Return whether a figure, rounded as it is shown, does."""
        return self.at_least <= round(value, 4) <= self.at_most


@dataclass(frozen=True, slots=True)
class Reached:
    """A figure: of a source, its value, how it is written, and whether the aim is met; None where it cannot be had."""

    source: str
    value: float | None
    words: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Judged:
    """One line: what is judged, by which measure, the aim, and what each source reached."""

    what: str
    measure: str
    aim: Aim
    reached: tuple[Reached, ...]

    @property
    def met(self) -> bool | None:
        """Whether every source that has a figure meets the aim; None where none has."""
        known = [each.met for each in self.reached if each.met is not None]
        return all(known) if known else None


@dataclass(frozen=True, slots=True)
class _Row:
    """A trigger in a cell."""

    source: str
    family: str
    found: Mapping[str, Any]


def judged(documents: Sequence[Document]) -> list[Judged]:
    """Return every line; the first document says which bundle is judged.

    Raises:
        DataError: A document is of another profile, or whole passages of another bundle.
    """
    passages = [each for each in documents if "synthetic" in each]
    evaluations = [each for each in documents if "cells" in each]
    if not evaluations:
        raise DataError("no results of an evaluation are among the files")
    subject = evaluations[0]["base"]
    if strangers := [each for each in evaluations if each["base"]["profile"] != subject["profile"]]:
        raise DataError(
            f"results of the profile {strangers[0]['base']['profile']} beside those of {subject['profile']}"
        )
    if any(each["bundle"]["sha256"] != subject["sha256"] for each in passages):
        raise DataError(f"whole passages of another bundle than {subject['sha256'][:16]}…")
    own = [each for each in evaluations if each["base"]["sha256"] == subject["sha256"]]
    cells = list(_cells(own))
    paper = list(_rows(own, lambda _, trigger: trigger["family"] in TITLES))
    new = list(_new_rows(own, [each for each in evaluations if each not in own]))
    lines: list[Judged] = []
    for words, regimes, limits in (
        ("D", DIGITAL, (0.99, 0.95, 0.85)),
        ("C", CAMERA, (0.97, 0.80, None)),
    ):
        lines += _detection(f"the paper's five, {words}", [row for regime, row in paper if regime in regimes], limits)
    for words, regimes, limits in (("D", DIGITAL, (0.95, 0.80, None)), ("C", CAMERA, (0.85, 0.40, None))):
        mine = [row for regime, row in new if regime in regimes]
        lines += _detection(f"families never trained on, {words}", mine, limits)
        if regimes == DIGITAL:
            lines.insert(-1, _worst_auroc(f"families never trained on, {words}", mine, 0.85))
    lines += [_gan(cells), _realised(cells), *_hard(cells), *_passages(passages)]
    return lines


def _cells(documents: Iterable[Document]) -> Iterator[Cell]:
    """Yield the tuned cells of the paper's environments; of one that is in two documents, the last."""
    found = {
        (document["seed"], cell["source"], cell["environment"], cell["regime"]): cell
        for document in documents
        for cell in document["cells"]
        if cell["detector"] == document["plan"] and cell["environment"] in PAPER_ENVIRONMENTS
    }
    yield from found.values()


def _rows(
    documents: Sequence[Document], wanted: Callable[[str, Mapping[str, Any]], bool]
) -> Iterator[tuple[str, _Row]]:
    """Yield each trigger of each cell that is wanted by its name and its facts, with the cell's regime."""
    triggers: dict[str, Mapping[str, Any]] = {}
    for document in documents:
        for name, each in document["triggers"].items():
            if each["seen_as"] or name not in triggers:  # seen by one of them is seen
                triggers[name] = each
    for cell in _cells(documents):
        for name, found in cell["measures"]["triggers"].items():
            if wanted(name, triggers[name]):
                yield cell["regime"], _Row(cell["source"], triggers[name]["family"], found)


def _new_rows(own: Sequence[Document], others: Sequence[Document]) -> Iterator[tuple[str, _Row]]:
    """Yield what is new to the bundle, and what is new to a bundle that was trained without some kinds."""
    yield from _rows(own, lambda _, trigger: not trigger["seen_as"])
    known = {name for document in own for name, each in document["triggers"].items() if each["seen_as"]}
    for document in others:
        # By name: two triggers of a family may have the same facts.
        yield from _rows([document], lambda name, trigger: name in known and not trigger["seen_as"])


def _detection(what: str, rows: Sequence[_Row], limits: tuple[float, float, float | None]) -> list[Judged]:
    families = len({row.family for row in rows})
    what = f"{what} ({families} families)" if rows else what
    lines = [
        _line(what, "AUROC, mean", Aim(f"≥ {limits[0]:g}", at_least=limits[0]), rows, _mean_auroc),
        _line(what, "BDR at FPR 1 %, mean", Aim(f"≥ {limits[1]:g}", at_least=limits[1]), rows, _mean_bdr),
    ]
    if limits[2] is not None:
        lines.append(
            _line(what, "BDR at FPR 1 %, worst", Aim(f"≥ {limits[2]:g}", at_least=limits[2]), rows, _worst_bdr)
        )
    return lines


def _worst_auroc(what: str, rows: Sequence[_Row], limit: float) -> Judged:
    what = f"{what} ({len({row.family for row in rows})} families)" if rows else what
    return _line(what, "AUROC, worst", Aim(f"≥ {limit:g}", at_least=limit), rows, _least_auroc)


def _line(
    what: str, measure: str, aim: Aim, rows: Sequence[_Row], value_of: Callable[[Sequence[_Row]], float | None]
) -> Judged:
    reached = []
    for source in dict.fromkeys(row.source for row in rows):
        value = value_of([row for row in rows if row.source == source])
        words = "too few faces calibrate" if value is None else f"{value:.3f}"
        reached.append(Reached(source, value, words, None if value is None else aim.met(value)))
    return Judged(what, measure, aim, tuple(reached))


def _by_family(rows: Sequence[_Row], value_of: Callable[[_Row], float]) -> float:
    """Return the mean over families of their means: one with several triggers counts once."""
    families = dict.fromkeys(row.family for row in rows)
    return float(np.mean([np.mean([value_of(row) for row in rows if row.family == family]) for family in families]))


def _mean_auroc(rows: Sequence[_Row]) -> float:
    return _by_family(rows, lambda row: float(row.found["auroc"]))


def _least_auroc(rows: Sequence[_Row]) -> float:
    return min(float(row.found["auroc"]) for row in rows)


def _bdr(row: _Row) -> float:
    return float(row.found["bdr"][ASKED]["value"])


def _mean_bdr(rows: Sequence[_Row]) -> float | None:
    return _by_family(rows, _bdr) if all(ASKED in row.found["bdr"] for row in rows) else None


def _worst_bdr(rows: Sequence[_Row]) -> float | None:
    return min(_bdr(row) for row in rows) if all(ASKED in row.found["bdr"] for row in rows) else None


def _gan(cells: Sequence[Cell]) -> Judged:
    aim, reached = Aim("≥ 0.8", at_least=0.8), []
    judged_cells = [cell for cell in cells if cell["regime"] in DIGITAL and cell["measures"]["gan"]]
    for source in dict.fromkeys(cell["source"] for cell in judged_cells):
        values = [cell["measures"]["gan"]["auroc"] for cell in judged_cells if cell["source"] == source]
        value = float(np.mean(values))
        reached.append(Reached(source, value, f"{value:.3f} ({min(values):.3f} to {max(values):.3f})", aim.met(value)))
    return Judged("GAN edits, D (tuned on the source's faces)", "AUROC, mean over environments", aim, tuple(reached))


def _realised(cells: Sequence[Cell]) -> Judged:
    """Return the highest rate of any cell, with the mean beside it."""
    aim, reached = Aim("≤ 2 % in every cell", at_most=0.02), []
    own = [cell for cell in cells if cell["regime"] in (*DIGITAL, *CAMERA)]
    for source in dict.fromkeys(cell["source"] for cell in own):
        shares = [cell["measures"]["fpr"].get(ASKED) for cell in own if cell["source"] == source]
        known = [share for share in shares if share]
        if not known:
            reached.append(Reached(source, None, "too few faces calibrate", None))
            continue
        worst = max(known, key=lambda share: float(share["value"]))
        mean = float(np.mean([share["value"] for share in known]))
        words = (
            f"{100 * worst['value']:.1f} % ({100 * worst['low']:.1f} to {100 * worst['high']:.1f}); "
            f"mean of {len(known)}: {100 * mean:.1f} %"
        )
        reached.append(Reached(source, float(worst["value"]), words, aim.met(worst["value"])))
    return Judged("realised FPR at asked 1 %, other people", "highest of environments and regimes", aim, tuple(reached))


def _hard(cells: Sequence[Cell]) -> Iterator[Judged]:
    """Yield a line for each regime: of each source the cell that does worst."""
    aim = Aim("≤ 2 × plain", at_most=2.0)
    for regime in (*DIGITAL, *CAMERA):
        reached: dict[str, Reached] = {}
        for cell in cells:
            if cell["regime"] == regime and cell["measures"].get("hard_negatives"):
                found, before = _hard_of(cell, aim), reached.get(cell["source"])
                reached[cell["source"]] = found if before is None else max(before, found, key=_times)
        if reached:
            yield Judged(
                f"FPR on hard negatives, {_regime(regime)}", "all kinds together", aim, tuple(reached.values())
            )


def _hard_of(cell: Cell, aim: Aim) -> Reached:
    hard = cell["measures"]["hard_negatives"]
    point = next((point for point in (ASKED, "5%") if point in hard[ALL]["fpr"]), None)
    if point is None:
        return Reached(cell["source"], None, "too few faces calibrate", None)
    kinds = {name: found["fpr"][point]["value"] for name, found in hard.items() if name != ALL}
    worst = max(kinds, key=lambda name: kinds[name])
    at = point.replace("%", " %")
    times = hard[ALL]["times_plain"][point]
    if times["value"] is None:  # a multiple of nothing: whether any is flagged is what there is to judge by
        share = hard[ALL]["fpr"][point]["value"]
        words = f"{100 * share:.1f} % of them and no plain face at {at}"
        return Reached(cell["source"], None, words if share else f"no face is flagged at {at}", not share)
    high = "∞" if times["high"] is None else f"{times['high']:.1f}"
    words = (
        f"{times['value']:.1f} × ({times['low']:.1f} to {high}) at {at}; "
        f"worst {worst.replace('_', ' ')}, {hard[worst]['times_plain'][point]['value']:.1f} ×"
    )
    return Reached(cell["source"], times["value"], words, aim.met(times["value"]))


def _times(found: Reached) -> float:
    """Return how bad a figure is; one without a value that misses the aim is worse than any."""
    return float("inf") if found.met is False and found.value is None else found.value or 0.0


def _regime(name: str) -> str:
    return {"native": "D", "jpeg": "C (JPEG)", "h264": "C (H.264)"}[name]


def _passages(documents: Iterable[Document]) -> Iterator[Judged]:
    for document in documents:
        found = document["synthetic"]
        asked = f"asked {100 * found['asked_rate']:g} %"
        aim = Aim("0.5 to 2 ×", at_least=0.5, at_most=2.0)
        yield Judged(
            f"per passage, calibrated alike (synthetic), {asked}",
            "false alarms",
            aim,
            (_passage(document["source"], found["calibrated"], aim),),
        )
        yield Judged(
            f"per passage, uncalibrated, {asked}",
            "false alarms",
            Aim("reported"),
            (_passage(document["source"], found["uncalibrated"], None),),
        )


def _passage(source: str, share: Mapping[str, Any], aim: Aim | None) -> Reached:
    low, high = 100 * share["low"], 100 * share["high"]
    words = f"{share['of_asked']:.1f} × ({share['hits']} of {share['n']}; {low:.1f} to {high:.1f} %)"
    return Reached(source, share["of_asked"], words, aim.met(share["of_asked"]) if aim else None)


def to_markdown(lines: Sequence[Judged], documents: Sequence[Document]) -> str:
    """Return the table, and below it what it was drawn from."""
    rows = [
        f"| {line.what} | {line.measure} | {line.aim.words} | {_words(line)} | "
        f"{'–' if line.met is None else 'yes' if line.met else 'no'} |"
        for line in lines
    ]
    head = ["| judged | measure | aim | reached | met |", "|---|---|---|---|---|"]
    drawn = [f"- `{each['command']}`: {_bundle(each)}" for each in documents]
    return "\n".join([*head, *rows, "", "Drawn from the results of", "", *drawn]) + "\n"


def _words(line: Judged) -> str:
    return "; ".join(f"{each.source} {each.words}" for each in line.reached) or "not measured"


def _bundle(document: Document) -> str:
    base = document.get("base") or document["bundle"]
    return f"bundle {base['profile']}, version {base['version']}, {base['sha256'][:16]}…"


def to_records(lines: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return the lines for a script."""
    return [
        {
            "judged": line.what,
            "measure": line.measure,
            "aim": line.aim.words,
            "met": line.met,
            "reached": {
                each.source: {"value": each.value, "words": each.words, "met": each.met} for each in line.reached
            },
        }
        for line in lines
    ]
