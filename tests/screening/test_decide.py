"""What is said of a track while it runs and when it ends, and that the promised rate of false alerts holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from fakes.passages import screening
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from gateway.contract.calibration import LEAST_RATE, TrackRule, aggregate, p_value, running_statistic
from gateway.screening.decide import (
    Announcement,
    Reference,
    Severity,
    TrackState,
    Verdict,
    advance,
    asked_rate,
    choose_reference,
    finish,
    open_track,
    severity_of,
)
from gateway.screening.store import CalibrationStore
from gateway.values import Quality, Screening

EACH_FACE = TrackRule(first_face=1, last_face=256, trim=0.0)
THIRD_FACE = TrackRule(first_face=3, last_face=16, trim=0.0)
NUMBERS = tuple(float(number) for number in range(999))  # a statistic of 990 has p = 0.01, of 999 p = 0.001


def reference(clean: Sequence[float] = NUMBERS, rate: float = 0.01) -> Reference:
    """Return a camera's own clean tracks."""
    chosen = choose_reference(asked_rate=rate, camera=clean, environment=(), factory=())
    assert chosen is not None
    return chosen


@dataclass
class Story:
    """A whole track as it was told to subscribers, and its states."""

    states: list[TrackState]
    told: list[Announcement] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def types(self) -> list[str]:
        """The announcements in order."""
        return [said.type for said in self.told]


def tell(faces: Sequence[Screening], *, rule: TrackRule = EACH_FACE, against: Reference | None) -> Story:
    """Lead a track from its first face to its end."""
    state = open_track(faces[0], rule=rule, reference=against, alert_id="a1")
    story = Story([state])
    for face in faces:
        state, told = advance(state, face)
        story.states.append(state)
        story.told.extend(told)
    story.verdict, told = finish(state)
    story.told.extend(told)
    return story


def faces(*scores: float, quality: Quality = Quality.USABLE) -> list[Screening]:
    """Return the faces of one track, a tenth of a second apart."""
    return [screening(score, seq=seq, quality=quality) for seq, score in enumerate(scores)]


def ended(story: Story) -> Verdict:
    """Return the story's verdict."""
    assert story.verdict is not None
    return story.verdict


# What starts, grows and ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "types", "severities", "label"),
    [
        ([0.0, 500.0, 989.0], [], [], "clean"),
        ([math.nextafter(989.0, math.inf)], ["new", "end"], ["watch", "watch"], "triggered"),
        ([990.0], ["new", "end"], ["watch", "watch"], "triggered"),
        ([995.5, 995.5], ["new", "end"], ["watch", "watch"], "triggered"),
        ([997.0], ["new", "end"], ["alert", "alert"], "triggered"),
        ([999.0], ["new", "end"], ["critical", "critical"], "triggered"),
        ([0.0, 1980.0], ["new", "end"], ["watch", "watch"], "triggered"),
        ([990.0, 1004.0], ["new", "update", "end"], ["watch", "alert", "alert"], "triggered"),
        ([990.0, 1010.0], ["new", "update", "end"], ["watch", "critical", "critical"], "triggered"),
        ([990.0, 1004.0, 1100.0], ["new", "update", "update", "end"], ["watch", "alert", "critical"], "triggered"),
        ([999.0, 2000.0, 9000.0], ["new", "end"], ["critical", "critical"], "triggered"),
        ([990.0, 0.0, 0.0, 0.0], ["new", "end"], ["watch", "watch"], "triggered"),
        ([997.0, 0.0, 0.0, 0.0], ["new", "end"], ["alert", "alert"], "triggered"),
        ([990.0, 990.0, 991.0], ["new", "end"], ["watch", "watch"], "triggered"),
    ],
)
def test_track_when_its_statistic_moves(
    scores: list[float], types: list[str], severities: list[Severity], label: str
) -> None:
    """One `new` at the first crossing, an `update` when severity rises and never when it falls, one `end`."""
    story = tell(faces(*scores), against=reference())
    assert story.types == types
    assert [said.severity for said in story.told][: len(severities)] == severities
    assert ended(story).label == label


