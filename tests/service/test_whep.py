"""Viewers' offers on their way to a camera."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from fakes.web import BEARER, app_over, client_of
from fakes.windows import ANSWER, GATE_TOKEN, PASSWORD, STUDIO, FakeSignalling

from gateway.service.doors import Doors
from gateway.service.guard import COOKIE
from gateway.service.window import Signalled
from gateway.settings import COMMANDS_PER_MINUTE

OFFER = b"v=0\r\noffer"
SDP = {"Content-Type": "application/sdp"}


async def test_viewer_with_the_token_is_answered_and_leaves() -> None:
    """201 with the answer and the session's address; leaving works once; many may come and go."""
    signalling = FakeSignalling()
    async with client_of(app_over(signalling=signalling), headers={**BEARER, **SDP}) as client:
        answer = await client.post("/whep/gate", content=OFFER)
        assert (answer.status_code, answer.content) == (201, ANSWER)
        assert answer.headers["location"] == "/whep/gate/s1"
        assert (await client.delete("/whep/gate/s1")).status_code == 200
        assert (await client.delete("/whep/gate/s1")).status_code == 404
        for _ in range(COMMANDS_PER_MINUTE + 1):  # looking is no command
            assert (await client.post("/whep/gate", content=OFFER)).status_code == 201
    assert signalling.views[0] == ("gate", OFFER)
    assert signalling.offers == []


async def test_viewer_with_a_session_shows_its_csrf_token() -> None:
    """As with every change."""
    async with logged_in(FakeSignalling()) as (page, _):
        assert (await page.post("/whep/gate", content=OFFER)).status_code == 201
        del page.headers["X-CSRF-Token"]
        assert (await page.post("/whep/gate", content=OFFER)).status_code == 403


@asynccontextmanager
async def logged_in(signalling: FakeSignalling) -> AsyncIterator[tuple[httpx2.AsyncClient, Doors]]:
    """Yield a page that has logged in and shows its CSRF token."""
    app = app_over(signalling=signalling)
    async with client_of(app, headers=SDP) as page:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        await page.post("/login", data={"password": PASSWORD}, headers=form)
        session = app._doors.session(page.cookies[COOKIE])
        assert session is not None
        page.headers["X-CSRF-Token"] = session.csrf
        yield page, app._doors


async def test_viewer_ends_with_the_session_that_it_belongs_to() -> None:
    """Whoever logs out sees nothing more; whoever watches with the token goes on."""
    signalling = FakeSignalling()
    signalling.sessions = {("gate", "s1"), ("gate", "other")}
    async with logged_in(signalling) as (page, _):
        assert (await page.post("/whep/gate", content=OFFER)).status_code == 201
        await page.post("/logout")
        assert signalling.sessions == {("gate", "other")}


async def test_viewer_whose_session_ends_while_the_camera_answers_sees_nothing() -> None:
    """The answer comes too late: it is not given, and the camera is told to send nothing."""
    signalling = FakeSignalling()
    async with logged_in(signalling) as (page, doors):
        view = signalling.view

        async def slow(camera: str, sdp: bytes) -> Signalled:
            doors.close_session(page.cookies[COOKIE])
            return await view(camera, sdp)

        signalling.view = slow
        assert (await page.post("/whep/gate", content=OFFER)).status_code == 401
        assert signalling.sessions == set()


async def test_no_publisher_and_no_other_site_is_a_viewer() -> None:
    """A camera's token opens its publisher's route alone, and only publishers may come from other sites."""
    signalling = FakeSignalling()
    async with client_of(app_over(signalling=signalling), headers={"Origin": STUDIO, **SDP}) as client:
        token = {"Authorization": f"Bearer {GATE_TOKEN}"}
        assert (await client.post("/whep/gate", content=OFFER, headers=token)).status_code == 401
        asked = await client.options("/whep/gate", headers={"Access-Control-Request-Method": "POST"})
        assert (asked.status_code, "access-control-allow-origin" in asked.headers) == (401, False)
    assert signalling.views == []


@pytest.mark.parametrize("status", [404, 422, 429])
async def test_viewer_that_is_refused_is_told_why(status: int) -> None:
    """In the worker's words."""
    signalling = FakeSignalling(Signalled(status, b"", None, "no room"))
    async with client_of(app_over(signalling=signalling), headers={**BEARER, **SDP}) as client:
        answer = await client.post("/whep/gate", content=OFFER)
        assert (answer.status_code, answer.json()) == (status, {"detail": "no room"})
        other = await client.post("/whep/gate", content=OFFER, headers={"Content-Type": "text/plain"})
        assert other.status_code == 415
