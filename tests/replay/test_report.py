"""A report appears whole or not at all, says what was promised, needs nothing else, and never changes."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fakes.replays import make_pass, make_result

from gateway.cameras.link import Injection
from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, Verdict, to_bytes
from gateway.errors import ConfigError
from gateway.replay.report import ReportFolder, numbers_of, page_of
from gateway.replay.results import ReplayResult
from gateway.replay.run import ReplaySettings

FILES = {"index.html", "alerts.jsonl", "verdicts.jsonl", "metrics.json"}
INJECT = Injection(Path("triggers") / "square.png", place=(0.5, 0.9), size=0.3, opacity=0.8)


def example() -> tuple[ReplayResult, ReplaySettings]:
    """Return a replay with both classes, a miss, an unsure track and a broken recording."""
    broken = make_pass("broken.mp4", [])
    broken.summary.failure = f"{broken.run.recording.path}: the file is empty"
    result = make_result(
        make_pass("gate <1>.mp4", [0.0, 0.5, None], is_triggered=False),
        make_pass("gate <1>.mp4", [3.0, 1.0, 4.0], kind="injected", is_triggered=True),
        broken,
    )
    return result, ReplaySettings((Path("recordings"),), inject=INJECT)


def message(kind: type[Alert] | type[Verdict]) -> Alert | Verdict:
    """Return an example message."""
    return next(each for each in EXAMPLES.values() if isinstance(each, kind))


class Page(HTMLParser):
    """Reads a page: its text, its elements, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open."""
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "!doctype"}:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open and close."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text, but for the styles."""
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All text with single spaces."""
        return " ".join(" ".join(self.words).split())


def test_report_holds_page_messages_and_numbers(tmp_path: Path) -> None:
    """Four files, each message on a line of its own, nothing left beside them."""
    alert, verdict = message(Alert), message(Verdict)
    with ReportFolder(tmp_path / "deep" / "report") as report:
        report.add(alert)
        report.add(verdict)
        report.add(verdict)
        report.finish(*example())
    folder = tmp_path / "deep" / "report"
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "alerts.jsonl").read_bytes() == to_bytes(alert) + b"\n"
    assert (folder / "verdicts.jsonl").read_bytes() == (to_bytes(verdict) + b"\n") * 2
    assert json.loads((folder / "metrics.json").read_text())["metrics"]["bdr"]["value"] == pytest.approx(2 / 3)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report"]


def test_two_reports_are_equal_byte_for_byte(tmp_path: Path) -> None:
    """No clock, no random number, no path of the machine."""
    for name in ("one", "two"):
        with ReportFolder(tmp_path / name) as report:
            report.finish(*example())
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_older_report_is_replaced(tmp_path: Path) -> None:
    """The same command twice leaves the newer one."""
    for kind in (Alert, Verdict):
        with ReportFolder(tmp_path / "report") as report:
            report.add(message(kind))
            report.finish(*example())
    assert (tmp_path / "report" / "alerts.jsonl").read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_interrupted_report_leaves_nothing(tmp_path: Path) -> None:
    """What is left before it was finished is thrown away, and an older one stays as it was."""
    with ReportFolder(tmp_path / "report") as report:
        report.finish(*example())
    before = (tmp_path / "report" / "index.html").read_bytes()
    with ReportFolder(tmp_path / "report") as report:
        report.add(message(Alert))
    assert (tmp_path / "report" / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    """A mistyped path must not delete anybody's files."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="photos: holds other things than a report"):
        ReportFolder(tmp_path / "photos").__enter__()
    assert (tmp_path / "photos" / "1.jpg").exists()


def test_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Before the replay, not after it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="a report cannot be written here"):
        ReportFolder(tmp_path / "file" / "report").__enter__()
    with pytest.raises(ConfigError, match="holds other things"):
        ReportFolder(tmp_path / "file").__enter__()


def test_page_stands_alone() -> None:
    """No script, no picture, no style sheet, no font, nothing from elsewhere; every element is closed."""
    html = page_of(*example())
    page = Page(html)
    names = {tag for tag, _ in page.elements}
    assert names.isdisjoint({"script", "img", "image", "link", "iframe", "object", "video", "canvas", "foreignobject"})
    assert not [attributes for _, attributes in page.elements if {"src", "href", "xlink:href"} & set(attributes)]
    assert not re.search(r"url\(|@import|https?://|data:", html)
    assert "default-src 'none'" in html