def test_announcements_when_told_in_full() -> None:
    """`new` says what was known at the crossing, `end` what is known at last."""
    story = tell(faces(0.0, 2000.0, 10.0, 10.0), against=reference())
    new, end = story.told
    assert (new.alert_id, new.statistic, new.p_value, new.threshold) == ("a1", 1000.0, 0.001, end.threshold)
    assert (new.face.seq, new.top.seq, new.faces_seen, new.faces_usable) == (1, 1, 2, 2)
    assert (new.start_time_s, new.end_time_s) == (0.0, None)
    assert (end.face.seq, end.top.seq, end.faces_seen, end.start_time_s, end.end_time_s) == (3, 1, 4, 0.0, 0.3)
    assert end.statistic == 1000.0
    assert end.reference.level == "camera"


def test_verdict_when_told_in_full() -> None:
    """It repeats what the alert said, and names the alert."""
    verdict = ended(tell(faces(0.0, 2000.0, 10.0), against=reference()))
    assert (verdict.camera, verdict.track_id, verdict.alert_id) == ("lobby", 1, "a1")
    assert (verdict.label, verdict.reason, verdict.statistic, verdict.p_value) == ("triggered", None, 1000.0, 0.001)
    assert (verdict.start_time_s, verdict.end_time_s, verdict.faces_seen, verdict.faces_usable) == (0.0, 0.2, 3, 3)
    assert verdict.top.score == 2000.0
    assert verdict.threshold == math.nextafter(989.0, math.inf)


def test_verdict_when_clean_names_no_alert() -> None:
    """There was none."""
    verdict = ended(tell(faces(1.0, 2.0), against=reference()))
    assert (verdict.label, verdict.reason, verdict.alert_id) == ("clean", None, None)
    assert verdict.p_value == p_value(1.5, NUMBERS)


# When nothing can be said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("against", [None, reference()])
def test_track_when_too_few_faces_are_usable(against: Reference | None) -> None:
    """Faces too small to judge do not count, however high their score; the verdict says `quality` and no number."""
    track = [*faces(9e3, 9e3, quality=Quality.TOO_SMALL), *faces(9e3, 9e3), *faces(9e3, quality=Quality.FLAT)]
    story = tell(track, rule=THIRD_FACE, against=against)
    verdict = ended(story)
    assert (verdict.label, verdict.reason, story.told) == ("unsure", "quality", [])
    assert (verdict.statistic, verdict.p_value) == (None, None)
    assert (verdict.faces_seen, verdict.faces_usable) == (5, 2)


def test_track_when_there_is_no_reference() -> None:
    """Without any clean tracks the statistic is still told, so that it can enter the store and end this state."""
    verdict = ended(tell(faces(1.0, 2.0, 3.0), rule=THIRD_FACE, against=None))
    assert (verdict.label, verdict.reason, verdict.statistic) == ("unsure", "calibration", 2.0)
    assert (verdict.p_value, verdict.threshold, verdict.alert_id, verdict.reference) == (None, None, None, None)


def test_track_when_it_ends_before_its_first_face_was_counted() -> None:
    """Nothing was seen, so nothing is said."""
    verdict, told = finish(open_track(screening(9e3), rule=EACH_FACE, reference=reference(), alert_id="a1"))
    assert (verdict.label, verdict.reason, verdict.faces_seen, told) == ("unsure", "quality", 0, ())


def test_unusable_faces_when_the_track_has_usable_ones() -> None:
    """They are counted and never weigh, and the top face is a usable one."""
    track = [screening(5.0), screening(9e3, seq=1, quality=Quality.TOO_SMALL), screening(4.0, seq=2)]
    verdict = ended(tell(track, against=reference()))
    assert (verdict.statistic, verdict.faces_seen, verdict.faces_usable, verdict.top.score) == (5.0, 3, 2, 5.0)


def test_top_face_when_none_is_usable() -> None:
    """Of faces that cannot be judged the highest is shown: `score` is always a number."""
    track = [screening(score, seq=seq, quality=Quality.FLAT) for seq, score in enumerate((1.0, 7.0, 3.0))]
    assert ended(tell(track, against=reference())).top.seq == 1


