"""The page for whoever sees little, uses no mouse, or holds a phone: computed in a real browser, light and dark."""

import time
from itertools import pairwise

import pytest
from fakes.boxes import alert
from fakes.browsers import CHROMIUM, log_in, opened
from fakes.pages import small_evaluation
from fakes.windows import IDENTITY, FakeWindow, camera_view
from playwright.async_api import Page, expect

from gateway.contract.states import RealisedRate

LEAST_TEXT, LEAST_LARGE, LEAST_SIGN = 4.5, 3.0, 3.0
"""WCAG 2.2 AA: text, large text, and what is no text but tells something."""

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]

LUMINANCE = """
const parse = (text) => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
const luminance = (colour) => {
  const [r, g, b] = colour.slice(0, 3).map((each) => {
    const part = each / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const ground = (element) => {
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    const style = getComputedStyle(each);
    layers.push(parse(style.backgroundColor));
    if (layers.at(-1)[3] === 1) break;
  }
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
};
"""

LOST = "const lost = document.getElementById('lost'); lost.hidden = false; lost.textContent = 'The box is gone';"

TEXTS = f"""() => {{ {LUMINANCE}
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {{
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({{ opacityProperty: true, visibilityProperty: true }})) continue;
    if (element.closest("svg, script, .sr")) continue;
    const style = getComputedStyle(element);
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) opacity *= Number(getComputedStyle(each).opacity);
    const below = ground(element);
    const colour = parse(style.color);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = contrast(over([...colour.slice(0, 3), colour[3] * opacity], below), below);
    found.push([text.slice(0, 40), element.className, Math.round(100 * ratio) / 100, isLarge]);
  }}
  return found;
}}"""
"""Every visible text with the contrast of its colour to what lies behind it."""

BOXES = f"""() => {{ {LUMINANCE}
  return [...document.querySelectorAll("#tile-gate .word")].map((word) => [
    word.textContent,
    contrast(parse(getComputedStyle(word).fill), parse(getComputedStyle(word.previousSibling).fill)),
  ]);
}}"""
"""The words at the boxes against their tags."""

SIGNS = f"""() => {{ {LUMINANCE}
  const value = (name) => {{
    const probe = document.createElement("i");
    probe.style.color = `var(${{name}})`;
    document.body.append(probe);
    const colour = parse(getComputedStyle(probe).color);
    probe.remove();
    return colour;
  }};
  const pairs = [
    ["--focus", "--card"], ["--focus", "--ground"], ["--accent", "--edge"], ["--alarm", "--card"], ["--good", "--card"],
    ["--warn", "--card"], ["--off", "--ground"], ["--text-quiet", "--card"],
    ...[1, 2, 3, 4, 5, 6].map((each) => ["--line-" + each, "--card"]),
  ];
  return pairs.map(([one, other]) => [one + " on " + other, contrast(value(one), value(other))]);
}}"""
"""The focus ring, bars, lines of charts and signs against what they stand on."""

FOCUSABLE = "a[href], button, input, summary, [tabindex='0']"
FOCUSED = f"""() => {{
  const active = document.activeElement;
  const style = getComputedStyle(active);
  const place = active.getBoundingClientRect();
  return {{
    index: [...document.querySelectorAll("{FOCUSABLE}")].indexOf(active),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    inView: place.top < innerHeight && place.bottom > 0 && place.width > 0,
  }};
}}"""


def everything() -> FakeWindow:
    """Return a daemon of which everything is to be said at once: every tone, every severity, drift, a pinned model."""
    now_s = time.time()
    over = {"type": "end", "end_time": now_s}
    over_promise = RealisedRate(tracks=9, promised_alerts=0.1, alerts=5, exceeds=True)
    cause = {"scalar": "brightness", "change": "darker", "before": 120.0, "now": 61.0, "since": now_s}
    drifted = {
        "camera": "gate",
        "state": "drifted",
        "statistic": 0.3,
        "threshold": 0.1,
        "tracks": 600,
        "words": "darker",
    }
    state = {
        "type": "x",
        "environment": "default",
        "state": "probation",
        "pinned": True,
        "update": "unreachable",
        "reason": "no",
    }
    window = FakeWindow(
        names=("gate", "yard", "dock", "lobby"),
        latest=[
            alert(number, alert_id=f"a{number}", severity=severity, start_time=now_s, **ended)
            for number, (severity, ended) in enumerate(
                [("critical", {}), *((each, over) for each in ("alert", *("watch",) * 7))]
            )
        ],
        drift={"state": "drifted", "cameras": [{**drifted, "causes": [cause]}]},
        model_state=state,  # type: ignore[arg-type]
        judged_on={IDENTITY.sha256: small_evaluation()},
    )
    window.views = {
        "gate": camera_view("gate", alarm=True, realised=over_promise),
        "yard": camera_view("yard", state="offline", reason="unreachable"),
        "dock": camera_view("dock", state="degraded", reason="overloaded"),
        "lobby": camera_view("lobby", state="disabled", reason="by_command", enabled=False, promise=None),
    }
    return window


