"""The routes for scripts."""

import asyncio

import pytest
from fakes.web import BEARER, app_over, client_of
from fakes.windows import PASSWORD, FakeWindow

from gateway.contract import messages
from gateway.service import api, web
from gateway.service.doors import Session
from gateway.service.window import ExplanationView


async def test_views_say_what_the_daemon_shows() -> None:
    """Cameras, environments, models, statistics: the very values, as JSON."""
    window = FakeWindow()
    async with client_of(app_over(window), headers=BEARER) as client:
        for path, values in (
            ("cameras", window.cameras()),
            ("environments", window.environments()),
            ("models", window.models()),
        ):
            answer = await client.get(f"/api/v1/{path}")
            assert answer.status_code == 200
            assert answer.json() == [each.model_dump(mode="json") for each in values]
        stats = await client.get("/api/v1/stats")
        assert messages.parse(stats.content) == window.stats()


async def test_alerts_are_the_newest_first_and_as_many_as_asked() -> None:
    """The same CloudEvents as over MQTT."""
    window = FakeWindow()
    async with client_of(app_over(window), headers=BEARER) as client:
        both = (await client.get("/api/v1/alerts")).json()
        assert [each["data"]["alert_id"] for each in both] == ["a2", "a1"]
        assert len((await client.get("/api/v1/alerts?limit=1")).json()) == 1
        for wrong in ("0", "501", "many", "-1"):
            assert (await client.get(f"/api/v1/alerts?limit={wrong}")).status_code == 422


async def test_camera_is_switched_and_an_unknown_one_is_not() -> None:
    """204 where it was done, 404 where there is none, 422 where it is no switch."""
    window = FakeWindow()
    async with client_of(app_over(window), headers=BEARER) as client:
        assert (await client.post("/api/v1/cameras/gate/enabled", json={"enabled": False})).status_code == 204
        assert (await client.post("/api/v1/cameras/moat/enabled", json={"enabled": True})).status_code == 404
        assert (await client.post("/api/v1/cameras/gate/enabled", json={"enabled": "off"})).status_code == 422
        assert window.switched == [("gate", False), ("moat", True)]


async def test_alert_is_judged_and_an_unknown_one_is_not() -> None:
    """The two words of the MQTT topic, with a note where somebody wants to leave one."""
    window = FakeWindow()
    async with client_of(app_over(window), headers=BEARER) as client:
        right = {"feedback": "confirmed", "note": "a sticker on the cheek"}
        assert (await client.post("/api/v1/alerts/a1/feedback", json=right)).status_code == 204
        assert (await client.post("/api/v1/alerts/a9/feedback", json=right)).status_code == 404
        assert (await client.post("/api/v1/alerts/a1/feedback", json={"feedback": "maybe"})).status_code == 422
        assert window.judged == [("a1", "confirmed"), ("a9", "confirmed")]
        assert window.notes == 2 * ["a sticker on the cheek"]


async def test_alerts_are_as_many_as_asked_and_no_key_is_passed_over() -> None:
    """A limit that is misspelt is said, not taken for none."""
    async with client_of(app_over(), headers=BEARER) as client:
        assert len((await client.get("/api/v1/alerts?limit=1")).json()) == 1
        for query in ("limit=0", "limit=x", "limt=1", "limit=1&limit=2&x="):
            assert (await client.get(f"/api/v1/alerts?{query}")).status_code == 422


async def test_bundle_is_chosen_in_the_words_of_mqtt() -> None:
    """What the topic takes; 404 where nothing can be chosen, 422 where it is no order."""
    window = FakeWindow()
    async with client_of(app_over(window), headers=BEARER) as client:
        path = "/api/v1/environments/default/model"
        for order in ("rollback", "pin 12", "pin none"):
            assert (await client.post(path, json={"order": order})).status_code == 204
        assert (await client.post("/api/v1/environments/moat/model", json={"order": "rollback"})).status_code == 404
        assert (await client.post(path, json={"order": "pin -1"})).status_code == 422
        assert window.chosen == [
            ("default", "rollback"), ("default", "pin 12"), ("default", "pin none"), ("moat", "rollback"),
        ]  # fmt: skip


async def test_order_that_finds_a_full_line_is_told_to_come_again() -> None:
    """Not that there were no bundle to choose."""
    async with client_of(app_over(FakeWindow(orders_wait=True)), headers=BEARER) as client:
        answer = await client.post("/api/v1/environments/default/model", json={"order": "rollback"})
        assert (answer.status_code, answer.json()["detail"]) == (429, "8 orders for default wait already")
        assert int(answer.headers["retry-after"]) > 0


async def test_browser_listens_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logged out hears nothing more when it asks again; a script with the token goes on."""
    monkeypatch.setattr(api, "SESSION_STREAM_S", 0.0)
    window = FakeWindow()
    async with asyncio.timeout(10), client_of(app_over(window)) as client:
        await client.post("/login", data={"password": PASSWORD})
        answer = await client.get("/api/v1/events")
        assert answer.text.startswith(": welcome\nretry: 1000\n")
        assert window.hub.listeners == 0


async def test_listening_ends_with_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs out hears nothing more; a script with the token goes on."""
    window = FakeWindow()
    app = app_over(window)
    async with asyncio.timeout(10), client_of(app) as client, asyncio.TaskGroup() as group:
        await client.post("/login", data={"password": PASSWORD})
        session = app._doors.session(client.cookies["spectragate_session"])
        assert session is not None
        listens = asyncio.Event()
        begin = Session.begin
        monkeypatch.setattr(Session, "begin", lambda self, end: listens.set() or begin(self, end))
        heard = group.create_task(client.get("/api/v1/events"), name="heard")
        await listens.wait()
        await client.post("/logout", headers={"X-CSRF-Token": session.csrf})
        window.hub.publish("camera", "{}")
        assert "event:" not in (await heard).text
        assert window.hub.listeners == 0


async def test_listening_ends_with_the_time_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody shows the cookie again: browsers stop when it is too old."""
    monkeypatch.setattr(web, "SESSION_S", 1.0)
    window = FakeWindow()
    async with asyncio.timeout(60), client_of(app_over(window)) as client:
        await client.post("/login", data={"password": PASSWORD})
        await client.get("/api/v1/events")  # comes back within the minute; on a machine that stands still, refused
        assert window.hub.listeners == 0


async def test_explanation_comes_when_it_is_made_and_is_refused_where_none_is_kept() -> None:
    """200 with the map, 202 while it is looked for or cannot be made now, 404 where there is nothing."""
    done = ExplanationView(alert_id="a1", state="done", score=3.0, places=((1.0,) * 8,) * 8, bands=(0.5,) * 10)
    others = {state: ExplanationView(alert_id=state, state=state) for state in ("waiting", "busy", "unknown")}  # type: ignore[arg-type]
    window = FakeWindow(explained={"a1": done, **others})
    async with client_of(app_over(window), headers=BEARER) as client:
        answer = await client.get("/api/v1/alerts/a1/explanation")
        assert (answer.status_code, answer.json()) == (200, done.model_dump(mode="json"))
        for alert_id, status in (("waiting", 202), ("busy", 202), ("unknown", 404), ("none", 404)):
            assert (await client.get(f"/api/v1/alerts/{alert_id}/explanation")).status_code == status
