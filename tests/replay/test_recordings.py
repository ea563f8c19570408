"""Paths become recordings, recordings get camera names, and ids derive from content alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.topics import RESERVED_WORDS, check_camera_name
from gateway.replay.recordings import INJECTED_SUFFIX, digest, name_recordings, slug


def touch(folder: Path, *names: str) -> None:
    """Make files with something in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def test_files_stay_in_the_order_given(tmp_path: Path) -> None:
    """A file is a recording, also one that does not exist: reading it will say so."""
    paths = [tmp_path / name for name in ("b.mp4", "a.mp4", "absent")]
    assert [each.path for each in name_recordings(paths)] == paths


def test_folder_of_videos_stands_for_its_videos(tmp_path: Path) -> None:
    """In natural order; what is no video, hidden or deeper stays out."""
    touch(tmp_path / "day", "clip10.mp4", "clip2.MKV", ".hidden.mp4", "index.csv", "thumb.jpg")
    touch(tmp_path / "day" / "deeper", "x.mp4")
    names = [each.path.name for each in name_recordings([tmp_path / "day"])]
    assert names == ["clip2.MKV", "clip10.mp4"]


def test_folder_of_pictures_is_one_recording(tmp_path: Path) -> None:
    """Its camera has the folder's name, dots included."""
    touch(tmp_path / "walk.2026", "1.jpg", "2.jpg")
    (recording,) = name_recordings([tmp_path / "walk.2026"])
    assert (recording.path, recording.camera) == (tmp_path / "walk.2026", "walk-2026")


def test_cameras_are_unique(tmp_path: Path) -> None:
    """Also between the two passes that a trigger to inject makes of each recording."""
    paths = [Path("x/gate.mp4"), Path("y/gate.mp4"), Path("gate-injected.mp4"), Path("Gate.mkv")]
    cameras = [each.camera for each in name_recordings(paths)]
    both = cameras + [camera + INJECTED_SUFFIX for camera in cameras]
    assert cameras[:2] == ["gate", "gate-2"]
    assert len(set(both)) == 8


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Lobby", "lobby"),
        ("Größe 1", "grosse-1"),
        ("Café.Nord", "cafe-nord"),
        ("__x--", "__x"),
        ("門", "recording"),
        ("status", "camera-status"),
        ("a" * 100, "a" * 48),
    ],
)
def test_slug_makes_readable_names(text: str, name: str) -> None:
    """Letters survive as far as they can, and no fixed word of the topics is taken."""
    assert slug(text) == name


@given(st.text())
def test_every_text_becomes_a_camera_name(text: str) -> None:
    """Whatever a file is called, both passes have names that the contract takes."""
    assert check_camera_name(slug(text)) == slug(text)
    check_camera_name(slug(text) + INJECTED_SUFFIX + "-999")
    assert slug(text) not in RESERVED_WORDS


def test_digest_names_the_content_and_nothing_else(tmp_path: Path) -> None:
    """The same bytes have the same digest in another place under another name; other bytes have another."""
    touch(tmp_path, "a.mp4")
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    (tmp_path / "c.mp4").write_bytes(b"other")
    assert digest(tmp_path / "a.mp4") == digest(tmp_path / "b.mp4") != digest(tmp_path / "c.mp4")


def test_digest_of_a_folder_knows_its_files(tmp_path: Path) -> None:
    """Names and contents count, the folder's own name does not."""
    touch(tmp_path / "one", "1.jpg", "2.jpg")
    touch(tmp_path / "two", "1.jpg", "2.jpg")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    (tmp_path / "two" / "2.jpg").rename(tmp_path / "two" / "3.jpg")
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


def test_digest_mixes_in_what_is_done_to_a_recording(tmp_path: Path) -> None:
    """A pass with a trigger has ids of its own."""
    touch(tmp_path, "a.mp4")
    assert len({digest(tmp_path / "a.mp4"), digest(tmp_path / "a.mp4", "x"), digest(tmp_path / "a.mp4", "x", "y")}) == 3


def test_digest_of_what_cannot_be_read_is_that_of_nothing(tmp_path: Path) -> None:
    """The replay itself will say why; here nothing is raised."""
    assert digest(tmp_path / "absent") == digest(tmp_path / "absent-too")