def test_faces_when_the_track_is_longer_than_the_rule() -> None:
    """Later faces are counted and may be the top one, but no longer move the statistic."""
    rule = replace(THIRD_FACE, last_face=4)
    story = tell(faces(1.0, 1.0, 1.0, 1.0, 9e3, 9e3), rule=rule, against=reference())
    verdict = ended(story)
    assert (verdict.label, verdict.statistic, verdict.faces_usable, verdict.top.seq) == ("clean", 1.0, 6, 4)
    assert len(story.states[-1].scores) == 4


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_score_when_it_is_not_finite(broken: float) -> None:
    """A broken score stops screening rather than passing for a low one."""
    with pytest.raises(ValueError, match="finite"):
        tell(faces(1.0, broken), against=reference())


@pytest.mark.parametrize("stranger", [screening(1.0, track_id=2), screening(1.0, camera="gate")])
def test_face_when_it_belongs_to_another_track(stranger: Screening) -> None:
    """Mixing two people's scores is a fault of the caller, said at once."""
    state = open_track(screening(1.0), rule=EACH_FACE, reference=None, alert_id="a1")
    with pytest.raises(ValueError, match="given to track 1 of lobby"):
        advance(state, stranger)


# Which clean tracks judge ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("camera", "environment", "factory", "level", "rate", "missing"),
    [
        (99, 0, 0, "camera", 0.01, 0),
        (500, 900, 900, "camera", 0.01, 0),
        (98, 99, 900, "environment", 0.01, 1),
        (0, 99, 900, "environment", 0.01, 99),
        (98, 98, 900, "factory", 0.01, 1),
        (98, 98, 49, "factory", 0.02, 1),
        (0, 0, 1, "factory", 0.5, 99),
    ],
)
def test_reference_when_stores_fill(
    camera: int, environment: int, factory: int, level: str, rate: float, missing: int
) -> None:
    """The camera's own tracks as soon as they suffice, else the environment's, else the bundle's at what they hold."""
    clean = [float(number) for number in range(1_000)]
    chosen = choose_reference(
        asked_rate=0.01, camera=clean[:camera], environment=clean[:environment], factory=clean[:factory]
    )
    assert chosen is not None
    assert (chosen.level, chosen.false_alarm_rate, chosen.tracks_missing) == (level, rate, missing)
    assert chosen.asked_rate == 0.01
    assert p_value(chosen.threshold, chosen.ordered_clean) <= rate


def test_reference_when_there_are_no_clean_tracks() -> None:
    """Then there is none; a few of the camera's own do not pass for enough."""
    assert choose_reference(asked_rate=0.01, camera=[1.0] * 98, environment=[1.0] * 98, factory=()) is None


@pytest.mark.parametrize(
    ("score", "label", "p", "severity"),
    [(48.0, "clean", 2 / 50, None), (49.0, "triggered", None, "watch"), (1e6, "triggered", None, "watch")],
)
def test_p_value_when_the_asked_rate_is_out_of_reach(
    score: float, label: str, p: float | None, severity: Severity | None
) -> None:
    """At the floor of too few tracks the p-value cannot reach the asked rate: it is null, severity claims no more."""
    few = choose_reference(asked_rate=0.001, camera=(), environment=(), factory=[float(n) for n in range(49)])
    story = tell(faces(score), against=few)
    assert (ended(story).label, ended(story).p_value) == (label, p)
    assert [(said.severity, said.p_value) for said in story.told] == [(severity, None)] * (2 if severity else 0)


def test_reference_when_it_was_frozen_at_the_opening() -> None:
    """A store that grows while the track runs changes neither its alert nor its verdict."""
    clean = [0.0] * 99
    state = open_track(screening(1.0), rule=EACH_FACE, reference=reference(clean), alert_id="a1")
    state, told = advance(state, screening(1.0))
    clean.extend([2.0] * 900)
    verdict, last = finish(state)
    assert [said.type for said in (*told, *last)] == ["new", "end"]
    assert (verdict.label, verdict.p_value) == ("triggered", 0.01)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (None, "watch"),
        (0.01, "watch"),
        (0.0034, "watch"),
        (0.0033, "alert"),
        (0.0011, "alert"),
        (0.001, "critical"),
        (1e-6, "critical"),
    ],
)
def test_severity_when_p_falls(p: float | None, expected: Severity) -> None:
    """A third and a tenth of the asked rate are the documented cut points."""
    assert severity_of(p, 0.01) == expected


