"""The page in a real browser: it logs in, shows pictures with boxes, follows events, and takes an operator's word."""

import asyncio
import re
import time
from collections.abc import Callable

import pytest
from fakes.boxes import alert
from fakes.browsers import CHROMIUM, log_in, opened
from fakes.windows import FakeWindow, camera_view
from playwright.async_api import expect

from gateway.service.hub import Hub
from gateway.service.window import ExplanationView

Report = Callable[[str, object], None]
FIRST_PAINT_MS = 10_000.0
"""Ten times what an operator should wait; what it was is reported."""

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]


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


async def test_page_shows_pictures_with_boxes_and_follows_events(record_property: Report) -> None:
    """What happens is there without a reload; nothing breaks the content security policy."""
    window = FakeWindow(latest=[])
    async with opened(window) as (page, wrong, _):
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
    async with opened(window) as (page, wrong, _):
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


async def test_explanation_stays_when_the_list_comes_again() -> None:
    """It is asked for once: another alert does not take it away, also where it was still being looked for."""
    over = alert(1, alert_id="a1", camera="gate", type="end", end_time=1_769_860_010.0)
    window = FakeWindow(latest=[over])
    window.explained["a1"] = ExplanationView(alert_id="a1", state="waiting")
    async with opened(window) as (page, wrong, _):
        await log_in(page)
        await page.locator("#evidence-a1 summary").click()
        await page.locator("#explain-a1").click()
        await expect(page.locator("#explanation-a1")).to_contain_text("Looking for", timeout=20_000)
        window.latest = [*window.latest, alert(2, alert_id="a7", camera="gate", start_time=time.time())]
        window.hub.publish("alert", "{}")
        await expect(page.locator("#alert-a7")).to_be_visible(timeout=20_000)
        await expect(page.locator("#explanation-a1")).to_contain_text("Looking for")
        edges = tuple(number / 10 for number in range(11))
        window.explained["a1"] = ExplanationView(
            alert_id="a1", state="done", score=4.0, places=((0.5,) * 8,) * 8, bands=(0.1,) * 10, edges=edges
        )
        figure = page.locator("#explanation-a1 figure")
        await expect(figure).to_be_visible(timeout=20_000)
        window.latest = [*window.latest, alert(3, alert_id="a8", camera="gate", start_time=time.time())]
        window.hub.publish("alert", "{}")
        await expect(page.locator("#alert-a8")).to_be_visible(timeout=20_000)
        await expect(figure).to_be_visible()
        await expect(page.locator("#explain-a1")).to_have_count(0)
        assert wrong == []


async def test_page_fits_a_phone_in_the_dark_and_lets_go() -> None:
    """Nothing is wider than the screen, every button can be hit with a thumb, and logging out ends it."""
    async with opened(FakeWindow(), width=390, dark=True) as (page, wrong, _):
        await log_in(page)
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
        heights = await page.evaluate("[...document.querySelectorAll('button')].map((each) => each.offsetHeight)")
        assert min(heights) >= 44
        unnamed = "[...document.querySelectorAll('button, a, input')].filter((each) => !each.textContent.trim()).length"
        assert await page.evaluate(unnamed) == 0
        assert wrong == []
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Password")).to_be_visible(timeout=20_000)
        # What the page was asking for while its session ended is refused, and the browser says so.
        refused = re.compile(r"401 \(Unauthorized\)|^Response Status Error Code 401 from /page/")  # itself, and htmx
        assert [line for line in wrong if not refused.search(line)] == []


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_lost_box_is_said_and_its_return_is_seen_without_a_reload() -> None:
    """What stands there is called old while the box is away; then events come again, and what was missed is shown."""
    window = FakeWindow(latest=[])
    async with opened(window) as (page, wrong, site):
        await log_in(page)
        await expect(page.locator("#lost")).to_be_hidden()
        await site.go_away()
        await expect(page.locator("#lost")).to_contain_text("does not answer", timeout=60_000)
        assert await page.title() == "✕ No answer · Spectragate"
        assert await page.evaluate("getComputedStyle(document.querySelector('main')).filter") == "grayscale(1)"
        await expect(page.locator("#tile-gate .picture-none")).to_be_visible(timeout=20_000)
        wrong.clear()  # that nobody answered
        window.latest = [alert(1, alert_id="a7", camera="gate", severity="critical", start_time=time.time())]
        window.hub = Hub()
        site.serve()
        await expect(page.locator("#lost")).to_be_hidden(timeout=60_000)
        await expect(page.locator("#alert-a7")).to_be_visible(timeout=20_000)
        await expect(page.get_by_alt_text("Live picture of gate")).to_be_visible(timeout=20_000)
        await _until_heard(window, 60.0)
        window.latest = [alert(2, alert_id="a8", camera="yard"), *window.latest]
        window.hub.publish("alert", alert(2, alert_id="a8", camera="yard", type="new").model_dump_json())
        await expect(page.locator("#alert-a8")).to_be_visible(timeout=20_000)
        await expect(page.locator("#said")).to_contain_text("New alert")
        assert await page.title() == "Spectragate"


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_page_that_was_refused_its_events_asks_again() -> None:
    """Too many pages are open: the browser gives up for good, the page does not."""
    window = FakeWindow(hub=Hub(most_listeners=0))
    async with opened(window) as (page, _, _site):
        await log_in(page)
        await expect(page.get_by_alt_text("Live picture of gate")).to_be_visible(timeout=20_000)
        window.hub = Hub()
        await _until_heard(window, 60.0)


async def _until_heard(window: FakeWindow, within_s: float) -> None:
    for _ in range(int(10 * within_s)):
        if window.hub.listeners:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the page does not listen again")


async def test_part_that_did_not_change_is_left_alone() -> None:
    """What is read or selected stays where it is; a part that did change is drawn again."""
    window = FakeWindow()
    async with opened(window) as (page, wrong, _):
        await log_in(page)
        async with page.expect_response("**/page/alerts"):
            await page.evaluate("htmx.trigger(document.body, 'sg-alert')")
        await asyncio.sleep(0.3)
        await page.evaluate("document.querySelector('#alert-a1').dataset.mark = 'mine'")
        async with page.expect_response("**/page/alerts"):
            await page.evaluate("htmx.trigger(document.body, 'sg-alert')")
        await asyncio.sleep(0.3)
        assert await page.evaluate("document.querySelector('#alert-a1').dataset.mark") == "mine"
        window.latest = window.latest[1:]
        await page.evaluate("htmx.trigger(document.body, 'sg-alert')")
        await expect(page.locator("#alert-a2")).to_have_count(0, timeout=20_000)
        assert await page.evaluate("document.querySelector('#alert-a1').dataset.mark") is None
        assert wrong == []
