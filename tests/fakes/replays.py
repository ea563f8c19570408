"""Results of replays without pictures: passes with tracks of chosen scores."""

from pathlib import Path

from fakes.screening import make_bundle

from gateway.lane import SourceSummary
from gateway.replay.recordings import Recording
from gateway.replay.results import Kind, Pass, PassResult, ReplayResult, TrackResult
from gateway.screening import decide
from gateway.values import SourceEnded

FOLDER = Path("recordings")
THRESHOLD = 2.0


def make_track(
    score: float | None, *, track_id: int = 1, start_s: float = 0.0, is_triggered: bool | None = None
) -> TrackResult:
    """Return a track of two seconds: triggered from `THRESHOLD` on, unsure without a score."""
    label: decide.Label = "unsure" if score is None else "triggered" if score >= THRESHOLD else "clean"
    return TrackResult(
        track_id=track_id,
        start_s=start_s,
        end_s=start_s + 2.0,
        label=label,
        reason="quality" if score is None else None,
        score=score,
        threshold=THRESHOLD,
        level="factory",
        is_triggered=is_triggered,
    )


def make_pass(
    name: str, scores: list[float | None], *, kind: Kind = "recorded", is_triggered: bool | None = None
) -> PassResult:
    """Return a pass of `name` with one track for each score, one after the other, and a face every half second."""
    camera = Path(name).stem + ("-injected" if kind == "injected" else "")
    summary = SourceSummary(camera, ended=SourceEnded(camera, 100, 0, 0), frames=100, faces=5 * len(scores))
    done = PassResult(Pass(Recording(FOLDER / name, Path(name).stem), kind, camera), summary)
    for number, score in enumerate(scores):
        track = make_track(score, track_id=number + 1, start_s=2.5 * number, is_triggered=is_triggered)
        done.tracks.append(track)
        summary.tracks += 1
        summary.verdicts[track.label] += 1
        if track.reason is not None:
            summary.unsure[track.reason] += 1
        for step in range(5):
            done.trace.add(track.start_s + step / 2, (score or 0.0) + 0.1 * step - 0.2)
    return done


def make_result(*passes: PassResult, clean_tracks: int = 400, asked_rate: float = 0.001) -> ReplayResult:
    """Return a replay of these passes, judged against this many factory tracks."""
    factory = tuple(index / 1000 for index in range(clean_tracks))
    reference = decide.choose_reference(asked_rate=asked_rate, camera=(), environment=(), factory=factory)
    return ReplayResult(make_bundle().identity, "default", asked_rate, reference, (), passes)
