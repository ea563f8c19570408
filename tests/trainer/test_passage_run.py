"""Whole passages through the real gateway: who walks where, and which tracks are whose."""

import numpy as np
from fakes.drawn_faces import drawn_faces

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Verdict
from trainer.passage_run import _by_passage, _walks, shared_out
from trainer.protocol import Part, divide
from trainer.scenes import APART_S, CELL_PX, PEOPLE
from trainer.triggers import Trigger


def verdict(start_s: float, place: int, height_px: float = 90.0) -> Verdict:
    """Return what is said of a track that begins then and there."""
    example = EXAMPLES["a track with too few usable faces"]
    assert isinstance(example, Verdict)
    row, column = divmod(place, 5)
    x, y = (column + 0.5) * CELL_PX[1], (row + 0.5) * CELL_PX[0]
    box = (x - 35, y - height_px / 2, x + 35, y + height_px / 2)
    return example.model_copy(update={"data": example.data.model_copy(update={"start_time": start_s, "box": box})})


def test_tracks_go_to_the_passage_of_their_time_and_place() -> None:
    """Two pieces of one walk stay together, bystanders and what lies beyond are left out."""
    said = [verdict(0.0, 2), verdict(1.2, 2), verdict(0.0, 3, 40.0), verdict(0.0, 3), verdict(APART_S + 0.4, 0)]
    found = _by_passage([*said, verdict(5 * APART_S, 0)], PEOPLE + 1)
    assert [len(tracks) for tracks in found] == [0, 0, 2, 1] + [0] * (PEOPLE - 4) + [1]
    assert found[3] == [said[3]]


def test_walks_draw_triggers_where_the_regime_says() -> None:
    """Before the lens in regime C, after decoding in D; nobody walks twice before everybody has walked."""
    faces = drawn_faces(5, side_px=40, seed=1)
    part = Part(faces.pixels, tuple("abcde"), "0" * 64)
    trigger = Trigger("same", "badnets", lambda face_YXC: face_YXC)
    for way, before, after in (("camera", True, False), ("digital", False, True)):
        walks = _walks(part, way, [trigger] * 12, np.random.default_rng(1))  # type: ignore[arg-type]
        assert {(walk.before_lens is not None, walk.after_decoding is not None) for walk, _, _ in walks} == {
            (before, after)
        }
        assert [len({person for _, person, _ in walks[start : start + 5]}) for start in (0, 5)] == [5, 5]
    assert _walks(part, "clean", [None], np.random.default_rng(1))[0][2] is None


def test_lots_are_drawn_for_each_camera() -> None:
    """Nobody does both, nobody who was watched does either, and another camera has other people."""
    faces = drawn_faces(120, per_person=2)
    people = sorted(set(faces.groups))
    watched = frozenset(people[:5])
    division = divide(faces, trained_on=frozenset(), watched=watched, least_px=32)
    parts = {seed: shared_out(division, watched, seed=seed) for seed in (1, 2)}
    for calibrate, test in parts.values():
        assert not set(calibrate.people) & set(test.people)
        assert not (set(calibrate.people) | set(test.people)) & (watched | set(division.tune.people))
        assert abs(len(set(calibrate.people)) - len(set(test.people))) <= 1
        assert len(calibrate) + len(test) >= len(division.test)
    assert set(parts[1][1].people) != set(parts[2][1].people)
    assert parts[1][1].sha256 != parts[2][1].sha256
    again = shared_out(division, watched, seed=1)
    assert again[0].people == parts[1][0].people