async def unfold(page: Page) -> None:
    """Open everything that can be opened, and let the box seem lost."""
    await expect(page.locator("#tile-gate .word")).to_have_count(4, timeout=60_000)
    await page.locator("#refute-a1").click()
    await expect(page.locator("#alert-a1")).to_contain_text("You called it a false alarm", timeout=20_000)
    unfold_all = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
    await page.evaluate(unfold_all)
    await expect(page.locator(".card-table").first).to_be_visible(timeout=20_000)
    await page.evaluate(unfold_all)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dark", [False, True])
async def test_every_text_and_every_sign_can_be_told_from_its_ground(dark: bool) -> None:
    """WCAG's contrast of all that is shown, with everything unfolded and the lost banner up."""
    async with opened(everything(), dark=dark) as (page, wrong, _):
        assert_texts(await page.evaluate(TEXTS), least=4)
        await log_in(page)
        await unfold(page)
        # In one go: the page itself takes the banner away once a second, as nothing is lost.
        texts = await page.evaluate(f"() => {{ {LOST} return ({TEXTS})(); }}")
        assert_texts(texts, least=200)
        shown = " ".join(text for text, *_ in texts)
        for word in (
            "Trigger in view",
            "Offline",
            "Degraded",
            "Off",
            "critical",
            "Drifted",
            "The box is gone",
            "passage",
        ):
            assert word in shown, word
        await page.evaluate("window.scrollTo(0, 0)")
        await expect(page.locator("#tile-gate .word")).to_have_count(4, timeout=60_000)
        boxes = await page.evaluate(BOXES)
        assert [word for word, _ in boxes] == ["clean", "triggered", "unsure", "judging"]
        assert min(ratio for _, ratio in boxes) >= LEAST_TEXT, boxes
        for pair, ratio in await page.evaluate(SIGNS):
            assert ratio >= LEAST_SIGN, (pair, ratio)
        assert wrong == []


def assert_texts(texts: list[tuple[str, str, float, bool]], *, least: int) -> None:
    """Check the contrast of every text, of which there must be some."""
    assert len(texts) >= least
    poor = [text for text in texts if text[2] < (LEAST_LARGE if text[3] else LEAST_TEXT)]
    assert poor == []


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_everything_is_reached_by_the_tab_key_in_the_order_it_stands_in() -> None:
    """Each thing that can be used has the focus once, seen by its ring, in view, and the last lets go of it."""
    window = everything()
    async with opened(window) as (page, wrong, _):
        await log_in(page)
        await page.locator(".scorecard > summary").click()
        await expect(page.locator(".card-table").first).to_be_visible(timeout=20_000)
        visible = await page.evaluate(
            f'[...document.querySelectorAll("{FOCUSABLE}")].map((each, index) => '
            "each.checkVisibility() && !each.disabled ? index : -1).filter((each) => each >= 0)"
        )
        await page.evaluate("document.querySelector('.skip').focus()")
        await page.keyboard.press("Shift+Tab")  # out of the page, before its first
        visited = []
        for _ in range(len(visible)):
            await page.keyboard.press("Tab")
            focused = await page.evaluate(FOCUSED)
            assert focused["ring"], focused
            assert focused["inView"], focused
            visited.append(focused["index"])
        assert visited == visible
        assert wrong == []


async def test_skip_link_leads_to_the_alerts() -> None:
    """One Tab and Enter, and the next Tab stands at the newest alert."""
    async with opened(FakeWindow()) as (page, wrong, _):
        await log_in(page)
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the alerts")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#alerts")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.locator("#evidence-a2-open")).to_be_focused()
        assert wrong == []


async def test_page_has_its_landmarks_headings_and_names() -> None:
    """A screen reader finds its way: one banner, one main, named regions, headings without a gap, names for all."""
    async with opened(everything()) as (page, wrong, _):
        await log_in(page)
        for role in ("banner", "main"):
            await expect(page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
        for name in ("Cameras", "Alerts", "Latency and drops", "Models, calibration and drift"):
            await expect(page.get_by_role("region", name=name)).to_have_count(1)
        await expect(page.get_by_role("article", name="Camera gate")).to_be_visible()
        await expect(page.get_by_role("button", name="Switch off camera gate")).to_be_visible()
        await expect(page.get_by_role("progressbar", name="Learning this place").first).to_be_visible()
        await expect(page.get_by_role("img", name="Now: gate").first).to_be_visible(timeout=20_000)
        picture = page.get_by_role("img", name="Live picture of gate: 1 clean, 1 triggered, 1 unsure, 1 judging")
        await expect(picture).to_be_visible(timeout=20_000)
        levels = await page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4, h5')].map((each) => +each.tagName[1])"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(now <= before + 1 for before, now in pairwise(levels)), levels
        ids = await page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
        assert len(ids) == len(set(ids))
        assert await page.evaluate("document.documentElement.lang") == "en"
        assert await page.evaluate("[...document.images].every((each) => each.hasAttribute('alt'))")
        assert wrong == []


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("width", [320, 390])
async def test_nothing_is_wider_than_a_phone_with_everything_unfolded(width: int) -> None:
    """Wide tables scroll in their own frame; every button can be hit with a thumb."""
    async with opened(everything(), width=width, dark=True) as (page, wrong, _):
        await log_in(page)
        await unfold(page)
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        heights = await page.evaluate("[...document.querySelectorAll('button')].map((each) => each.offsetHeight)")
        assert min(heights) >= 44
        assert wrong == []
