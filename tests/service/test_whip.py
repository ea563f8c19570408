"""Offers on their way to a camera."""

import pytest
from fakes.web import app_over, client_of
from fakes.windows import ANSWER, GATE_TOKEN, STUDIO, TOKEN, YARD_TOKEN, FakeSignalling

from gateway.service.guard import MOST_BODY_BYTES
from gateway.service.window import Signalled

OFFER = b"v=0\r\noffer"
SDP = {"Content-Type": "application/sdp"}
GATE = {"Authorization": f"Bearer {GATE_TOKEN}"}


async def test_offer_is_answered_and_its_session_can_be_left() -> None:
    """201 with the answer and the session's address; leaving works once."""
    signalling = FakeSignalling()
    async with client_of(app_over(signalling=signalling), headers=GATE) as client:
        answer = await client.post("/whip/gate", content=OFFER, headers=SDP)
        assert (answer.status_code, answer.content) == (201, ANSWER)
        assert answer.headers["location"] == "/whip/gate/s1"
        assert answer.headers["content-type"] == "application/sdp"
        assert signalling.offers == [("gate", OFFER)]
        assert (await client.delete("/whip/gate/s1")).status_code == 200
        assert (await client.delete("/whip/gate/s1")).status_code == 404


@pytest.mark.parametrize("status", [400, 406, 422, 429, 503])
async def test_offer_that_is_refused_says_why(status: int) -> None:
    """The worker's reason reaches the publisher."""
    signalling = FakeSignalling(Signalled(status, b"", None, "no video is offered"))
    async with client_of(app_over(signalling=signalling), headers=GATE) as client:
        answer = await client.post("/whip/gate", content=OFFER, headers=SDP)
        assert (answer.status_code, answer.json()) == (status, {"detail": "no video is offered"})


async def test_offer_of_another_kind_or_too_large_never_reaches_a_worker() -> None:
    """Only SDP is handed on, and no more than any offer needs."""
    signalling = FakeSignalling()
    async with client_of(app_over(signalling=signalling), headers=GATE) as client:
        for headers in ({}, {"Content-Type": "application/json"}, {"Content-Type": "text/application/sdp"}):
            assert (await client.post("/whip/gate", content=OFFER, headers=headers)).status_code == 415
        large = await client.post("/whip/gate", content=b"v" * (MOST_BODY_BYTES + 1), headers=SDP)
        assert large.status_code == 413
    assert signalling.offers == []


@pytest.mark.parametrize("shown", ["", GATE_TOKEN[:-1], YARD_TOKEN, TOKEN, GATE_TOKEN + "g"])
@pytest.mark.parametrize("path", ["/whip/gate", "/whip/gate/s1", "/whip/moat", "/whip/", "/whip/gate/../yard"])
async def test_publisher_shows_the_token_of_its_camera_and_no_other(path: str, shown: str) -> None:
    """Not another camera's, not the box's, not a part of it; an unknown camera looks like a wrong token."""
    signalling = FakeSignalling()
    headers = {"Authorization": f"Bearer {shown}", **SDP} if shown else SDP
    for method in ("POST", "DELETE", "GET", "PATCH"):
        async with client_of(app_over(signalling=signalling)) as client:
            answer = await client.request(method, path, content=OFFER, headers=headers)
            if not (path.endswith("../yard") and shown == YARD_TOKEN):
                assert answer.status_code == 401
    assert [camera for camera, _ in signalling.offers] == ["yard"] * len(signalling.offers)
    assert ("gate", "s1") in signalling.sessions


async def test_camera_token_opens_nothing_but_its_camera() -> None:
    """Neither the page nor the routes for scripts, nor the publisher's routes by a session of the page."""
    app = app_over(signalling=FakeSignalling())
    async with client_of(app) as client:
        assert (await client.get("/api/v1/cameras", headers=GATE)).status_code == 401
        await client.post("/login", data={"password": "open sesame"})
        assert (await client.post("/whip/gate", content=OFFER, headers=SDP)).status_code == 401


async def test_publisher_routes_are_absent_where_nobody_listens() -> None:
    """Without WebRTC no token opens them."""
    async with client_of(app_over(), headers=GATE) as client:
        assert (await client.post("/whip/gate", content=OFFER, headers=SDP)).status_code == 401


ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


async def test_page_of_an_allowed_site_may_ask_and_publish() -> None:
    """Its browser asks without a token (RFC 9725, CORS) and lets the page read the answer, refusals too."""
    async with client_of(app_over(signalling=FakeSignalling()), headers={"Origin": STUDIO}) as client:
        for path, method in (("/whip/gate", "POST"), ("/whip/gate/s1", "DELETE")):
            asked = await client.options(path, headers=ASKS)
            assert asked.status_code == 204
            assert asked.headers["access-control-allow-origin"] == STUDIO
            assert method in asked.headers["access-control-allow-methods"]
            assert asked.headers["access-control-allow-headers"] == "authorization, content-type"
        answer = await client.post("/whip/gate", content=OFFER, headers={**GATE, **SDP})
        assert answer.status_code == 201
        assert "location" in answer.headers["access-control-expose-headers"]
        refused = await client.post("/whip/gate", content=OFFER, headers=SDP)
        assert refused.status_code == 401
        for each in (answer, refused):
            assert each.headers["access-control-allow-origin"] == STUDIO
            assert each.headers["vary"] == "origin"
            assert "access-control-allow-credentials" not in each.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "https://studio.example.evil", "null", "", "*"])
async def test_page_of_any_other_site_is_told_nothing(origin: str) -> None:
    """Its browser is refused and hands nothing to the page; a token would pass, but no browser shows it then."""
    async with client_of(app_over(signalling=FakeSignalling()), headers={"Origin": origin}) as client:
        asked = await client.options("/whip/gate", headers=ASKS)
        assert asked.status_code == 401
        answer = await client.post("/whip/gate", content=OFFER, headers={**GATE, **SDP})
        for each in (asked, answer):
            assert not any(name.startswith("access-control") and "origin" in name for name in each.headers)


async def test_allowed_site_reaches_no_other_route() -> None:
    """Not the box's, and neither without asking nor with two origins."""
    async with client_of(app_over(signalling=FakeSignalling()), headers={"Origin": STUDIO}) as client:
        for path in ("/api/v1/cameras", "/", "/whip"):
            asked = await client.options(path, headers=ASKS)
            assert (asked.status_code, "access-control-allow-origin" in asked.headers) == (401, False)
        assert (await client.options("/whip/gate")).status_code == 401
    async with client_of(app_over(signalling=FakeSignalling())) as client:
        twice = await client.options("/whip/gate", headers=[*[("Origin", STUDIO)] * 2, *ASKS.items()])
        assert (twice.status_code, "access-control-allow-origin" in twice.headers) == (401, False)


async def test_what_may_be_sent_is_told_to_who_shows_the_token() -> None:
    """Also without a browser."""
    async with client_of(app_over(signalling=FakeSignalling()), headers=GATE) as client:
        answer = await client.options("/whip/gate")
        assert (answer.status_code, answer.headers["accept-post"]) == (204, "application/sdp")
