"""The page's routes: behind the guard, without a script or a style of their own in the HTML, and what they change."""

import re

import httpx2
import pytest
from fakes.boxes import alert
from fakes.pages import page_over, small_evaluation
from fakes.web import BEARER, client_of
from fakes.windows import IDENTITY, FakeWindow, camera_view

from gateway.contract.states import RealisedRate
from gateway.service.window import ExplanationView, Readiness

SCORECARD = f"/page/models/{IDENTITY.sha256}"
PARTS = (
    *("/", "/page/health", "/page/places", "/page/alerts", "/page/cameras/gate", "/page/pictures?camera=gate"),
    SCORECARD,
)


async def log_in(client: httpx2.AsyncClient) -> dict[str, str]:
    """Log in and return the header that changes need."""
    await client.post("/login", data={"password": "open sesame"})
    page = (await client.get("/")).text
    found = re.search(r'data-csrf="([^"]+)"', page)
    assert found is not None
    return {"X-CSRF-Token": found[1]}


@pytest.mark.parametrize("path", PARTS)
async def test_page_is_closed_to_whoever_has_not_logged_in(path: str) -> None:
    """Browsers are sent to the form, scripts are refused."""
    async with client_of(page_over(FakeWindow())) as client:
        assert (await client.get(path)).status_code == 401
        sent = await client.get(path, headers={"Accept": "text/html"})
        assert (sent.status_code, sent.headers["location"]) == (303, "/login")


async def test_page_says_everything_an_operator_asks_for() -> None:
    """Cameras, verdicts, alerts with evidence, calibration, drift, model, health."""
    window = FakeWindow(drift={"state": "drifted", "cameras": [{"camera": "gate", "words": "darker", "state": "x"}]})
    async with client_of(page_over(window)) as client:
        await log_in(client)
        page = (await client.get("/")).text
    for text in ("gate", "Watching", "987 more clean passages", "Evidence", "darker", "version 3", "Screening", "82"):
        assert text in page, text


async def test_page_says_why_a_camera_drifted_and_what_its_model_does() -> None:
    """Each cause with its numbers before and after; a model's state, its pin and its trouble in words."""
    cause = {"scalar": "brightness", "change": "darker", "before": 120.0, "now": 61.5, "since": None}
    camera = {
        "camera": "gate",
        "state": "drifted",
        "statistic": 0.31,
        "threshold": 0.12,
        "tracks": 1,
        "words": "darker",
    }
    window = FakeWindow(
        drift={"state": "drifted", "cameras": [{**camera, "causes": [cause]}]},  # type: ignore[dict-item]
        model_state={"state": "probation", "pinned": True, "update": "unreachable", "reason": "it flagged too many"},
    )
    async with client_of(page_over(window), headers=BEARER) as client:
        page = (await client.get("/page/places")).text
        window.model_state = {"state": "steady", "pinned": False, "update": None, "reason": None}
        calm = (await client.get("/page/places")).text
    for text in (
        *("Brightness darker: 120 → <b>61.5</b>", "Distance 0.31, drift from 0.12, after 1 passage."),
        *("new, and watched", "no other bundle is taken", "check network and power", "it flagged too many"),
    ):
        assert text in page, text
    assert "Pinned" not in calm
    assert "Updates" not in calm
    assert "in use" in calm


async def test_promise_is_said_once_for_each_camera() -> None:
    """Beside the calibration; at the picture stands how far it is."""
    window = FakeWindow(names=("gate",))
    async with client_of(page_over(window), headers=BEARER) as client:
        assert "promised" not in (await client.get("/page/places")).text.replace("can be promised", "")
        realised = RealisedRate(tracks=1, promised_alerts=0.05, alerts=1, exceeds=True)
        window.views["gate"] = camera_view("gate", realised=realised)
        page = (await client.get("/")).text
    assert page.count("1 alert in 1 passage, 0.05 promised: more than chance explains") == 1
    assert page.count("987 more clean passages are needed") == 1
    assert "Learning this place: 12 of 999 passages" in page
    assert '<progress value="12" max="999">' in page


