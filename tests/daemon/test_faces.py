"""Where faces are in the frame that is shown."""

from dataclasses import replace

from fakes.passages import BOX, tracked

from gateway.daemon.faces import MOST_FRAMES, FacesInView
from gateway.lane import Standing
from gateway.values import ClockSource, FrameFaces, TrackedFace

STANDINGS: dict[int, Standing] = {1: "clean", 2: "triggered"}


def standing(camera: str, track_id: int) -> Standing:
    """Return what is known of two tracks of the lobby."""
    assert camera == "lobby"
    return STANDINGS.get(track_id, "judging")


def see(faces: FacesInView, seq: int, *seen: TrackedFace, width_px: int = 640) -> None:
    """Show a frame of the lobby."""
    crops = tuple(face.crop for face in seen)
    faces.see(FrameFaces("lobby", seq, float(seq), ClockSource.ARRIVAL, width_px, 360, crops, 0), seen)


def moved(track_id: int, by_px: float) -> TrackedFace:
    """Return a face that went to the right."""
    face = tracked(1, track_id=track_id)
    box = replace(face.crop.box, x1=BOX.x1 + by_px, x2=BOX.x2 + by_px)
    return replace(face, crop=replace(face.crop, box=box))


def test_picture_has_the_boxes_of_its_own_frame() -> None:
    """A face that walks on is marked where it was in the frame that is shown, each as its passage stands now."""
    faces = FacesInView(standing)
    see(faces, 7, moved(1, 0.0), moved(2, 5.0))
    see(faces, 8, moved(1, 40.0), moved(3, 5.0))
    shown = faces.marks("lobby", 7)
    assert shown is not None
    assert shown.frame_px == (640, 360)
    assert [mark.standing for mark in shown.faces] == ["clean", "triggered"]
    assert shown.faces[0].corners == (BOX.x1, BOX.y1, BOX.x2, BOX.y2)
    later = faces.marks("lobby", 8)
    assert later is not None
    assert later.faces[0].corners == (BOX.x1 + 40.0, BOX.y1, BOX.x2 + 40.0, BOX.y2)
    assert [mark.standing for mark in later.faces] == ["clean", "judging"]


def test_frame_without_faces_is_known_and_an_unknown_frame_is_not() -> None:
    """No box is a word as well; where nothing is known, none is made up."""
    faces = FacesInView(standing)
    see(faces, 1)
    shown = faces.marks("lobby", 1)
    assert shown is not None
    assert shown.faces == ()
    assert faces.marks("lobby", 2) is None
    assert faces.marks("moat", 1) is None


def test_number_that_comes_again_is_the_newest_frame() -> None:
    """A camera that was lost counts its frames anew."""
    faces = FacesInView(standing)
    see(faces, 1, moved(1, 0.0))
    see(faces, 1, width_px=1280)
    shown = faces.marks("lobby", 1)
    assert shown is not None
    assert (shown.frame_px, shown.faces) == ((1280, 360), ())


def test_nothing_grows_with_time_or_with_cameras_that_went() -> None:
    """A bounded number of frames a camera, and none of one that is no more."""
    faces = FacesInView(standing)
    for seq in range(3 * MOST_FRAMES):
        see(faces, seq, moved(1, float(seq)))
    assert faces.marks("lobby", 3 * MOST_FRAMES - 1) is not None
    assert faces.marks("lobby", 0) is None
    faces.forget("lobby")
    assert faces._frames == {}
