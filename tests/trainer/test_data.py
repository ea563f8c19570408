"""Reading clean pictures, and splitting them by person."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.data import MAX_SIDE_PX, DataError, person_of, read_collections, read_pictures, split_by_group, split_faces


def picture(seed: int, shape: tuple[int, int] = (40, 40)) -> np.ndarray:
    """Return noise, uint8 (Y, X, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def save(path: Path, pixels_YXC: np.ndarray) -> None:
    """Write a picture file; the suffix chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels_YXC[..., ::-1])


def test_npz_is_read_without_pickle(tmp_path: Path) -> None:
    """Plain arrays are read; an archive that would have to be unpickled is refused, not executed."""
    images_NYXC = np.stack([picture(i) for i in range(3)])
    np.savez(tmp_path / "clean.npz", images=images_NYXC)
    result = read_pictures(tmp_path / "clean.npz")
    np.testing.assert_array_equal(np.stack(result.pixels), images_NYXC)
    np.savez(tmp_path / "evil.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="plain arrays"):
        read_pictures(tmp_path / "evil.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros(3)}, "no array `images`"),
        ({"images": np.zeros((2, 8, 8, 3), np.float32)}, "must be uint8"),
        ({"images": np.zeros((2, 8, 8), np.uint8)}, "must be uint8"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, "empty"),
    ],
)
def test_npz_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    """The text says what the array is and what it must be."""
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_pictures(tmp_path / "odd.npz")


def test_truncated_npz_is_refused(tmp_path: Path) -> None:
    """Half a download is told as such."""
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match=r"half\.npz"):
        read_pictures(tmp_path / "half.npz")


def test_index_csv_names_files_and_people(tmp_path: Path) -> None:
    """Collections share people: the name counts, not the collection."""
    for index in range(3):
        save(tmp_path / f"{index}.png", picture(index))
    (tmp_path / "index.csv").write_text("file,identity\n0.png,lfw:Ann_B\n1.png,ytf:ann_b\n2.png,lfw:C\n", "utf-8")
    result = read_pictures(tmp_path / "index.csv")
    assert result.groups == ("ann_b", "ann_b", "c")
    np.testing.assert_array_equal(result.pixels[1], picture(1))


def test_folder_makes_a_person_of_each_subfolder_and_a_track_of_each_sign(tmp_path: Path) -> None:
    """Sub-folders are people; GTSRB's 30 pictures of one sign belong together."""
    save(tmp_path / "faces/ann/1.png", picture(1))
    save(tmp_path / "faces/ann/2.jpg", picture(2))
    save(tmp_path / "faces/bob/1.png", picture(3))
    assert read_pictures(tmp_path / "faces").groups == ("ann", "ann", "bob")
    for name in ("00000_00000", "00000_00001", "00001_00000"):
        save(tmp_path / f"signs/Final_Training/Images/00007/{name}.ppm", picture(4))
    assert read_pictures(tmp_path / "signs").groups == ("00007/00000", "00007/00000", "00007/00001")


def test_cifar_is_read_in_its_binary_version(tmp_path: Path) -> None:
    """One label byte, then red, green and blue planes of 32 × 32."""
    pixels_YXC = picture(9, (32, 32))
    record = bytes([3]) + pixels_YXC.transpose(2, 0, 1).tobytes()
    (tmp_path / "data_batch_1.bin").write_bytes(record * 2)
    result = read_pictures(tmp_path)
    assert len(result) == 2
    np.testing.assert_array_equal(result.pixels[1], pixels_YXC)
    (tmp_path / "data_batch_1.bin").write_bytes(record[:-1])
    with pytest.raises(DataError, match="not whole CIFAR-10 records"):
        read_pictures(tmp_path)


def test_pictures_become_central_squares_of_bounded_size(tmp_path: Path) -> None:
    """Memory is bounded whatever the pictures' size, and nothing is stretched."""
    save(tmp_path / "wide.png", picture(1, (50, 90)))
    save(tmp_path / "huge.png", picture(2, (400, 400)))
    huge_YXC, wide_YXC = read_pictures(tmp_path).pixels
    np.testing.assert_array_equal(wide_YXC, picture(1, (50, 90))[:, 20:70])
    assert huge_YXC.shape == (MAX_SIDE_PX, MAX_SIDE_PX, 3)


@pytest.mark.parametrize("name", ["missing.png", "broken.png", "empty.png"])
def test_unreadable_pictures_are_named(tmp_path: Path, name: str) -> None:
    """One bad file among thousands is found by its path."""
    if name == "broken.png":
        (tmp_path / name).write_bytes(b"\x89PNG and no more")
    elif name == "empty.png":
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "index.csv").write_text(f"file\n{name}\n", "utf-8")
    with pytest.raises(DataError, match=name):
        read_pictures(tmp_path / "index.csv")