@pytest.mark.parametrize(
    ("known", "words"), [(39, "calibrated on 39 passages of this camera"), (0, "it is judged by the factory")]
)
async def test_recording_in_a_loop_promises_no_learning(known: int, words: str) -> None:
    """Nobody waits for a bar that never moves."""
    window = FakeWindow(names=("gate",))
    window.views["gate"] = camera_view("gate", teaches=False, tracks_known=known)
    async with client_of(page_over(window), headers=BEARER) as client:
        page = (await client.get("/")).text
    assert f"A recording in a loop joins no calibration; {words}" in page
    assert "<progress" not in page


async def test_scorecard_shows_every_cell_of_the_model_in_use() -> None:
    """BDR at each operating point by light and trigger, with the false alarms really seen, and what it was made of."""
    window = FakeWindow(judged_on={IDENTITY.sha256: small_evaluation()})
    async with client_of(page_over(window), headers=BEARER) as client:
        card = (await client.get(SCORECARD)).text
        assert (await client.get("/page/models/" + "0" * 64)).status_code == 404
        assert (await client.get("/page/models/x")).status_code == 422
    for text in (
        "2\u202f742 pictures: index",
        "white block",
        "1 epoch",
        "behind JPEG",
        "9 clean test faces of 1 person",
    ):
        assert text in card, text
    assert "T0 †" in card
    assert "T1 †" not in card
    assert '<td class="heat-4"><b>90</b> <small>90 · 45</small></td>' in card
    assert "<td>6 %</td>" in card
    assert "Further" in card
    assert "not its own" not in card


async def test_scorecard_of_an_adapted_model_is_that_of_its_release_and_says_so() -> None:
    """Figures of another model never pass for its own; without any, none are made up."""
    window = FakeWindow(parent="ef" * 32, judged_on={"ef" * 32: small_evaluation("ef" * 32)})
    async with client_of(page_over(window), headers=BEARER) as client:
        assert "not its own" in (await client.get(SCORECARD)).text
        window.judged_on.clear()
        assert "No evaluation comes with this bundle" in (await client.get(SCORECARD)).text


async def test_page_holds_no_inline_script_and_no_inline_style() -> None:
    """The content security policy lets neither run, and every file named is there."""
    async with client_of(page_over(FakeWindow())) as client:
        await log_in(client)
        for path in ("/", "/login", SCORECARD):
            page = (await client.get(path)).text
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|hx-on", page)
            for url in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page)):
                answer = await client.get(url)
                assert answer.status_code == 200
                assert "immutable" in answer.headers["cache-control"]


async def test_names_and_words_of_others_are_escaped() -> None:
    """Drift words come from a message: they are text, never markup."""
    window = FakeWindow(drift={"state": "drifted", "cameras": [{"camera": "<b>", "words": "<script>x</script>"}]})
    async with client_of(page_over(window), headers=BEARER) as client:
        page = (await client.get("/page/places")).text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


async def test_alert_is_judged_and_the_page_remembers() -> None:
    """The answer is the list with what was said; an unknown alert and an unknown word are refused."""
    window = FakeWindow()
    async with client_of(page_over(window)) as client:
        header = await log_in(client)
        word = {"judgement": "false_positive"}
        assert (await client.post("/page/alerts/a1/feedback", data=word)).status_code == 403
        judged = await client.post("/page/alerts/a1/feedback", data=word, headers=header)
        assert "You called it a false alarm" in judged.text
        assert "You called it a false alarm" in (await client.get("/")).text
        assert (await client.post("/page/alerts/a9/feedback", data=word, headers=header)).status_code == 404
        wrong = await client.post("/page/alerts/a1/feedback", data={"judgement": "maybe"}, headers=header)
        assert wrong.status_code == 422
    assert window.judged == [("a1", "false_positive"), ("a9", "false_positive")]


