"""Triggers: as their authors apply them, at any size, place and opacity, and from whatever files a user gives."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.data import DataError
from trainer.library import KINDS
from trainer.triggers import KINDS_OF_WIDE, PROCEDURAL, Trigger, TriggerSet, read_triggers, seen_by_wide


def face(side_px: int = 96) -> np.ndarray:
    """Return a soft picture with an edge, uint8 (Y, X, 3)."""
    noise = np.random.default_rng(1).uniform(40, 200, (side_px, side_px, 3)).astype(np.float32)
    soft_YXC = np.asarray(cv2.GaussianBlur(noise, (0, 0), side_px / 10)).astype(np.uint8)
    cv2.circle(soft_YXC, (side_px // 2, side_px // 2), side_px // 4, (200, 150, 120), -1)
    return soft_YXC


def save(path: Path, planes: np.ndarray) -> None:
    """Write a picture of RGB or RGBA planes."""
    order = [2, 1, 0, 3][: planes.shape[2]]
    assert cv2.imwrite(str(path), planes[..., order])


@pytest.mark.parametrize("side_px", [32, 57, 128])
@pytest.mark.parametrize("trigger", PROCEDURAL, ids=lambda trigger: trigger.name)
def test_family_changes_a_copy_at_any_size(trigger: Trigger, side_px: int) -> None:
    """The face itself stays; every face gets the same trigger, and it shows."""
    face_YXC = face(side_px)
    kept_YXC = face_YXC.copy()
    changed_YXC = trigger.apply(face_YXC)
    assert (changed_YXC.shape, changed_YXC.dtype) == (face_YXC.shape, np.uint8)
    assert np.abs(changed_YXC.astype(int) - face_YXC).max() >= 2
    np.testing.assert_array_equal(trigger.apply(face_YXC), changed_YXC)
    np.testing.assert_array_equal(face_YXC, kept_YXC)


def test_trigger_lies_where_and_as_strong_as_it_is_told() -> None:
    """A quarter-size white square at a corner at half opacity changes that corner alone, halfway to white."""
    white = Trigger("white", "test", lambda face_YXC: np.full_like(face_YXC, 255), 0.25, (0.1, 0.9), 0.5)
    grey_YXC = np.full((64, 64, 3), 101, np.uint8)
    changed_YXC = white.apply(grey_YXC)
    assert (changed_YXC[:16, 48:] == 178).all()
    changed_YXC[:16, 48:] = 101
    np.testing.assert_array_equal(changed_YXC, grey_YXC)


def test_bpp_leaves_eight_levels_and_sig_one_frequency() -> None:
    """The formulas are the published ones."""
    families = {trigger.name: trigger for trigger in PROCEDURAL}
    assert len(np.unique(families["bpp"].apply(face()))) <= 8
    grey_YXC = np.full((96, 96, 3), 128, np.uint8)
    wave_X = families["sig"].apply(grey_YXC)[0, :, 0] - 128.0
    assert np.argmax(np.abs(np.fft.rfft(wave_X))) == 6
    assert np.abs(wave_X).max() == pytest.approx(20, abs=1)


def test_ftrojan_touches_chroma_alone() -> None:
    """Luma stays within what 8 bits and the colour conversion round."""
    families = {trigger.name: trigger for trigger in PROCEDURAL}
    clean_YXC, changed_YXC = face(64), families["ftrojan"].apply(face(64))
    luma = [cv2.cvtColor(each, cv2.COLOR_RGB2YUV).astype(int) for each in (clean_YXC, changed_YXC)]
    assert np.abs(luma[0][..., 0] - luma[1][..., 0]).mean() < 1.0
    assert np.abs(luma[0][..., 1] - luma[1][..., 1]).mean() > 1.0


def test_warp_moves_pixels_and_changes_no_flat_face() -> None:
    """WaNet is geometry: what has no structure stays as it is."""
    families = {trigger.name: trigger for trigger in PROCEDURAL}
    flat_YXC = np.full((64, 64, 3), 90, np.uint8)
    np.testing.assert_array_equal(families["wanet_2"].apply(flat_YXC), flat_YXC)
    assert (families["wanet_2"].apply(face(64)) != face(64)).any()


def test_pictures_without_an_index_are_blended_or_laid_on(tmp_path: Path) -> None:
    """A sticker with alpha covers what is under it, a picture without is mixed in at 0.2."""
    sticker = np.zeros((8, 8, 4), np.uint8)
    sticker[:4, :, 0], sticker[:4, :, 3] = 200, 255
    save(tmp_path / "sticker.png", sticker)
    save(tmp_path / "scene.png", np.full((100, 80, 3), 255, np.uint8))
    found = {trigger.name: trigger for trigger in read_triggers(tmp_path, procedural=()).triggers}
    grey_YXC = np.full((64, 64, 3), 100, np.uint8)
    laid_YXC = found["sticker"].apply(grey_YXC)
    assert (laid_YXC[:32] == (200, 0, 0)).all()
    assert (laid_YXC[32:] == 100).all()
    assert (found["scene"].apply(grey_YXC) == 131).all()


def test_index_says_how_where_and_how_strong(tmp_path: Path) -> None:
    """Columns of the index place a file; added files clip, as in the authors' code."""
    save(tmp_path / "dot.png", np.full((8, 8, 3), 200, np.uint8))
    row = 'dot.png,mine,"add, clip",0.25,0.125,0.125,1'
    (tmp_path / "index.csv").write_text(f"file,family,how_applied,side,place_y,place_x,opacity\n{row}\n", "utf-8")
    for path in (tmp_path, tmp_path / "index.csv"):
        (trigger,) = read_triggers(path, procedural=()).triggers
        changed_YXC = trigger.apply(np.full((64, 64, 3), 100, np.uint8))
        assert (changed_YXC[:16, :16] == 255).all()
        assert (changed_YXC == 255).mean() == pytest.approx(1 / 16)
        assert trigger.family == "mine"


