"""Which faces become one passage: crossings, pauses, fast and small faces, breaks in time, and the bounds."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fakes.passages import face, frame
from hypothesis import given
from hypothesis import strategies as st

from gateway.screening.tracks import Tracker, TrackRules
from gateway.values import FaceBox

Person = Callable[[float], FaceBox | None]
FPS = [5.0, 10.0, 15.0, 30.0]


def walker(x: float, y: float, size: float, *, vx: float = 0.0, vy: float = 0.0) -> Person:
    """Return a person at constant velocity, px and px/s."""
    return lambda time_s: face(x + vx * time_s, y + vy * time_s, size)


def during(person: Person, first_s: float, last_s: float) -> Person:
    """Return a person who is seen only within this time."""
    return lambda time_s: person(time_s) if first_s <= time_s <= last_s else None


def away(person: Person, first_s: float, last_s: float) -> Person:
    """Return a person who is not seen within this time."""
    return lambda time_s: None if first_s <= time_s <= last_s else person(time_s)


def watch(
    people: Sequence[Person], *, fps: float, seconds: float, tracker: Tracker | None = None, jitter: float = 0.0
) -> list[list[int]]:
    """Return each person's track ids, frame by frame where they are seen; boxes come in changing order."""
    tracker = tracker or Tracker()
    rng = np.random.default_rng(1)
    ids: list[list[int]] = [[] for _ in people]
    for number in range(int(seconds * fps)):
        seen = [(who, box) for who, person in enumerate(people) if (box := person(number / fps)) is not None]
        order = rng.permutation(len(seen))
        boxes = [shaken(seen[place][1], rng, jitter) for place in order]
        faces, _ = tracker.advance(frame(number / fps, boxes, seq=number))
        assert [one.crop.box for one in faces] == boxes
        for place, one in zip(order, faces, strict=True):
            ids[seen[place][0]].append(one.track_id)
    return ids


def shaken(box: FaceBox, rng: np.random.Generator, share: float) -> FaceBox:
    """Return the box as a face finder would report it: off by a share of its size."""
    dx1, dy1, dx2, dy2 = (rng.normal(size=4) * share * box.width_px).tolist()
    return FaceBox(box.x1 + dx1, box.y1 + dy1, box.x2 + dx2, box.y2 + dy2, box.confidence)


def in_front(nearer: Person, farther: Person) -> Person:
    """Return `farther` as long as `nearer` does not hide the face."""

    def seen(time_s: float) -> FaceBox | None:
        front, back = nearer(time_s), farther(time_s)
        assert front is not None
        assert back is not None
        return None if abs(front.x1 - back.x1) < 0.6 * back.width_px else back

    return seen


# People ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", FPS)
def test_one_person_when_walking_past(fps: float) -> None:
    """A passage is one track, in spite of boxes that tremble."""
    assert set(watch([walker(200, 400, 60, vx=150)], fps=fps, seconds=6, jitter=0.05)[0]) == {1}


@pytest.mark.parametrize("fps", FPS)
@pytest.mark.parametrize("widths_per_s", [6.0, 9.0, 12.0, 15.0])
def test_small_face_when_it_moves_by_more_than_its_width(fps: float, widths_per_s: float) -> None:
    """At five frames a second the boxes of a small, quick face never overlap, and it still is one track."""
    person = walker(10, 300, 24, vx=24 * widths_per_s, vy=5)
    assert set(watch([person], fps=fps, seconds=4, jitter=0.03)[0]) == {1}


def test_small_faces_when_they_move_side_by_side() -> None:
    """Where no boxes overlap the nearer pair counts, from the first step on."""
    people = [walker(10, 300 + 55 * n, 24, vx=150) for n in range(5)]
    ids = watch(people, fps=5, seconds=4, jitter=0.03)
    assert [len(set(own)) for own in ids] == [1] * 5


@pytest.mark.parametrize("fps", FPS)
@pytest.mark.parametrize("speed", [100.0, 300.0])
def test_two_people_when_they_cross(fps: float, speed: float) -> None:
    """The one behind is hidden for a moment, and each keeps the id."""
    left, right = walker(400, 500, 64, vx=speed), walker(1400, 520, 60, vx=-speed)
    ids = watch([left, in_front(left, right)], fps=fps, seconds=1400 / (2 * speed) + 1, jitter=0.03)
    assert [len(set(own)) for own in ids] == [1, 1]
    assert ids[0][0] != ids[1][0]


@pytest.mark.parametrize("fps", FPS)
def test_face_when_it_turns_away_and_comes_back(fps: float) -> None:
    """Eight tenths of a second unseen, while walking on, do not end the passage."""
    person = away(walker(300, 400, 80, vx=60), 2.0, 2.75)
    assert set(watch([person], fps=fps, seconds=5, jitter=0.03)[0]) == {1}


