"""The operator's page over a daemon that is not there."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fakes.web import app_over
from fakes.windows import FakeWindow

from gateway.service.guard import Guard
from gateway.service.page.pictures import Mark, Marks, Watch
from gateway.service.page.routes import page_addition


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture of a frame."""

    seq: int
    jpeg: bytes


async def no_pictures(_camera: str) -> AsyncGenerator[Shot, None]:
    """Yield nothing."""
    for picture in ():
        yield picture


def four_faces(_camera: str, seq: int) -> Marks:
    """Return a face of each kind; the clean one walks 10 px from frame to frame."""
    at_px = 40.0 + 10.0 * (seq % 8)
    clean = Mark((at_px, 60.0, at_px + 100.0, 180.0), "clean")
    triggered = Mark((300.0, 50.0, 420.0, 210.0), "triggered")
    unsure, judging = Mark((450.0, 20.0, 490.0, 60.0), "unsure"), Mark((540.0, 200.0, 610.0, 290.0), "judging")
    return Marks((640, 360), (clean, triggered, unsure, judging))


def page_over(window: FakeWindow, watch: Watch = no_pictures) -> Guard:
    """Return the application with the page."""
    return app_over(window, additions=[page_addition(window, watch, four_faces)])
