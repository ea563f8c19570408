"""The operator's page in a real browser, over a daemon that is not there."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
from fakes.pages import Shot, page_over
from fakes.windows import PASSWORD, TOKEN, FakeWindow
from playwright.async_api import Page, async_playwright, expect
from pydantic import SecretStr

from gateway.service.doors import Doors
from gateway.service.server import HttpServer
from gateway.settings import HttpSettings

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)


async def walking_pictures(_camera: str) -> AsyncGenerator[Shot, None]:
    """Yield five pictures a second of a white square where `four_faces` says that the clean face is."""
    for seq in itertools.count():
        picture = np.full((360, 640, 3), 90, np.uint8)
        left = 40 + 10 * (seq % 8)
        picture[60:180, left : left + 100] = 255
        yield Shot(seq, cv2.imencode(".jpg", picture)[1].tobytes())
        await asyncio.sleep(0.2)


class Site:
    """The page as it is served; it can go away and come back at the same address."""

    def __init__(self, window: FakeWindow, group: asyncio.TaskGroup) -> None:
        self.window = window
        self.app = page_over(window, walking_pictures)
        self._group = group
        self._port = 0
        self._serving: asyncio.Task[None] | None = None
        self.url = ""

    def serve(self) -> None:
        """Listen, at the same port as before."""
        settings = HttpSettings(port=self._port, token=SecretStr(TOKEN))
        server = HttpServer(self.app, settings, Doors(TOKEN).doorway, on_end=self._let_go)
        self._port, self.url = server.port, server.url
        self._serving = self._group.create_task(server.run(), name="server")

    def _let_go(self) -> None:
        self.window.hub.close()

    async def go_away(self) -> None:
        """Answer nobody any more."""
        assert self._serving is not None
        self._serving.cancel()
        await asyncio.wait({self._serving})


@asynccontextmanager
async def opened(
    window: FakeWindow, *, width: int = 1280, dark: bool = False
) -> AsyncIterator[tuple[Page, list[str], Site]]:
    """Open the page's form in a browser; the list takes what goes wrong in there."""
    async with asyncio.TaskGroup() as group, async_playwright() as driver:
        site = Site(window, group)
        site.serve()
        browser = await driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(
            viewport={"width": width, "height": 844}, color_scheme="dark" if dark else "light"
        )
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        await page.goto(f"{site.url}/login")
        yield page, wrong, site
        await browser.close()
        await site.go_away()


async def log_in(page: Page) -> None:
    """Log in as an operator does; the page's scripts have run then."""
    await expect(page.get_by_label("Password")).to_be_focused()
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("#alert-list")).to_be_visible()
    await page.wait_for_load_state("domcontentloaded")
