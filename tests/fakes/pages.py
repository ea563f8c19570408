"""The operator's page over a daemon that is not there."""

from collections.abc import AsyncGenerator

from fakes.web import app_over
from fakes.windows import FakeWindow

from gateway.service.guard import Guard
from gateway.service.page.pictures import Mark, Marks, Watch
from gateway.service.page.routes import page_addition


async def no_pictures(_camera: str) -> AsyncGenerator[bytes, None]:
    """Yield nothing."""
    for picture in ():
        yield picture


def two_faces(_camera: str) -> Marks:
    """Return a clean face and a triggered one."""
    clean = Mark((40.0, 60.0, 140.0, 180.0), is_triggered=False)
    return Marks((640, 360), (clean, Mark((300.0, 50.0, 420.0, 210.0), is_triggered=True)))


def page_over(window: FakeWindow, watch: Watch = no_pictures) -> Guard:
    """Return the application with the page."""
    return app_over(window, additions=[page_addition(window, watch, two_faces)])
