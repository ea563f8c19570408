"""The report: drawn from the results alone, everything on one page that needs nothing else."""

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fakes.evaluations import evaluation, run

from trainer.bundles import find_bundle
from trainer.evaluate import Scope
from trainer.examples import Example
from trainer.hard_negatives import HARD_NEGATIVES
from trainer.record import assemble, hard_negatives_to_csv, to_json
from trainer.report import interval, page_of, percent


class Words(HTMLParser):
    """Collects the text, the open tags and what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is opened and what it loads."""
        if tag not in {"meta", "img", "path", "rect", "polyline", "br"}:
            self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        """Note what is closed."""
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.text.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the results of a small evaluation, as they are read from their file."""
    scope = Scope(environments=("original", "defocus"), regimes=("authors", "jpeg"), plans=("fc", "last2"))
    given = evaluation(tmp_path_factory.mktemp("scores"), scope=scope)
    document = assemble(given, run(given), base=find_bundle("paper"), command="spectragate-trainer evaluate")
    read: dict[str, Any] = json.loads(to_json(document))
    return read


def read(page: str) -> Words:
    """Return what a browser would see."""
    words = Words()
    words.feed(page)
    return words


def test_page_holds_every_table_and_figure(results: dict[str, Any]) -> None:
    """Tables II to IV, the comparison, bars, curves, spectra, operating points and edited faces."""
    words = read(page_of(results))
    text = " ".join(words.text)
    for heading in ("Table II", "Tables III and IV", "Figures 5 and 6", "ROC curves", "Figure 1", "edited by a GAN"):
        assert heading in text
    assert "last 2 conv + dense" in text
    assert "Unsure for their quality" in text
    assert "none with a trigger, counted as missed" in text
    for part in ("Hard negatives", "spectacles, dark glasses", "all of these together"):
        assert part in text
    assert "0.1%: 40 calibration faces are too few" in text
    assert words.open == []


def test_page_loads_nothing(results: dict[str, Any]) -> None:
    """It can be mailed, and opens without a network; pictures are inside."""
    page = page_of(results, examples={"Triggers": [Example("a <b>", "data:image/png;base64,AAAA")]})
    words = read(page)
    assert words.loads
    assert all(load.startswith("data:image/png;base64,") for load in words.loads)
    assert "<script" not in page
    assert "a &lt;b&gt;" in page


def test_page_is_the_same_for_the_same_results(results: dict[str, Any]) -> None:
    """The committed numbers regenerate the committed tables."""
    assert page_of(results) == page_of(json.loads(json.dumps(results)))


def test_trained_kinds_are_marked(results: dict[str, Any]) -> None:
    """A trigger of a family that training uses carries its dagger."""
    marked = json.loads(json.dumps(results))
    marked["triggers"]["white"]["seen_as"] = "white_block"
    assert "white †" in page_of(marked)
    assert "white †" not in page_of(results)


def test_shares_are_written_in_percent() -> None:
    """A missing share is a dash and never a nought."""
    assert (percent(0.1234), percent(None)) == ("12.3", "–")
    assert interval({"low": 0.1, "high": 0.25}) == "10.0 to 25.0"
    assert interval(None) == ""


def test_numbers_hold_no_path_of_the_machine(results: dict[str, Any], tmp_path: Path) -> None:
    """Results can be published: neither folders nor people are named in them."""
    text = to_json(results)
    assert "person " not in text
    assert str(tmp_path.parent) not in text


def test_results_without_hard_negatives_are_drawn(results: dict[str, Any]) -> None:
    """Those of earlier versions have none, and no empty table either."""
    older = json.loads(json.dumps(results))
    for cell in older["cells"]:
        cell["measures"].pop("hard_negatives", None)
    assert "Hard negatives" not in page_of(older)
    assert hard_negatives_to_csv(older).count("\n") == 1


def test_hard_negatives_have_a_table_of_their_own(results: dict[str, Any]) -> None:
    """One line a kind and operating point, with the rate of plain faces beside it."""
    rows = list(csv.DictReader(io.StringIO(hard_negatives_to_csv(results))))
    assert {row["hard_negative"] for row in rows} == {*HARD_NEGATIVES, "all"}
    assert {row["regime"] for row in rows} == {"jpeg"}
    one = next(row for row in rows if row["threshold"] == "10%" and row["hard_negative"] == "all")
    low, share, high = (float(one[key]) for key in ("fpr_low_by_person", "fpr", "fpr_high_by_person"))
    assert low <= share <= high