@pytest.mark.parametrize(
    ("budget", "per_day", "expected"),
    [(1.0, 1000.0, 0.001), (1.0, 1.0, 0.5), (100.0, 10.0, 0.5), (1e-6, 1e6, LEAST_RATE)],
)
def test_asked_rate_when_a_budget_is_spent(budget: float, per_day: float, expected: float) -> None:
    """The budget over the day's tracks, and never more than every second track."""
    assert asked_rate(alert_budget_per_day=budget, tracks_per_day=per_day) == expected


@pytest.mark.parametrize(("budget", "per_day"), [(0.0, 10.0), (-1.0, 10.0), (1.0, 0.0), (math.nan, 1.0)])
def test_asked_rate_when_the_budget_makes_no_sense(budget: float, per_day: float) -> None:
    """No budget cannot be kept by any detector that ever alerts."""
    with pytest.raises(ValueError, match="budget"):
        asked_rate(alert_budget_per_day=budget, tracks_per_day=per_day)


# What holds for every track -------------------------------------------------------------------------------------------

# Quarters make ties common; the reference lies in the same range, so that many tracks cross.
SCORES = st.integers(-12, 12).map(lambda quarter: quarter / 4)
FACES = st.lists(st.tuples(SCORES, st.sampled_from([Quality.USABLE] * 4 + [Quality.FLAT])), min_size=1, max_size=24)
REFERENCES = st.builds(
    lambda clean, rate: choose_reference(asked_rate=rate, camera=clean, environment=(), factory=clean),
    st.lists(SCORES, max_size=60).map(sorted),
    st.sampled_from([0.5, 0.2, 0.1, 0.05, 0.02, 0.01]),
)
RULES = st.builds(
    lambda first, more, trim: TrackRule(first, first + more, trim),
    st.integers(1, 4),
    st.integers(0, 12),
    st.sampled_from([0.0, 0.125]),
)


@given(FACES, RULES, REFERENCES)
def test_every_track_is_told_consistently(
    track: list[tuple[float, Quality]], rule: TrackRule, against: Reference | None
) -> None:
    """One `new` and one `end` around the updates or nothing at all; triggered if and only if announced."""
    seen = [screening(score, seq=seq, quality=quality) for seq, (score, quality) in enumerate(track)]
    story = tell(seen, rule=rule, against=against)
    verdict = ended(story)
    assert (verdict.label == "triggered") == bool(story.told) == (verdict.alert_id is not None)
    if story.told:
        assert story.types == ["new", *["update"] * (len(story.told) - 2), "end"]
        assert len(story.told) <= 4
        assert story.told[-1].statistic == verdict.statistic
        ranks = [("watch", "alert", "critical").index(said.severity) for said in story.told[:-1]]
        assert ranks == sorted(set(ranks))
    for p in [verdict.p_value, *(said.p_value for said in story.told)]:
        assert p is None or 0.0 < p <= 1.0
    if against is not None and verdict.statistic is not None:
        exact = p_value(verdict.statistic, against.ordered_clean)
        assert (verdict.label == "triggered") == (exact <= against.false_alarm_rate)
        assert (verdict.label == "triggered") == (verdict.statistic >= against.threshold)
        assert verdict.p_value in (None, exact)
        assert (verdict.p_value is None) == (exact <= 1 / (len(against.ordered_clean) + 1) > against.asked_rate)


@given(FACES, RULES, REFERENCES)
def test_every_statistic_only_grows(
    track: list[tuple[float, Quality]], rule: TrackRule, against: Reference | None
) -> None:
    """And is the one that calibration computes from the usable scores."""
    seen = [screening(score, seq=seq, quality=quality) for seq, (score, quality) in enumerate(track)]
    story = tell(seen, rule=rule, against=against)
    known = [state.statistic for state in story.states if state.statistic is not None]
    assert known == sorted(known)
    usable = [score for score, quality in track if quality is Quality.USABLE]
    assert ended(story).statistic == running_statistic(usable, rule)
    assert ended(story).faces_usable == len(usable)


# The promise, simulated -----------------------------------------------------------------------------------------------


