"""What stands before every route: who passes, how much may come, and what browsers are told."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from fakes.web import BEARER, app_over, client_of
from fakes.windows import GATE_TOKEN, PASSWORD, TOKEN, FakeSignalling, FakeWindow

from gateway.contract.doorway import Doorway, Limits
from gateway.service import guard
from gateway.service.doors import MOST_FAILURES, Doors
from gateway.service.guard import COOKIE, MOST_BODY_BYTES
from gateway.settings import COMMANDS_PER_MINUTE


async def test_security_headers_stand_in_every_answer() -> None:
    """In good ones, in refusals and where there is nothing; no script runs that is not a file of ours."""
    async with client_of(app_over()) as client:
        for answer in (
            await client.get("/healthz"),
            await client.get("/api/v1/cameras"),
            await client.get("/api/v1/cameras", headers=BEARER),
            await client.get("/nowhere", headers=BEARER),
        ):
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "server" not in answer.headers


async def test_address_is_not_listened_to_when_it_guessed_too_often() -> None:
    """After ten wrong tokens a right one waits too; other addresses and an open session do not."""
    app = app_over()
    async with client_of(app) as client, client_of(app, address="192.0.2.2") as other, client_of(app) as page:
        assert (await page.post("/login", data={"password": PASSWORD})).status_code == 303
        for number in range(MOST_FAILURES):
            wrong = await client.get("/metrics", headers={"Authorization": f"Bearer {number}"})
            assert wrong.status_code == 401
        late = await client.get("/api/v1/cameras", headers=BEARER)
        assert late.status_code == 429
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert (await client.post("/login", data={"password": PASSWORD})).status_code == 429
        assert (await client.get("/healthz")).status_code == 200
        assert (await other.get("/api/v1/cameras", headers=BEARER)).status_code == 200
        assert (await page.get("/api/v1/cameras")).status_code == 200


async def test_nobody_waits_who_showed_nothing() -> None:
    """A page that is left open after a restart does not lock its operator out."""
    async with client_of(app_over()) as client:
        for _ in range(2 * MOST_FAILURES):
            assert (await client.get("/api/v1/cameras", headers={"Cookie": f"{COOKIE}=gone"})).status_code == 401
        assert (await client.get("/api/v1/cameras", headers=BEARER)).status_code == 200


async def test_session_needs_its_csrf_token_where_something_is_changed() -> None:
    """The cookie alone reads; a change shows the token beside it, and not that of another session."""
    window = FakeWindow()
    app = app_over(window)
    async with client_of(app) as client, client_of(app) as other:
        await client.post("/login", data={"password": PASSWORD})
        await other.post("/login", data={"password": PASSWORD})
        sessions = [app._doors.session(each.cookies[COOKIE]) for each in (client, other)]
        assert (await client.get("/api/v1/cameras")).status_code == 200
        url, body = "/api/v1/cameras/gate/enabled", {"enabled": False}
        for shown in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": sessions[1].csrf}):  # type: ignore[union-attr]
            assert (await client.post(url, json=body, headers=shown)).status_code == 403
        assert window.switched == []
        right = {"X-CSRF-Token": sessions[0].csrf}  # type: ignore[union-attr]
        assert (await client.post(url, json=body, headers=right)).status_code == 204
        assert window.switched == [("gate", False)]


async def test_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    """HttpOnly, SameSite=Strict, and gone after logging out."""
    async with client_of(app_over()) as client:
        answer = await client.post("/login", data={"password": PASSWORD})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert PASSWORD not in cookie
        assert (await client.post("/login", data={"password": "wrong"})).headers["location"] == "/login?failed=1"


async def test_cookie_that_is_slow_to_read_holds_up_nothing() -> None:
    """Everybody may send one, and the daemon's one loop reads it: http.cookies took 10 s and more for this."""
    async with client_of(app_over()) as client:
        began_s = time.thread_time()
        answer = await client.get("/api/v1/cameras", headers={"Cookie": f'{COOKIE}="' + 60_000 * "\\" + '"'})
        assert answer.status_code == 401
        assert time.thread_time() - began_s < 1.0


async def test_session_is_found_among_other_cookies() -> None:
    """Of other services at the same host, before and behind it."""
    async with client_of(app_over()) as client:
        await client.post("/login", data={"password": PASSWORD})
        shown = f"a=1; {COOKIE}={client.cookies[COOKIE]}; broken; b="
        client.cookies.clear()
        assert (await client.get("/api/v1/cameras", headers={"Cookie": shown})).status_code == 200
        assert (await client.get("/api/v1/cameras", headers={"Cookie": f"x{shown[5:]}"})).status_code == 401


