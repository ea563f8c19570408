"""Faces on the disk: sealed, back as they were, gone with their key, whole after a crash."""

from pathlib import Path

import numpy as np
import pytest
from fakes.adaptation import faces

from gateway.adaptation import clean_sets
from gateway.adaptation.clean_sets import HOUR_S, RETENTION_S, CleanSets
from gateway.adaptation.collect import CleanFace, Sighting

BOTH = frozenset({"gate", "lobby"})


def filled(folder: Path) -> tuple[CleanSets, list[CleanFace]]:
    """Return a store with a face an hour for each of two cameras."""
    sets, pictures = CleanSets(folder), faces(6, seed=1)
    kept = [
        CleanFace(camera, HOUR_S * hour + 60.0, 0.5, pictures[2 * hour + place])
        for hour in range(3)
        for place, camera in enumerate(sorted(BOTH))
    ]
    assert [sets.add(face) for face in kept] == [True] * len(kept)
    return sets, kept


def test_faces_when_read_again(tmp_path: Path) -> None:
    """Each comes back with its facts; of other cameras none does."""
    sets, kept = filled(tmp_path)
    found = sets.faces(sets.sightings(BOTH))
    assert {each.pixels_YXC.tobytes() for each in found} == {each.pixels_YXC.tobytes() for each in kept}
    assert {each.camera for each in sets.faces(sets.sightings(frozenset({"gate"})))} == {"gate"}


def test_faces_when_some_are_asked_for(tmp_path: Path) -> None:
    """Those alone are opened for use, and what is known of all is when and where they were seen."""
    sets, kept = filled(tmp_path)
    seen = [Sighting(face.camera, face.time_s) for face in kept]
    assert sorted(sets.sightings(BOTH), key=str) == sorted(seen, key=str)
    (face,) = sets.faces(seen[3:4])
    assert face.pixels_YXC.tobytes() == kept[3].pixels_YXC.tobytes()


def test_disk_when_searched_for_a_face(tmp_path: Path) -> None:
    """No file holds a row of a face, and nobody but the owner may read any."""
    _, kept = filled(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert not any(face.pixels_YXC[10].tobytes() in path.read_bytes() for face in kept)


def test_faces_when_forgotten(tmp_path: Path) -> None:
    """A camera, a time, or what is too old: the key goes first, so that copied records stay sealed."""
    sets, _ = filled(tmp_path)
    copied = (tmp_path / "clean" / "gate" / "0.faces").read_bytes()
    assert sets.forget(camera="gate") == 3
    assert {each.camera for each in sets.faces(sets.sightings(BOTH))} == {"lobby"}
    (tmp_path / "clean" / "gate" / "0.faces").write_bytes(copied)
    assert sets.faces(sets.sightings(frozenset({"gate"}))) == []
    assert sets.forget(since_s=HOUR_S, until_s=2 * HOUR_S) == 1
    assert [each.time_s for each in sets.faces(sets.sightings(BOTH))] == [60.0, 2 * HOUR_S + 60.0]
    assert sets.sweep(RETENTION_S + 1.5 * HOUR_S) == 2
    assert len(sets.faces(sets.sightings(BOTH))) == 1


def test_faces_when_an_operator_called_their_alerts_false(tmp_path: Path) -> None:
    """They say so when they are read, and the hour of one goes when its alert is confirmed after all."""
    sets, _ = filled(tmp_path)
    sets.add(CleanFace("gate", HOUR_S + 90.0, 0.9, faces(1, seed=2)[0], "a7"))
    assert [each.alert_id for each in sets.faces(sets.sightings(BOTH))].count("a7") == 1
    assert sets.forget_alerts({"a8"}) == 0
    assert sets.forget_alerts({"a7", "a9"}) == 1
    left = sets.faces(sets.sightings(BOTH))
    assert (len(left), {each.alert_id for each in left}) == (5, {None})


@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_faces_when_the_last_record_is_cut_short(tmp_path: Path, cut: int) -> None:
    """What was whole before it is read."""
    sets, pictures = CleanSets(tmp_path), faces(2, seed=1)
    for picture in pictures:
        sets.add(CleanFace("gate", 1.0, 0.5, picture))
    path = tmp_path / "clean" / "gate" / "0.faces"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [each.pixels_YXC.tobytes() for each in sets.faces(sets.sightings(BOTH))] == [pictures[0].tobytes()]


@pytest.mark.parametrize("rest", [b"", b"\0" * 32, b"half a key"])
def test_faces_when_their_key_was_cut_off_or_is_half_erased(tmp_path: Path, rest: bytes) -> None:
    """A full disk, or a crash while an hour was erased: what comes is sealed anew, and under no key that is known."""
    sets, pictures = CleanSets(tmp_path), faces(2, seed=1)
    sets.add(CleanFace("gate", 1.0, 0.5, pictures[0]))
    path = tmp_path / "clean" / "gate" / "0.key"
    path.write_bytes(rest)
    assert sets.sightings(BOTH) == []
    assert sets.add(CleanFace("gate", 2.0, 0.5, pictures[1]))
    assert path.read_bytes() != rest
    assert [each.time_s for each in sets.faces(sets.sightings(BOTH))] == [2.0]


@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_faces_that_come_after_one_that_was_cut_short(tmp_path: Path, cut: int) -> None:
    """They take its place, so that an hour goes on as if it had never come."""
    sets, pictures = CleanSets(tmp_path), faces(3, seed=1)
    for picture in pictures[:2]:
        sets.add(CleanFace("gate", 1.0, 0.5, picture))
    path = tmp_path / "clean" / "gate" / "0.faces"
    path.write_bytes(path.read_bytes()[:-cut])
    sets.add(CleanFace("gate", 2.0, 0.5, pictures[2]))
    found = [each.pixels_YXC.tobytes() for each in sets.faces(sets.sightings(BOTH))]
    assert found == [pictures[0].tobytes(), pictures[2].tobytes()]


def test_faces_when_moved_to_another_camera(tmp_path: Path) -> None:
    """A record is bound to its camera and hour."""
    sets, _ = filled(tmp_path)
    gate, lobby = tmp_path / "clean" / "gate", tmp_path / "clean" / "lobby"
    for suffix in (".key", ".faces"):
        (lobby / f"1{suffix}").write_bytes((gate / f"1{suffix}").read_bytes())
    assert len(sets.faces(sets.sightings(frozenset({"lobby"})))) == 2


def test_room_when_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is kept than there is room for."""
    sets, _ = filled(tmp_path)
    monkeypatch.setattr(clean_sets, "MAX_BYTES", 1000)
    assert not sets.add(CleanFace("gate", 1.0, 0.5, np.zeros((32, 32, 3), np.uint8)))