def clean_tracks(rng: np.random.Generator, count: int) -> list[list[float]]:
    """Return scores of clean people: an offset of each, and frames that hang together (AR(1), 0.5), 3 to 40 of them."""
    frames_NF = rng.normal(size=(count, 40))
    for later in range(1, 40):
        frames_NF[:, later] = 0.5 * frames_NF[:, later - 1] + math.sqrt(0.75) * frames_NF[:, later]
    frames_NF += rng.normal(scale=0.7, size=(count, 1))
    lengths = rng.integers(3, 41, size=count)
    return [row[:length].tolist() for row, length in zip(frames_NF, lengths, strict=True)]


def crosses(track: Sequence[float], against: Reference) -> bool:
    """Lead the track through screening and say whether an alert was raised."""
    state = open_track(screening(track[0]), rule=TrackRule(), reference=against, alert_id="a1")
    for score in track:
        state, told = advance(state, screening(score))
        if told:
            return True
    return finish(state)[0].label == "triggered"


def test_false_alerts_when_clean_tracks_pass() -> None:
    """At an asked 1 % one clean track in a hundred alerts; calibrating the final mean instead gives several times that.

    Each of 2,000 cameras has its own 99 clean tracks and sees one new one. The alternative compares with the final
    aggregates of the same tracks, but alerts, as every live system does, when the running one crosses.
    """
    rng = np.random.default_rng(20261)
    rule, cameras = TrackRule(), 2_000
    flagged = naive = 0
    for _ in range(cameras):
        *known, new = clean_tracks(rng, 100)
        statistics = sorted(value for track in known if (value := running_statistic(track, rule)) is not None)
        finals = sorted(aggregate(track[: rule.last_face], trim=rule.trim) for track in known)
        flagged += crosses(new, reference(statistics))
        naive += crosses(new, reference(finals))
    low, high = binom.interval(0.999, cameras, 0.01)
    assert low <= flagged <= high
    assert naive > 1.5 * high


def test_false_alerts_when_flagged_tracks_are_kept_out() -> None:
    """A store that leaves out what it flagged loses its tail and flags ever more; one that takes all keeps its promise.

    The rule of the store: every track enters, whatever its score.
    """
    rng = np.random.default_rng(20262)
    all_in, kept_out = CalibrationStore(max_tracks=999), CalibrationStore(max_tracks=999)
    for statistic in rng.normal(size=999).tolist():
        all_in.add(statistic, camera="lobby", environment="indoor")
        kept_out.add(statistic, camera="lobby", environment="indoor")
    flags_all, flags_kept = [], []
    for statistic in rng.normal(size=12_000).tolist():
        flags_all.append(p_value(statistic, all_in.camera("lobby")) <= 0.01)
        all_in.add(statistic, camera="lobby", environment="indoor")
        flags_kept.append(p_value(statistic, kept_out.camera("lobby")) <= 0.01)
        if not flags_kept[-1]:
            kept_out.add(statistic, camera="lobby", environment="indoor")
    low, high = binom.interval(0.999, 6_000, 0.01)
    assert low <= sum(flags_all[6_000:]) <= high
    assert sum(flags_kept[6_000:]) > 3 * high


def test_a_scratch_on_the_lens_flags_everybody_only_until_the_camera_is_calibrated() -> None:
    """What recurs on every face of a camera (scratch, watermark, time stamp) becomes what is ordinary there."""
    rng = np.random.default_rng(33)
    factory = sorted(rng.normal(size=999).tolist())
    scratched = CalibrationStore()
    flags: list[bool] = []
    for _ in range(3_000):
        own = scratched.camera("lobby")
        against = choose_reference(asked_rate=0.01, camera=own, environment=(), factory=factory)
        track = faces(*(8.0 + rng.normal() + 0.3 * rng.normal(size=8)))
        verdict = ended(tell(track, rule=THIRD_FACE, against=against))
        flags.append(verdict.label == "triggered")
        assert verdict.statistic is not None
        scratched.add(verdict.statistic, camera="lobby", environment="indoor")
    assert all(flags[:99])
    low, high = binom.interval(0.999, 2_000, 0.01)
    assert low <= sum(flags[1_000:]) <= high
