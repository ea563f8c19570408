"""Pictures in, one line per face out: in order, nothing lost, honest about what it cannot say."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes.bundles import write_drawn_bundle
from fakes.recordings import background, make_picture, with_face
from fakes.screening import FakeDetector, make_bundle

from gateway.cameras.link import FaceSettings, open_source
from gateway.cameras.starting import ExecWorkers
from gateway.contract.bundle import Bundle, open_bundle
from gateway.errors import ConfigError, RuntimeFault, SourceError
from gateway.score import (
    NO_FACE,
    FaceScore,
    Picture,
    PictureProblem,
    ScoreSettings,
    ScoreSummary,
    check_rate,
    find_pictures,
    score,
)
from gateway.screening.runtime import InferenceThread

CROPS = ScoreSettings(each_is_a_face=True)


def face_picture(path: Path, *, white: float = 0.0, side_px: int = 64) -> Path:
    """Write a picture that is one face already, its upper share `white` white."""
    random = np.random.default_rng(1)
    pixels_YXC = random.integers(0, 200, (side_px, side_px, 3)).astype(np.uint8)
    pixels_YXC[: round(white * side_px)] = 255
    return make_picture(path, pixels_YXC)


async def lines_of(
    pictures: list[Picture],
    settings: ScoreSettings = CROPS,
    *,
    bundle: Bundle | None = None,
    detector: FakeDetector | None = None,
) -> tuple[list[FaceScore | PictureProblem], ScoreSummary]:
    """Score with a rule that sees white."""
    lines: list[FaceScore | PictureProblem] = []
    summary = await score(
        pictures, settings, bundle=bundle or make_bundle(), detector=detector or FakeDetector(), deliver=lines.append
    )
    return lines, summary


def test_files_folders_and_indices_keep_their_order(tmp_path: Path) -> None:
    """Folders are read to the bottom in natural order; an index repeats its cells as the names."""
    folder = tmp_path / "faces"
    for name in ("b/2.jpg", "b/10.PNG", "a/1.jpg", "a/notes.txt", "0.webp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    index = tmp_path / "index.csv"
    index.write_text("identity,file\nanna,faces/b/2.jpg\nben,other.jpg\n", encoding="utf-8")
    found = find_pictures([tmp_path / "single.jpg", folder, index])
    assert [picture.file for picture in found] == [
        str(tmp_path / "single.jpg"),
        *(str(folder / name) for name in ("0.webp", "a/1.jpg", "b/2.jpg", "b/10.PNG")),
        "faces/b/2.jpg",
        "other.jpg",
    ]
    assert found[-2].path == folder / "b" / "2.jpg"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("name\nx.jpg\n", r"index\.csv:1: an index needs a column `file`"),
        ("", r"index\.csv:1: an index needs a column `file`"),
        ("file,x\na.jpg,1\n,2\n", r"index\.csv:3: file: is empty"),
        ("file\n\x00\n", r"index\.csv"),
    ],
)
def test_unusable_index_is_refused(tmp_path: Path, text: str, mistake: str) -> None:
    """With its line, before anything is scored."""
    (tmp_path / "index.csv").write_text(text)
    if "\x00" in text:
        assert find_pictures([tmp_path / "index.csv"])[0].file == "\x00"
        return
    with pytest.raises(ConfigError, match=mistake):
        find_pictures([tmp_path / "index.csv"])


def test_missing_index_and_empty_folder_are_refused(tmp_path: Path) -> None:
    """Nothing to do is said, not passed over."""
    with pytest.raises(ConfigError, match=r"absent\.csv: cannot be read"):
        find_pictures([tmp_path / "absent.csv"])
    with pytest.raises(SourceError, match="no pictures in this folder"):
        find_pictures([tmp_path])


async def test_crops_are_scored_in_order(tmp_path: Path) -> None:
    """One line each; white ones are triggered, and p is their place among the clean faces."""
    paths = [face_picture(tmp_path / f"{index}.png", white=0.5 * (index % 3 == 0)) for index in range(7)]
    lines, summary = await lines_of(find_pictures(paths))
    assert [line.file for line in lines] == [str(path) for path in paths]
    verdicts = [line.verdict for line in lines if isinstance(line, FaceScore)]
    assert verdicts == ["triggered" if index % 3 == 0 else "clean" for index in range(7)]
    first, second = lines[0], lines[1]
    assert isinstance(first, FaceScore)
    assert isinstance(second, FaceScore)
    assert (first.p_value, second.p_value) == (1 / 501, 1.0)
    assert first.box == (0.0, 0.0, 64.0, 64.0)
    assert (summary.pictures, summary.faces, summary.triggered) == (7, 7, 3)


async def test_wide_bundle_scores_large_crops_and_is_unsure_of_small_ones(tmp_path: Path) -> None:
    """The real session of a profile that looks at 128 px: the crop is reduced for it, a small one is not believed."""
    write_drawn_bundle(tmp_path / "large", profile="wide")
    bundle = open_bundle(tmp_path / "large")
    inference = InferenceThread(device="cpu", threads=1)
    paths = [face_picture(tmp_path / f"{side_px}.png", side_px=side_px) for side_px in (200, 64)]
    lines: list[FaceScore | PictureProblem] = []
    detector = await inference.open(bundle)
    await score(find_pictures(paths), CROPS, bundle=bundle, detector=detector, deliver=lines.append)
    await inference.close()
    large, small = (line for line in lines if isinstance(line, FaceScore))
    assert (large.model.profile, large.verdict in {"clean", "triggered"}) == ("wide", True)
    assert (small.verdict, np.isfinite(small.score)) == ("unsure", True)


async def test_line_is_one_json_object(tmp_path: Path) -> None:
    """The keys are those that were promised, and a script finds nothing else."""
    (line,), _ = await lines_of(find_pictures([face_picture(tmp_path / "ä.png")]))
    parsed = json.loads(line.to_json())
    assert list(parsed) == ["file", "box", "score", "p_value", "verdict", "model"]
    assert parsed["file"] == str(tmp_path / "ä.png")
    assert parsed["model"] == {"version": 7, "sha256": "7" * 64, "profile": "paper"}
    assert "\n" not in line.to_json()


async def test_small_crop_is_unsure_and_still_scored(tmp_path: Path) -> None:
    """The score is a number also where nobody should believe it."""
    (line,), summary = await lines_of(find_pictures([face_picture(tmp_path / "small.png", white=1.0, side_px=20)]))
    assert isinstance(line, FaceScore)
    assert (line.verdict, line.score, summary.unsure) == ("unsure", 100.0, 1)


async def test_every_face_of_a_picture_has_a_line(tmp_path: Path) -> None:
    """Two people are two lines; a wall is none, and said."""
    wall_HWC = background(640, 360)
    two = make_picture(tmp_path / "two.png", with_face(with_face(wall_HWC, centre=(0.25, 0.5)), centre=(0.75, 0.5)))
    none = make_picture(tmp_path / "none.png", wall_HWC)
    lines, summary = await lines_of(find_pictures([two, none, two]), ScoreSettings())
    assert [Path(line.file).name for line in lines] == ["two.png", "two.png", "none.png", "two.png", "two.png"]
    assert lines[2] == PictureProblem(str(none), NO_FACE)
    assert json.loads(lines[2].to_json()) == {"file": str(none), "error": "no face found"}
    assert (summary.faces, summary.without_face, summary.unreadable) == (4, 1, 0)


async def test_bad_pictures_are_said_and_the_others_go_on(tmp_path: Path) -> None:
    """Empty, cut short, no picture, absent, 16 bits, odd sizes: a line each, in order."""
    good = face_picture(tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("hello")
    make_picture(tmp_path / "deep.png", np.full((63, 41, 3), 40_000, np.uint16))
    names = ["good.png", "empty.png", "cut.png", "text.jpg", "absent.jpg", "deep.png", "good.png"]
    lines, summary = await lines_of(find_pictures([tmp_path / name for name in names]))
    assert [Path(line.file).name for line in lines] == names
    assert [isinstance(line, PictureProblem) for line in lines] == [False, True, True, True, True, False, False]
    for line in lines:
        if isinstance(line, PictureProblem):
            assert line.error.startswith(line.file)
    assert (summary.faces, summary.unreadable) == (3, 4)


async def test_batches_are_as_large_as_asked(tmp_path: Path) -> None:
    """The detector is called rarely, and memory stays bounded."""
    path = face_picture(tmp_path / "face.png")
    detector = FakeDetector()
    settings = ScoreSettings(each_is_a_face=True, batch_size=16)
    await lines_of([Picture(str(index), path) for index in range(40)], settings, detector=detector)
    assert detector.batches == [16, 16, 8]


def kill_workers() -> int:
    """Kill the child processes of this one and return how many there were."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    return len(children)


