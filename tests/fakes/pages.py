"""The operator's page over a daemon that is not there."""

from collections.abc import AsyncGenerator

from fakes.web import app_over
from fakes.windows import FakeWindow

from gateway.service.guard import Guard
from gateway.service.page.routes import page_addition


async def no_pictures(_camera: str) -> AsyncGenerator[bytes, None]:
    """Yield nothing."""
    for picture in ():
        yield picture


def page_over(window: FakeWindow) -> Guard:
    """Return the application with the page."""
    return app_over(window, additions=[page_addition(window, no_pictures)])