async def test_explanation_is_drawn_or_said_to_be_missing() -> None:
    """A map of squares and the bands that count most; other states in words; what is being made is asked for again."""
    places = ((0.0,) * 8,) * 7 + ((0.0,) * 7 + (2.0,),)
    edges = tuple(index / 10 for index in range(11))
    done = ExplanationView(
        alert_id="a1", state="done", score=3.0, places=places, bands=(0.0,) * 9 + (1.5,), edges=edges
    )
    waiting = ExplanationView(alert_id="a2", state="waiting")
    async with client_of(page_over(FakeWindow(explained={"a1": done, "a2": waiting}))) as client:
        await log_in(client)
        drawn = (await client.get("/page/alerts/a1/explanation")).text
        assert drawn.count("<rect") == 64 + 10
        assert drawn.count('fill-opacity="1.00"') == 1
        assert "90 to 100 % of the finest it loses 1.50" in drawn
        assert drawn.count('height="10.00"') == 1
        assert "style=" not in drawn
        again = (await client.get("/page/alerts/a2/explanation")).text
        assert 'hx-get="/page/alerts/a2/explanation"' in again
        assert "evidence.explanations" in (await client.get("/page/alerts/a3/explanation")).text


async def test_camera_is_switched_from_the_page() -> None:
    """With the session's token only, and only with a word that is known."""
    window = FakeWindow()
    async with client_of(page_over(window)) as client:
        header = await log_in(client)
        path = "/page/cameras/gate/enabled"
        assert (await client.post(path, data={"enabled": "false"})).status_code == 403
        assert (await client.post(path, data={"enabled": "false"}, headers=header)).status_code == 200
        assert (await client.post(path, data={"enabled": "perhaps"}, headers=header)).status_code == 422
        moat = await client.post("/page/cameras/moat/enabled", data={"enabled": "true"}, headers=header)
        assert moat.status_code == 404
        assert (await client.get("/page/cameras/moat")).status_code == 404
    assert window.switched == [("gate", False), ("moat", True)]


async def test_model_is_pinned_and_rolled_back_from_the_page() -> None:
    """What can be ordered now is offered; with the session's token only, and only what is an order."""
    window = FakeWindow(model_state={"state": "steady", "pinned": False, "update": None, "reason": None})
    async with client_of(page_over(window)) as client:
        header = await log_in(client)
        path, pin = "/page/environments/default/model", {"order": "pin 3"}
        assert (await client.post(path, data=pin)).status_code == 403
        assert "Pin version 3" in (await client.post(path, data=pin, headers=header)).text
        answer = {"order": "pin 3", "time": 1.0, "result": "done", "reason": None}
        window.model_state = {"state": "steady", "pinned": True, "update": None, "reason": None, "answer": answer}  # type: ignore[dict-item]
        page = (await client.get("/page/places")).text
        assert "Take new bundles" in page
        assert "Pin version" not in page
        assert "pin 3: done" in page
        assert (await client.post(path, data={"order": "explode"}, headers=header)).status_code == 422
        moat = await client.post("/page/environments/moat/model", data={"order": "rollback"}, headers=header)
        assert moat.status_code == 404
    assert window.chosen == [("default", "pin 3"), ("moat", "rollback")]


async def test_page_says_what_is_wrong_in_words() -> None:
    """A box that does not screen, a camera that is away, an alert without a p-value, no camera at all."""
    window = FakeWindow(ready=Readiness(ready=False, reasons=("no_camera_online",)))
    window.views["gate"] = camera_view("gate", state="offline", reason="unreachable")
    window.latest = [alert(1, alert_id="a1", p_value=None)]
    async with client_of(page_over(window), headers=BEARER) as client:
        page = (await client.get("/")).text
        assert "Not screening: no camera is online" in page
        assert "check network and power" in page
        assert "Too few clean passages" in page
        window.names, window.latest = (), []
        assert "No camera is configured" in (await client.get("/")).text
        assert "No alert yet" in (await client.get("/page/alerts")).text


async def test_pictures_of_cameras_that_are_not_there_are_none() -> None:
    """A name from outside never reaches the daemon."""
    async with client_of(page_over(FakeWindow()), headers=BEARER) as client:
        answer = await client.get("/page/pictures?camera=moat")
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await client.get("/page/pictures")).status_code == 422


async def test_login_form_says_that_the_password_was_wrong() -> None:
    """In words beside the field."""
    async with client_of(page_over(FakeWindow())) as client:
        assert "not the password" not in (await client.get("/login")).text
        assert "not the password" in (await client.get("/login?failed=1")).text
