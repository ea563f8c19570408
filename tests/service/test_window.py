"""The values that the HTTP side sees."""

from fakes.windows import FakeWindow, camera_view

from gateway.service.window import CameraView, Window


def test_fake_window_is_a_window() -> None:
    """Tests of the HTTP side stand on the same Protocol as the daemon."""
    window: Window = FakeWindow()
    assert [camera.camera for camera in window.cameras()] == ["gate", "yard"]


def test_camera_view_reads_back_from_its_json() -> None:
    """What a script reads has the form that the description promises."""
    view = camera_view("gate", state="degraded", reason="overloaded")
    assert CameraView.model_validate_json(view.model_dump_json()) == view
