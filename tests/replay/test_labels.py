"""Labels: who is triggered when, and every mistake with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.replay.labels import WHOLLY_CLEAN, WHOLLY_TRIGGERED, Interval, Truth, read_labels

RECORDINGS = ("a.mp4", "b.mp4", "sub/a.mp4")


def read(tmp_path: Path, text: str) -> dict[str, Truth]:
    """Return what a CSV of this text says, by path relative to the CSV's folder."""
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    truths = read_labels(path, [tmp_path / name for name in RECORDINGS])
    return {recording.relative_to(tmp_path).as_posix(): truth for recording, truth in truths.items()}


def mistakes_in(tmp_path: Path, text: str) -> list[str]:
    """Return the lines a CSV is refused with, without its path."""
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    return [line.removeprefix(f"{tmp_path / 'labels.csv'}:") for line in str(refused.value).splitlines()]


def test_row_without_times_speaks_of_the_whole_recording(tmp_path: Path) -> None:
    """Two columns are enough."""
    truths = read(tmp_path, "file,label\nb.mp4,triggered\nsub/a.mp4,clean\n")
    assert truths["b.mp4"].is_triggered(100.0, 200.0)
    assert not truths["sub/a.mp4"].is_triggered(0.0, 1.0)
    assert "a.mp4" not in truths


def test_time_that_no_row_names_is_clean(tmp_path: Path) -> None:
    """Rows with times need to name the triggered passages alone; an open end lasts to the recording's end."""
    truth = read(tmp_path, "file,label,start_s,end_s\nb.mp4,triggered,2,4\nb.mp4,clean,4,5\nb.mp4,triggered,9,\n")[
        "b.mp4"
    ]
    assert truth.is_triggered(2.0, 4.0)
    assert not truth.is_triggered(4.0, 6.0)
    assert truth.is_triggered(20.0, 30.0)


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (2.0, 4.0, True),
        (1.0, 3.0, True),  # exactly half
        (0.9, 3.0, False),
        (3.0, 5.0, True),
        (0.0, 10.0, False),
        (3.0, 3.0, True),  # seen in one frame
        (4.0, 4.0, True),
        (5.0, 5.0, False),
    ],
)
def test_track_is_triggered_when_half_of_it_is(start_s: float, end_s: float, expected: bool) -> None:
    """The rule holds at its edge, and for a track of a single frame."""
    truth = Truth((Interval(2.0, 4.0, is_triggered=True, line=2),))
    assert truth.is_triggered(start_s, end_s) is expected


def test_several_intervals_add_up() -> None:
    """Two quarters are a half; a clean interval does not count."""
    truth = Truth(
        (
            Interval(0.0, 1.0, is_triggered=True, line=2),
            Interval(1.0, 3.0, is_triggered=False, line=3),
            Interval(3.0, 4.0, is_triggered=True, line=4),
        )
    )
    assert truth.is_triggered(0.0, 4.0)
    assert not truth.is_triggered(0.0, 4.5)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_whole_truths_hold_for_every_track(start_s: float, length_s: float) -> None:
    """What a second pass with a trigger assumes."""
    assert WHOLLY_TRIGGERED.is_triggered(start_s, start_s + length_s)
    assert not WHOLLY_CLEAN.is_triggered(start_s, start_s + length_s)


def test_file_may_be_named_by_path_or_by_unambiguous_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the CSV's folder, from the current one, absolute, or by name alone."""
    assert set(read(tmp_path, "file,label\nb.mp4,clean\n")) == {"b.mp4"}
    assert set(read(tmp_path, f"file,label\n{tmp_path}/sub/a.mp4,clean\n")) == {"sub/a.mp4"}
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "labels.csv").write_text("file,label\nsub/a.mp4,clean\nb.mp4,triggered\n")
    truths = read_labels(folder / "labels.csv", [Path(name) for name in RECORDINGS])
    assert set(truths) == {Path("sub/a.mp4"), Path("b.mp4")}


def test_ambiguous_name_is_refused(tmp_path: Path) -> None:
    """Two recordings of the same name are told apart by their paths."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "labels.csv").write_text("file,label\na.mp4,clean\n")
    with pytest.raises(ConfigError, match=r"labels\.csv:2: file: a\.mp4 names 2 of the recordings; write its path"):
        read_labels(folder / "labels.csv", [tmp_path / name for name in RECORDINGS])


def test_all_mistakes_come_with_their_lines(tmp_path: Path) -> None:
    """Who repairs the file repairs it once."""
    text = """\
file,label,start_s,end_s
b.mp4,triggered,0,2
b.mp4,clean,1,3

c.mp4,clean,,
b.mp4,bad,5,6
b.mp4,clean,9,8
b.mp4,clean,x,8
b.mp4,clean,7,inf
,clean,1,2
b.mp4,,10,11
sub/a.mp4,clean,-1,2
"""
    assert mistakes_in(tmp_path, text) == [
        "3: overlaps line 2; every moment of a recording has one label",
        "5: file: c.mp4 is none of the recordings that are replayed",
        "6: label: bad: must be clean or triggered",
        "7: start_s must lie before end_s and not before 0, not 9 and 8",
        "8: start_s: x: must be a number of seconds",
        "9: end_s: inf: must be a finite number of seconds",
        "10: file is empty",
        "11: label: empty: must be clean or triggered",
        "12: start_s must lie before end_s and not before 0, not -1 and 2",
    ]


def test_whole_recording_overlaps_any_interval(tmp_path: Path) -> None:
    """A row for the whole recording beside one for a part of it contradicts it."""
    text = "file,label,start_s,end_s\nb.mp4,clean,,\nb.mp4,triggered,1,2\n"
    assert mistakes_in(tmp_path, text) == ["3: overlaps line 2; every moment of a recording has one label"]


@pytest.mark.parametrize("header", ["", "a,b\n", "label,file\n", "file,label,end_s,start_s\n", "file,label,start_s\n"])
def test_header_is_fixed(tmp_path: Path, header: str) -> None:
    """A column in another place would be read as something else."""
    assert mistakes_in(tmp_path, header + "b.mp4,clean\n") == [
        "1: the first line must be file,label,start_s,end_s or file,label"
    ]


def test_more_cells_than_columns_are_refused(tmp_path: Path) -> None:
    """A comma in a file name, or times without their columns."""
    assert mistakes_in(tmp_path, "file,label\nb.mp4,clean,1,2\n") == ["2: more cells than the first line names"]


@pytest.mark.parametrize("content", [b"file,label\n\xff,clean\n", b'file,label\n"b.mp4,clean\n'])
def test_unreadable_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    """Bytes that are no text, or quotes that never end."""
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"labels\.csv: cannot be read"):
        read_labels(path, [])


def test_missing_csv_is_refused(tmp_path: Path) -> None:
    """A wrong path is said before anything is replayed."""
    with pytest.raises(ConfigError, match="No such file"):
        read_labels(tmp_path / "absent.csv", [])


def test_byte_order_mark_and_spaces_are_forgiven(tmp_path: Path) -> None:
    """What spreadsheets write is read."""
    assert set(read(tmp_path, "\ufefffile, label\n b.mp4 , triggered \n")) == {"b.mp4"}