@pytest.mark.parametrize("fps", FPS)
def test_face_when_it_stays_away(fps: float) -> None:
    """After the limit the passage is over, its end is told once, and the next face is a new one."""
    tracker = Tracker()
    ended: list[int] = []
    person = away(walker(300, 400, 80), 1.0, 2.5)
    for number in range(int(4 * fps)):
        box = person(number / fps)
        _, over = tracker.advance(frame(number / fps, [] if box is None else [box]))
        ended.extend(over)
    assert ended == [1]
    assert tracker.close() == (2,)


@pytest.mark.parametrize("fps", FPS)
def test_people_when_they_stand_in_a_row(fps: float) -> None:
    """Eight neighbours who move alike are eight tracks."""
    ids = watch([walker(200 + 100 * n, 500, 60 + n, vx=100) for n in range(8)], fps=fps, seconds=5, jitter=0.02)
    assert [set(own) for own in ids] == [{own[0]} for own in ids]
    assert len({own[0] for own in ids}) == 8


@pytest.mark.parametrize("fps", FPS)
def test_face_when_it_comes_nearer(fps: float) -> None:
    """A face that trebles its size in four seconds stays the same."""

    def person(time_s: float) -> FaceBox:
        return face(900 + 20 * time_s, 500, 30 * 3 ** (time_s / 4))

    assert set(watch([person], fps=fps, seconds=4)[0]) == {1}


def test_newcomer_when_far_from_a_person_who_left() -> None:
    """Someone across the room does not inherit the track of who just left."""
    left, came = during(walker(300, 400, 60), 0.0, 1.0), during(walker(900, 400, 60), 1.2, 2.0)
    ids = watch([left, came], fps=10, seconds=2)
    assert (set(ids[0]), set(ids[1])) == ({1}, {2})


def test_newcomer_when_a_few_steps_from_a_person_who_left() -> None:
    """A second later people may be anywhere, but whoever stood still is not looked for three faces away."""
    left, came = during(walker(300, 400, 60), 0.0, 1.0), during(walker(480, 400, 60), 1.85, 2.5)
    ids = watch([left, came], fps=10, seconds=2.5)
    assert (set(ids[0]), set(ids[1])) == ({1}, {2})


def test_newcomer_when_of_another_size() -> None:
    """A face twice as large at the same place is somebody else, nearer to the camera."""
    small, large = during(walker(500, 400, 40), 0.0, 1.0), during(walker(500, 400, 80), 1.05, 2.0)
    ids = watch([small, large], fps=10, seconds=2)
    assert set(ids[0]).isdisjoint(ids[1])


def test_pairs_when_one_good_match_competes_with_two_poor_ones() -> None:
    """The person who stands still keeps the track, though giving it away would pair one more."""
    rules = TrackRules(known_max_reach=2.0, known_speed=10.0)
    tracker = Tracker(rules)
    for step in range(3):
        tracker.advance(frame(step / 5, [face(500, 400, 60), face(380, 400, 60)]))
    faces, _ = tracker.advance(frame(0.6, [face(500, 400, 60), face(605, 400, 60)]))
    assert [one.track_id for one in faces] == [1, 3]


# Cameras --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1 / 6, 1.0, 4.0])
def test_tracks_when_the_camera_has_another_size(scale: float) -> None:
    """The same scene gives the same tracks on a small and on a large picture."""

    def scaled(person: Person) -> Person:
        def seen(time_s: float) -> FaceBox | None:
            box = person(time_s)
            return None if box is None else FaceBox(box.x1 * scale, box.y1 * scale, box.x2 * scale, box.y2 * scale, 0.9)

        return seen

    left, right = walker(300, 500, 64, vx=300), walker(1500, 510, 60, vx=-300)
    people = [left, in_front(left, right), away(walker(200, 900, 40, vx=200), 1.0, 1.5)]
    assert watch([scaled(one) for one in people], fps=10, seconds=4) == watch(people, fps=10, seconds=4)


def test_tracks_when_the_picture_changes_its_size() -> None:
    """Boxes of another picture size mean other places: all passages end."""
    tracker = Tracker()
    tracker.advance(frame(0.0, [face(500, 400, 60)]))
    faces, ended = tracker.advance(frame(0.1, [face(500, 400, 60)], size_px=(1280, 720)))
    assert ([one.track_id for one in faces], ended) == ([2], (1,))