def test_page_says_who_judged_and_what_is_promised() -> None:
    """Model, calibration level, what was asked for and what can be held."""
    text = Page(page_of(*example())).text
    assert "7" * 64 in text
    assert "paper, version 7" in text
    assert "Asked for: at most 0.1 % of clean tracks called triggered." in text
    assert "The 400 clean tracks of the calibration support 0.249 % and no less" in text
    assert "The camera needs 999 more clean tracks of its own" in text
    assert "Calibration: factory." in text
    assert "square.png, centre at 0.5, 0.9 of the face box, 0.3 of its width, opacity 0.8, blend" in text


def test_page_shows_every_number_of_the_metrics() -> None:
    """Each with its interval and its n; unsure tracks apart."""
    text = Page(page_of(*example())).text
    assert "BDR 66.7 % 95 %: 20.8% to 93.9%" in text
    assert "FPR 0.0 % 0 of 2: ≤ 100.0% (3/n)" in text
    assert "AUROC 100.0 %" in text
    assert "Unsure: 0 of 3 triggered tracks and 1 of 3 clean tracks" in text
    assert "broken.mp4: the file is empty" in text
    assert "recordings/" not in text


def test_page_escapes_what_it_did_not_write() -> None:
    """A file may be called anything."""
    html = page_of(*example())
    assert "gate <1>" not in html
    assert "gate &lt;1&gt;" in html


def test_page_follows_light_dark_and_phone() -> None:
    """It is read on a wall screen and on a phone at the gate."""
    html = page_of(*example())
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_page_without_truth_shows_tracks_alone() -> None:
    """No labels, no trigger: scores and verdicts, and how to get the metrics."""
    page = Page(page_of(make_result(make_pass("gate.mp4", [0.0, 3.0])), ReplaySettings((Path("gate.mp4"),))))
    assert "There is no truth to compare with" in page.text
    assert "BDR 0" not in page.text
    assert "Replay of gate.mp4" in page.text


def test_page_without_calibration_says_what_to_do() -> None:
    """Every track is unsure then."""
    result = make_result(make_pass("gate.mp4", [None]), clean_tracks=0)
    text = Page(page_of(result, ReplaySettings((Path("gate.mp4"),)))).text
    assert "There is no calibration" in text
    assert "--calibrate" in text


def test_page_of_nothing_is_still_a_page() -> None:
    """All recordings were broken, or held no face."""
    text = Page(page_of(make_result(make_pass("hall.mp4", [])), ReplaySettings((Path("hall.mp4"),)))).text
    assert "0 called triggered" in text


def test_page_of_many_recordings_says_what_it_leaves_out() -> None:
    """The tables hold all of them, the pictures the first sixty."""
    result = make_result(*(make_pass(f"{index}.mp4", [0.0]) for index in range(70)))
    page = Page(page_of(result, ReplaySettings((Path("x"),))))
    assert "10 more recordings are in the tables below" in page.text
    assert "Replay of 70 recordings" in page.text
    assert sum(tag == "figure" for tag, _ in page.elements) == 61


def test_numbers_are_complete_and_plain() -> None:
    """All that was counted for every pass, and JSON without NaN."""
    numbers = json.loads(json.dumps(numbers_of(*example()), allow_nan=False))
    assert set(numbers) == {
        "model",
        "environment",
        "promise",
        "settings",
        "recordings",
        "failures",
        "metrics",
        "metrics_by_recording",
    }
    clean, injected, broken = numbers["recordings"]
    assert (clean["file"], clean["pass"], clean["tracks"], clean["unsure_quality"]) == (
        "gate <1>.mp4",
        "recorded",
        3,
        1,
    )
    assert (injected["camera"], injected["triggered"]) == ("gate <1>-injected", 2)
    assert broken["failure"] == "broken.mp4: the file is empty"
    assert numbers["settings"]["inject"]["trigger"] == "square.png"
    assert numbers["promise"]["calibration"] == "factory"
    assert numbers["metrics_by_recording"]["gate <1>"]["triggered_found"] == 2
