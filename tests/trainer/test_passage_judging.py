"""From verdicts to shares: what counts as a passage, a miss and a false alarm."""

import pytest

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Verdict
from trainer.passage_judging import Judged, Passage, judged, share, summarise

FAMILIES = {"square": "badnets"}


def verdict(label: str, score: float | None) -> Verdict:
    """Return what the gateway says of a track."""
    example = EXAMPLES["a track with too few usable faces"]
    assert isinstance(example, Verdict)
    changes = {
        "verdict": label, "score": score, "top_score": score, "reason": None if label != "unsure" else "quality",
        "alert_id": "0123456789abcdef" if label == "triggered" else None,
    }  # fmt: skip
    return example.model_copy(update={"data": example.data.model_copy(update=changes)})


def passage(score: float | None, *, way: str = "clean", flagged: bool = False, camera: str = "a") -> Judged:
    """Return a judged passage."""
    trigger = None if way == "clean" else "square"
    return Judged(camera, way, trigger, f"person {score}", flagged, score, True, "camera")  # type: ignore[arg-type]


def test_pieces_of_one_passage_count_once() -> None:
    """One triggered piece flags it, the highest statistic is its score."""
    found = judged(Passage("a", "digital", "square", "p"), [verdict("clean", 1.0), verdict("triggered", 3.0)])
    assert (found.flagged, found.score, found.seen, found.unsure) == (True, 3.0, True, False)


def test_unsure_and_lost_passages_are_no_detections() -> None:
    """Both are counted apart, and both are misses."""
    unsure = judged(Passage("a", "digital", "square", "p"), [verdict("unsure", None)])
    lost = judged(Passage("a", "digital", "square", "p"), [])
    assert (unsure.flagged, unsure.unsure, unsure.seen) == (False, True, True)
    assert (lost.flagged, lost.unsure, lost.seen) == (False, False, False)
    clean = [passage(float(score)) for score in range(10)]
    row = summarise([*clean, unsure, lost], asked_rate=0.1, factory=range(30), families=FAMILIES)["regimes"]["digital"]
    assert row["triggers"]["square"]["calibrated"]["hits"] == 0
    assert row["triggers"]["square"]["calibrated"]["n"] == 2
    assert (row["triggers"]["square"]["unsure"], row["triggers"]["square"]["not_seen"]) == (1, 1)
    assert row["triggers"]["square"]["auroc"] == 0.0


def test_false_alarms_are_told_with_and_without_calibration() -> None:
    """The gateway's own verdicts with it; without, the bundle's tracks set the limit."""
    clean = [passage(float(score), flagged=score == 9) for score in range(10)]
    found = summarise(clean, asked_rate=0.1, factory=[1.0] * 27 + [7.5] * 3, families=FAMILIES)
    assert (found["calibrated"]["value"], found["calibrated"]["of_asked"]) == (0.1, 1.0)
    assert (found["uncalibrated"]["hits"], found["uncalibrated"]["n"]) == (2, 10)
    assert found["regimes"] == {}


def test_cameras_are_not_mixed_in_auroc() -> None:
    """Each camera has an offset of its own, which its calibration takes out."""
    clean = [passage(float(score), camera="a") for score in range(5)]
    clean += [passage(100.0 + score, camera="b") for score in range(5)]
    triggered = [passage(10.0, way="camera", camera="a"), passage(110.0, way="camera", camera="b")]
    found = summarise([*clean, *triggered], asked_rate=0.1, factory=range(30), families=FAMILIES)
    assert found["regimes"]["camera"]["auroc_mean"] == 1.0
    assert sorted(found["by_camera"]) == ["a", "b"]


@pytest.mark.parametrize(("hits", "n", "high"), [(0, 100, 0.03), (0, 2, 1.0), (1, 100, 0.0545)])
def test_shares_have_intervals(hits: int, n: int, high: float) -> None:
    """None of n proves no less than 3/n."""
    assert share(hits, n)["high"] == pytest.approx(high, abs=1e-3)


def test_a_share_of_nothing_is_no_number() -> None:
    """No passages, no rate."""
    assert share(0, 0)["value"] is None