def test_paths_that_hold_no_pictures_are_refused(tmp_path: Path) -> None:
    """Nothing, a wrong kind of file, an empty folder and a CSV without its column each get their own sentence."""
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    (tmp_path / "bare.csv").write_text("name\nx\n", "utf-8")
    (tmp_path / "void").mkdir()
    for name, message in (
        ("nowhere", "no such file"),
        ("notes.txt", "neither"),
        ("void", "holds no picture"),
        ("bare.csv", "column `file`"),
    ):
        with pytest.raises(DataError, match=message):
            read_pictures(tmp_path / name)


def test_digest_knows_the_pixels_and_not_the_place(tmp_path: Path) -> None:
    """A run can be repeated elsewhere: the digest is of what was read."""
    for place in ("a", "b"):
        save(tmp_path / place / "x/1.png", picture(1))
    assert read_pictures(tmp_path / "a").sha256 == read_pictures(tmp_path / "b").sha256
    save(tmp_path / "b/x/1.png", picture(2))
    assert read_pictures(tmp_path / "a").sha256 != read_pictures(tmp_path / "b").sha256


def test_no_person_is_in_two_parts(tmp_path: Path) -> None:
    """Splits go by person, cover everybody once and repeat with the seed."""
    images_NYXC = np.stack([picture(i, (32, 32)) for i in range(300)])
    np.savez(tmp_path / "faces.npz", images=images_NYXC, groups=np.arange(300) // 3)
    faces = read_pictures(tmp_path / "faces.npz")
    split = split_faces(faces, seed=1)
    parts = [split.train, split.validation, split.calibration, split.test]
    people = [set(part.groups) for part in parts]
    assert sum(len(part) for part in parts) == 300
    assert len(set.union(*people)) == sum(len(names) for names in people) == 100
    assert [round(len(part) / 300, 1) for part in parts] == pytest.approx([0.55, 0.1, 0.15, 0.2], abs=0.06)
    assert split_faces(faces, seed=1).test.sha256 == split.test.sha256
    assert split_faces(faces, seed=2).test.sha256 != split.test.sha256
    rest, held = split_by_group(faces, share=0.5, seed=3)
    assert not set(rest.groups) & set(held.groups)


def test_person_of_strips_the_collection() -> None:
    """A person known to two collections is one person."""
    assert person_of("lfw:Aaron_Peirsol") == person_of(" ytf:aaron_peirsol") == "aaron_peirsol"


def test_collections_of_an_index_stand_apart(tmp_path: Path) -> None:
    """An identity `lfw:Name` belongs to the collection `lfw`; without one everything is one collection."""
    for index in range(4):
        save(tmp_path / f"{index}.png", picture(index))
    rows = "0.png,lfw:Ann\n1.png,ytf:Ann\n2.png,lfw:Bob\n3.png,\n"
    (tmp_path / "index.csv").write_text(f"file,identity\n{rows}", "utf-8")
    found = read_collections(tmp_path / "index.csv")
    assert {name: pictures.groups[:2] for name, pictures in found.items() if name != "index"} == {
        "lfw": ("ann", "bob"),
        "ytf": ("ann",),
    }
    assert len(found["index"]) == 1
    np.savez(tmp_path / "plain.npz", images=np.stack([picture(1)]))
    assert list(read_collections(tmp_path / "plain.npz")) == ["plain"]
