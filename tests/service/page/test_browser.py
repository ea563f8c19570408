"""The page in a real browser: it logs in, shows pictures with boxes, follows events, and takes an operator's word."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.boxes import alert
from fakes.pages import Shot, page_over
from fakes.windows import PASSWORD, TOKEN, FakeWindow, camera_view
from playwright.async_api import Page, async_playwright, expect
from pydantic import SecretStr

from gateway.service.server import HttpServer
from gateway.settings import HttpSettings

Report = Callable[[str, object], None]
CHROMIUM = Path("/usr/bin/chromium")
FIRST_PAINT_MS = 10_000.0
"""Ten times what an operator should wait; what it was is reported."""

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]


async def walking_pictures(_camera: str) -> AsyncGenerator[Shot, None]:
    """Yield five pictures a second of a white square where `four_faces` says that the clean face is."""
    for seq in itertools.count():
        picture = np.full((360, 640, 3), 90, np.uint8)
        left = 40 + 10 * (seq % 8)
        picture[60:180, left : left + 100] = 255
        yield Shot(seq, cv2.imencode(".jpg", picture)[1].tobytes())
        await asyncio.sleep(0.2)


WHERE = """() => {
  const image = document.querySelector("#tile-gate img"), box = document.querySelector("#tile-gate .face-clean");
  const canvas = document.createElement("canvas");
  canvas.width = 640; canvas.height = 360;
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  const row = drawing.getImageData(0, 120, 640, 1).data;
  let left = 0;
  while (left < 640 && row[4 * left] < 170) left += 1;
  return [left, Number(box.getAttribute("x"))];
}"""
"""Where the white square is in the picture that is shown, and where its box is."""


@asynccontextmanager
async def opened(window: FakeWindow, *, width: int = 1280, dark: bool = False) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open the page's form in a browser; the list takes what goes wrong in there."""
    settings = HttpSettings(port=0, token=SecretStr(TOKEN))
    server = HttpServer(page_over(window, walking_pictures), settings, on_end=window.hub.close)
    async with asyncio.TaskGroup() as group, async_playwright() as driver:
        serving = group.create_task(server.run(), name="server")
        browser = await driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(
            viewport={"width": width, "height": 844}, color_scheme="dark" if dark else "light"
        )
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        await page.goto(f"{server.url}/login")
        yield page, wrong
        await browser.close()
        serving.cancel()


async def log_in(page: Page) -> None:
    """Log in as an operator does."""
    await expect(page.get_by_label("Password")).to_be_focused(timeout=20_000)
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("#alert-list")).to_be_visible(timeout=20_000)


async def test_page_shows_pictures_with_boxes_and_follows_events(record_property: Report) -> None:
    """What happens is there without a reload; nothing breaks the content security policy."""
    window = FakeWindow(latest=[])
    async with opened(window) as (page, wrong):
        await log_in(page)
        picture = page.get_by_alt_text("Live picture of gate")
        await expect(picture).to_be_visible(timeout=20_000)
        await expect(page.locator("#tile-gate .face-triggered")).to_have_count(1)
        await expect(page.locator("#tile-gate .face")).to_have_count(4)
        words = await page.locator("#tile-gate .word").all_text_contents()
        assert words == ["clean", "triggered", "unsure", "judging"]
        places = []
        for _ in range(10):
            places.append(await page.evaluate(WHERE))
            await asyncio.sleep(0.11)
        assert len({box for _, box in places}) > 1, "the face does not walk"
        assert all(abs(face - box) < 3 for face, box in places), places
        await expect(page.locator("#chart-age canvas")).to_be_visible(timeout=20_000)
        window.latest = [alert(1, alert_id="a7", camera="gate", severity="critical", start_time=time.time())]
        window.views["gate"] = camera_view("gate", alarm=True)
        window.hub.publish("alert", "{}")
        await expect(page.locator("#alert-a7")).to_be_visible(timeout=20_000)
        await expect(page.locator("#health")).to_contain_text("Trigger in view: gate", timeout=20_000)
        painted_ms = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        record_property("report", f"operator's page: first paint after {painted_ms:.0f} ms on loopback (aim < 1000)")
        assert painted_ms < FIRST_PAINT_MS
        assert wrong == []


async def test_alert_is_judged_with_the_keyboard_and_evidence_stays_open() -> None:
    """Enter opens the evidence, Enter on the button says what the operator thinks; the list comes back as it was."""
    window = FakeWindow()
    async with opened(window) as (page, wrong):
        await log_in(page)
        await page.locator("#evidence-a1 summary").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#evidence-a1 .facts")).to_be_visible()
        await page.locator("#refute-a1").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#alert-a1")).to_contain_text("You called it a false alarm", timeout=20_000)
        await expect(page.locator("#evidence-a1 .facts")).to_be_visible()
        await expect(page.locator("#refute-a1")).to_be_focused()
        assert window.judged == [("a1", "false_positive")]
        assert wrong == []


async def test_page_fits_a_phone_in_the_dark_and_lets_go() -> None:
    """Nothing is wider than the screen, every button can be hit with a thumb, and logging out ends it."""
    async with opened(FakeWindow(), width=390, dark=True) as (page, wrong):
        await log_in(page)
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
        heights = await page.evaluate("[...document.querySelectorAll('button')].map((each) => each.offsetHeight)")
        assert min(heights) >= 44
        unnamed = "[...document.querySelectorAll('button, a, input')].filter((each) => !each.textContent.trim()).length"
        assert await page.evaluate(unnamed) == 0
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Password")).to_be_visible(timeout=20_000)
        assert wrong == []