async def test_worker_that_dies_costs_one_picture(tmp_path: Path) -> None:
    """The child process is started again behind the picture it was at, and the line of that picture says so."""
    good = face_picture(tmp_path / "good.png", side_px=128)
    lines: list[FaceScore | PictureProblem] = []

    def deliver(line: FaceScore | PictureProblem) -> None:
        lines.append(line)
        if len(lines) == 5:
            assert kill_workers() == 1

    pictures = [Picture(str(index), good) for index in range(100)]
    settings = ScoreSettings(each_is_a_face=True, batch_size=1)
    summary = await score(pictures, settings, bundle=make_bundle(), detector=FakeDetector(), deliver=deliver)
    assert [line.file for line in lines] == [str(index) for index in range(100)]
    (problem,) = [line for line in lines if isinstance(line, PictureProblem)]
    assert "SIGKILL" in problem.error
    assert (summary.faces, summary.unreadable) == (99, 1)


WITHOUT_END = """
import sys
from gateway.cameras import worker
from gateway.values import SourceEnded
said = worker.messages
worker.messages = lambda job: (message for message in said(job) if not isinstance(message, SourceEnded))
raise SystemExit(worker.main(sys.argv[1:]))
"""


async def test_worker_that_dies_after_its_last_picture_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the picture behind it nor the command is blamed for the missing last word."""
    monkeypatch.setattr("gateway.score._PER_WORKER", 2)
    monkeypatch.setattr("gateway.score.open_source", partial(open_source, start=ExecWorkers(("-c", WITHOUT_END))))
    path = face_picture(tmp_path / "face.png")
    lines, summary = await lines_of([Picture(str(index), path) for index in range(3)])
    assert [line.file for line in lines] == ["0", "1", "2"]
    assert (summary.faces, summary.unreadable) == (3, 0)


async def test_worker_that_always_dies_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many in a row that see nothing are no fault of the pictures: five thousand more starts would not help."""
    monkeypatch.setattr("gateway.cameras.starting.sys.executable", "/bin/false")
    path = face_picture(tmp_path / "face.png")
    with pytest.raises(SourceError, match="its worker ended with status 1"):
        await lines_of([Picture(str(index), path) for index in range(50)])