async def test_login_from_a_page_of_another_site_is_refused() -> None:
    """A browser says where a form came from; our own page's and a script's pass."""
    async with client_of(app_over()) as client:
        for origin, status in (("http://evil.example", 403), ("null", 403), ("http://box:8080", 303)):
            answer = await client.post("/login", data={"password": PASSWORD}, headers={"Origin": origin})
            assert answer.status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")],
        [("Authorization", f"Bearer {TOKEN}"), ("Content-Length", "many")],
        [("Authorization", f"Bearer {TOKEN}"), ("Content-Length", str(MOST_BODY_BYTES + 1))],
    ],
)
async def test_request_of_two_meanings_or_too_large_is_refused(headers: list[tuple[str, str]]) -> None:
    """A header that stands twice, a length that is none, a body above the limit: nothing reaches a route."""
    async with client_of(app_over()) as client:
        answer = await client.get("/api/v1/cameras", headers=headers)
        assert answer.status_code in {400, 413}


async def test_body_without_a_length_is_cut_off_at_the_limit() -> None:
    """What is sent in chunks is counted."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 8192

    async with client_of(app_over()) as client:
        answer = await client.post("/api/v1/alerts/a1/feedback", content=endless(), headers=BEARER)
        assert answer.status_code == 413


async def test_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is held open by trickling is given up."""
    monkeypatch.setattr(guard, "BODY_S", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with client_of(app_over()) as client:
        answer = await client.post("/api/v1/alerts/a1/feedback", content=stuck(), headers=BEARER)
        assert answer.status_code == 408


async def test_commands_are_counted_whoever_gives_them() -> None:
    """By token or session, over whichever route; reading, logging in and out and publishing go on."""
    window = FakeWindow()
    # A clock that stands: on a busy machine a minute's commands take long enough for one more.
    app = app_over(window, doors=Doors(TOKEN, PASSWORD, clock=lambda: 0.0), signalling=FakeSignalling())
    async with client_of(app, headers=BEARER) as script, client_of(app) as page:
        await page.post("/login", data={"password": PASSWORD})
        session = app._doors.session(page.cookies[COOKIE])
        assert session is not None
        csrf = {"X-CSRF-Token": session.csrf}
        for number in range(COMMANDS_PER_MINUTE):
            client, headers = ((script, {}), (page, csrf))[number % 2]
            body = {"enabled": True}
            assert (await client.post("/api/v1/cameras/gate/enabled", json=body, headers=headers)).status_code == 204
        late = await page.post("/api/v1/alerts/a1/feedback", json={"feedback": "confirmed"}, headers=csrf)
        assert (late.status_code, window.judged) == (429, [])
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert (await script.get("/api/v1/cameras")).status_code == 200
        offer = {"Authorization": f"Bearer {GATE_TOKEN}", "Content-Type": "application/sdp"}
        async with client_of(app, headers=offer) as camera:
            assert (await camera.post("/whip/gate", content=b"v=0")).status_code == 201
        assert (await page.post("/logout", headers=csrf)).status_code == 303
        assert (await page.post("/login", data={"password": PASSWORD})).status_code == 303


async def test_address_that_asks_too_often_is_told_when_to_come_again() -> None:
    """Whatever it shows; the connection ends, and others are answered, this machine always."""
    now_s = [0.0]
    limits = Limits(connections=9, of_address=9, requests_at_once=5, requests_per_s=0.5)
    app = app_over(doorway=Doorway(limits, clock=lambda: now_s[0]))
    async with client_of(app, headers=BEARER) as client:
        answers = [await client.get("/api/v1/cameras") for _ in range(6)]
        assert [answer.status_code for answer in answers] == 5 * [200] + [429]
        assert (answers[-1].headers["retry-after"], answers[-1].headers["connection"]) == ("2", "close")
        assert (await client.get("/healthz")).status_code == 429
        now_s[0] = 4.0
        assert [(await client.get("/healthz")).status_code for _ in range(3)] == [200, 200, 429]
    async with client_of(app, address="192.0.2.2") as client:
        assert (await client.get("/healthz")).status_code == 200
    async with client_of(app, address="127.0.0.1") as client:
        assert {(await client.get("/healthz")).status_code for _ in range(50)} == {200}