# Time -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [-0.001, -3600.0, 2.1, 86_400.0, float("nan")])
def test_tracks_when_time_jumps(step_s: float) -> None:
    """A gap, a clock that was set back and a broken stamp end every passage; the faces of the frame are new ones."""
    tracker = Tracker()
    tracker.advance(frame(10.0, [face(500, 400, 60), face(900, 400, 60)]))
    faces, ended = tracker.advance(frame(10.0 + step_s, [face(500, 400, 60), face(900, 400, 60)]))
    assert (tuple(one.track_id for one in faces), ended) == ((3, 4), (1, 2))


def test_tracks_when_two_frames_have_one_time() -> None:
    """A camera that stamps two frames alike breaks nothing."""
    tracker = Tracker()
    for time_s in (0.0, 0.1, 0.1, 0.2):
        faces, ended = tracker.advance(frame(time_s, [face(500 + 100 * time_s, 400, 60)]))
        assert ([one.track_id for one in faces], ended) == ([1], ())


def test_tracks_when_frames_are_rare() -> None:
    """At one frame a second a track outlives more than the usual second: it may miss three frames."""
    tracker = Tracker()
    tracker.advance(frame(0.0, [face(500, 400, 60)]))
    assert [tracker.advance(frame(float(second), []))[1] for second in (1, 2, 3, 4)] == [(), (), (), (1,)]


def test_close_when_tracks_are_live() -> None:
    """All end, once; the ids that follow are new."""
    tracker = Tracker()
    tracker.advance(frame(0.0, [face(500, 400, 60), face(900, 400, 60)]))
    assert (tracker.close(), tracker.close()) == ((1, 2), ())
    faces, _ = tracker.advance(frame(0.1, [face(500, 400, 60)]))
    assert [one.track_id for one in faces] == [3]


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_tracks_when_every_frame_brings_other_faces() -> None:
    """A picture that flickers with false faces cannot grow the tracker: the longest unseen end first."""
    tracker = Tracker(TrackRules(max_live=10, max_missed_s=1e6))
    rng = np.random.default_rng(3)
    live: set[int] = set()
    for number in range(200):
        boxes = [face(x, y, 10) for x, y in rng.uniform(0, 100_000, size=(6, 2)).tolist()]
        faces, ended = tracker.advance(frame(number / 30, boxes))
        live = (live | {one.track_id for one in faces}) - set(ended)
        assert len(live) <= 10
        assert {one.track_id for one in faces} <= live
    assert tracker.close() == tuple(sorted(live))


def test_tracks_when_one_frame_holds_more_faces_than_the_bound() -> None:
    """Faces that are seen now are never ended."""
    tracker = Tracker(TrackRules(max_live=2))
    boxes = [face(200 * number, 400, 60) for number in range(5)]
    assert tracker.advance(frame(0.0, boxes))[1] == ()
    assert tracker.advance(frame(0.1, boxes))[1] == ()
    assert tracker.advance(frame(0.2, boxes[:1]))[1] == (2, 3, 4)


@pytest.mark.parametrize("odd", [FaceBox(5, 5, 5, 5, 0.9), FaceBox(9, 9, 3, 3, 0.9), FaceBox(0, 0, 1e5, 1e-9, 0.9)])
def test_box_when_it_is_degenerate(odd: FaceBox) -> None:
    """An empty or inverted box gets an id like any other and disturbs nobody."""
    tracker = Tracker()
    for number in range(4):
        faces, _ = tracker.advance(frame(number / 10, [face(500, 400, 60), odd]))
        assert faces[0].track_id == 1


BOXES = st.builds(face, st.floats(0, 1920), st.floats(0, 1080), st.floats(5, 400))
FRAMES = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 0.03, 0.2, 1.2, 5.0]), st.lists(BOXES, max_size=6)), max_size=15
)


@given(FRAMES)
def test_any_frames_keep_the_books(frames: list[tuple[float, list[FaceBox]]]) -> None:
    """Ids are unique in a frame, count from 1, end exactly once and never come back, and a second run says the same."""
    trackers = Tracker(), Tracker()
    time_s, opened, ended = 100.0, set[int](), list[int]()
    for step_s, boxes in frames:
        time_s += step_s
        (faces, over), (again, over_again) = (tracker.advance(frame(time_s, boxes)) for tracker in trackers)
        ids = [one.track_id for one in faces]
        assert (ids, over) == ([one.track_id for one in again], over_again)
        assert len(set(ids)) == len(ids) == len(boxes)
        assert set(ids).isdisjoint([*ended, *over])
        opened.update(ids)
        ended.extend(over)
    ended.extend(trackers[0].close())
    assert sorted(ended) == sorted(opened) == list(range(1, len(opened) + 1))