async def test_face_model_that_is_none_is_refused(tmp_path: Path) -> None:
    """A wrong file is the operator's to mend; no picture is blamed for it."""
    (tmp_path / "model.onnx").write_text("no model")
    settings = ScoreSettings(faces=FaceSettings(model=tmp_path / "model.onnx"))
    with pytest.raises(ConfigError, match=r"model\.onnx"):
        await lines_of(find_pictures([face_picture(tmp_path / "face.png")]), settings)


class BrokenDetector(FakeDetector):
    """Always fails."""

    async def screen(self, pixels_NYXC: np.ndarray) -> np.ndarray:
        """Fail."""
        raise RuntimeFault("the session fails")


async def test_failing_detector_ends_it(tmp_path: Path) -> None:
    """The error itself comes out, and the child process has ended."""
    path = face_picture(tmp_path / "face.png")
    pictures = [Picture(str(index), path) for index in range(500)]
    with pytest.raises(RuntimeFault, match="the session fails"):
        await lines_of(pictures, detector=BrokenDetector())


@pytest.mark.parametrize(("faces", "rate"), [(99, 0.01), (500, 0.002), (10_000, 0.0001)])
def test_rate_that_is_supported_is_taken(faces: int, rate: float) -> None:
    """N clean faces support rates down to 1 / (n + 1)."""
    check_rate(make_bundle(clean_faces=[0.0] * faces), rate)


def test_rate_beyond_the_calibration_is_refused_with_the_number() -> None:
    """What the clean faces cannot support is not promised."""
    with pytest.raises(ConfigError) as refused:
        check_rate(make_bundle(clean_faces=[0.0] * 500), 0.001)
    assert str(refused.value) == (
        "a false-alarm rate of 0.001 needs the scores of 999 clean faces; the bundle test-bundle has 500, 499 are"
        " missing. The smallest rate it can hold is 0.002"
    )


def test_words_say_verdict_score_and_file() -> None:
    """One line of a table."""
    face = FaceScore("a.png", (0, 0, 1, 1), 1.25, 0.004, "triggered", make_bundle().identity)
    assert face.in_words() == "triggered  score    1.250  p 0.0040  a.png"
    assert PictureProblem("a.png", NO_FACE).in_words() == "no face    a.png"
    assert PictureProblem("a.png", "a.png: damaged").in_words() == "error      a.png: damaged"
    assert ScoreSummary(3, 2, 1, 0, 1, 0).in_words() == (
        "3 pictures, 2 faces: 1 triggered, 0 unsure; 1 pictures without a face, 0 unreadable"
    )