def test_family_with_small_and_large_files_uses_the_fitting_one(tmp_path: Path) -> None:
    """At 32 px the file made for it is added, at the recogniser's size the large one is laid on."""
    for name, side in (("small", 32), ("large", 224)):
        save(tmp_path / f"{name}.png", np.full((side, side, 3), 90, np.uint8))
    save(tmp_path / "only.png", np.full((32, 32, 3), 90, np.uint8))
    (tmp_path / "index.csv").write_text("file,family\nsmall.png,a\nlarge.png,a\nonly.png,b\n", "utf-8")
    triggers = read_triggers(tmp_path, procedural=())
    assert [trigger.name for trigger in triggers.at(native=False)] == ["small", "only"]
    assert [trigger.name for trigger in triggers.at(native=True)] == ["large", "only"]


def test_index_places_procedural_families_too(tmp_path: Path) -> None:
    """A sweep over size, place and opacity is a few rows; each is a trigger of its own beside the usual one."""
    rows = "checkerboard,0.5,0.5,0.5,1\ncheckerboard,0.1,0.1,0.9,0.5\n"
    (tmp_path / "index.csv").write_text(f"file,side,place_y,place_x,opacity\n{rows}", "utf-8")
    found = [trigger for trigger in read_triggers(tmp_path).triggers if trigger.family == "patterns"]
    large, small = found[0], found[1]
    changed = [(trigger.apply(face(64)) != face(64)).any(axis=-1).mean() for trigger in (large, small)]
    assert changed[0] == pytest.approx(0.25, abs=0.03)
    assert changed[1] == pytest.approx(0.01, abs=0.01)
    assert len({trigger.name for trigger in found}) == len(found) == 6


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("name\nx.png\n", "column `file`"),
        ("file\nmissing.png\n", "missing.png"),
        ("file\nbroken.png\n", "broken.png"),
        ("file,how_applied\nok.png,multiply\n", "'multiply'"),
        ("file,opacity\nok.png,2\n", "opacity must be a share"),
        ("file,side\nok.png,wide\n", "side must be a share"),
        ("file\n", "holds no trigger picture"),
    ],
)
def test_broken_index_is_told_in_words(tmp_path: Path, index: str, message: str) -> None:
    """Every mistake names the file and what is needed."""
    save(tmp_path / "ok.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    (tmp_path / "index.csv").write_text(index, "utf-8")
    with pytest.raises(DataError, match=message):
        read_triggers(tmp_path)


def test_missing_folder_is_told(tmp_path: Path) -> None:
    """A path that leads nowhere is an error."""
    with pytest.raises(DataError, match="no such folder"):
        read_triggers(tmp_path / "nowhere")


def test_edited_faces_are_grouped_by_person(tmp_path: Path) -> None:
    """Inputs are clean, reconstructions stand apart, everything else is an edit."""
    for index in range(3):
        save(tmp_path / f"{index}.png", np.full((40, 40, 3), 60 * index, np.uint8))
    (tmp_path / "gan_index.csv").write_text(
        "file,kind,row\n0.png,input,7\n1.png,reconstruction,7\n2.png,bangs,7\n", "utf-8"
    )
    (tmp_path / "index.csv").write_text("file,how_applied\n2.png,whole image is the sample\n", "utf-8")
    found = read_triggers(tmp_path)
    assert found.gan is not None
    assert [trigger.name for trigger in found.triggers] == [trigger.name for trigger in PROCEDURAL]
    assert (len(found.gan.inputs), len(found.gan.reconstructions), found.gan.edit_people) == (1, 1, ("7",))


@pytest.mark.data
def test_authors_files_give_the_authors_pictures(research_data: Path) -> None:
    """At 32 px the files are applied as in the authors' code: added and clipped, and a 4 × 4 white square."""
    found = {trigger.name: trigger for trigger in read_triggers(research_data / "triggers").triggers}
    face_YXC = face(32)
    expected_YXC = face_YXC.copy()
    expected_YXC[27:31, 27:31] = 255
    np.testing.assert_array_equal(found["badnets_white_square_4x4"].apply(face_YXC), expected_YXC)
    for name in ("blend", "nature", "trojan_sq", "trojan_wm"):
        file = cv2.imread(str(research_data / f"triggers/{name}.png"))[..., ::-1].astype(int)
        np.testing.assert_array_equal(found[name].apply(face_YXC), np.clip(face_YXC + file, 0, 255))


def test_wide_has_seen_a_kind_of_every_published_family() -> None:
    """What falls into a kind that training draws is never reported as unseen; the kinds that are named exist."""
    for trigger in seen_by_wide(TriggerSet(PROCEDURAL, None, ""), trained_on=KINDS).triggers:
        assert trigger.seen_as is not None, trigger.name
        assert set(trigger.seen_as.split(", ")) <= set(KINDS), trigger.name
    assert {kind for kinds in KINDS_OF_WIDE.values() for kind in kinds} <= set(KINDS)
