"""The application as a whole: every route of its table is closed, but those that must be open."""

from collections.abc import Iterable, Iterator
from itertools import product

import pytest
from fakes.web import BEARER, app_over, client_of
from fakes.windows import TOKEN, YARD_TOKEN, FakeSignalling, FakeWindow
from fastapi import APIRouter
from starlette.routing import BaseRoute, Route

from gateway.service.guard import Guard
from gateway.service.web import Addition
from gateway.service.window import Readiness

OPEN = {"/healthz", "/readyz", "/login"}


FILLED = {"{camera}": "gate", "{alert_id}": "a1", "{session}": "s1"}


def routes_in(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Return the method and the path of every route, names filled in; a kind that is not known here is an error."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes_in(included.routes)
            continue
        assert isinstance(route, Route), f"a new kind of route, which this test would forget: {route}"
        path = route.path
        for name, value in FILLED.items():
            path = path.replace(name, value)
        assert "{" not in path, f"a new kind of name, fill it in above: {path}"
        yield from ((method, path) for method in sorted(route.methods or ()))


def routes_of(app: Guard) -> list[tuple[str, str]]:
    """Return the whole table."""
    return list(routes_in(app._app.routes))  # type: ignore[attr-defined]


async def test_health_says_alive_and_ready_without_a_token() -> None:
    """Ready means that faces are screened; what is missing is said in words for rules."""
    window = FakeWindow()
    async with client_of(app_over(window)) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).json() == {"ready": True, "reasons": []}
        window.ready = Readiness(ready=False, reasons=("no_camera_online",))
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["no_camera_online"])


async def test_openapi_names_every_route_for_scripts() -> None:
    """The description is served behind the token; nothing loads scripts of other sites."""
    async with client_of(app_over(), headers=BEARER) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert {"/healthz", "/readyz", "/api/v1/cameras", "/api/v1/alerts/{alert_id}/feedback"} <= set(paths)
        assert "/login" not in paths
        for docs in ("/docs", "/redoc"):
            assert (await client.get(docs)).status_code == 404


async def test_addition_brings_routes_of_its_own() -> None:
    """A page is mounted behind the guard, its style sheets before it; browsers without a session are sent to log in."""
    router = APIRouter()

    @router.get("/")
    async def page() -> str:
        return "the page"

    @router.get("/static/a.css")
    async def style() -> str:
        return "style"

    app = app_over(additions=[Addition(router, open_prefixes=("/static/",), login=True)])
    async with client_of(app) as client:
        assert (await client.get("/static/a.css")).status_code == 200
        assert (await client.get("/")).status_code == 401
        browser = await client.get("/", headers={"Accept": "text/html"})
        assert (browser.status_code, browser.headers["location"]) == (303, "/login")
        assert (await client.get("/", headers=BEARER)).json() == "the page"


CREDENTIALS: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {"Authorization": ""},
    "only the kind": {"Authorization": "Bearer"},
    "wrong": {"Authorization": "Bearer " + "x" * 32},
    "truncated": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "longer": {"Authorization": f"Bearer {TOKEN}t"},
    "basic": {"Authorization": f"Basic {TOKEN}"},
    "bare": {"Authorization": TOKEN},
    "in a cookie": {"Cookie": f"spectragate_session={TOKEN}"},
    "another header": {"X-Api-Key": TOKEN},
    "of a camera": {"Authorization": f"Bearer {YARD_TOKEN}"},
}


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_every_route_is_closed_to_whoever_shows_no_token(credential: str) -> None:
    """Every method of every path of the table, in the query too: 401 without exception, and nothing is changed."""
    window, signalling = FakeWindow(), FakeSignalling()
    app = app_over(window, signalling=signalling)
    routes = routes_of(app)
    assert len(routes) > 12
    paths = sorted({path for _, path in routes} - OPEN)
    methods = ("GET", "POST", "DELETE", "PUT", "HEAD", "PATCH", "OPTIONS")
    for number, (path, method, query) in enumerate(product(paths, methods, ("", f"?token={TOKEN}"))):
        async with client_of(app, address=f"2001:db8::{number:x}") as client:
            answer = await client.request(method, path + query, headers=CREDENTIALS[credential])
            assert answer.status_code == 401, (method, path)
    assert (window.switched, window.judged, signalling.offers) == ([], [], [])


async def test_login_when_posted_by_a_form_of_ours_ends_with_logging_out() -> None:
    """A session opens, reads, and is gone after it was left."""
    app = app_over()
    async with client_of(app) as client:
        await client.post("/login", data={"password": "open sesame"})
        session = app._doors.session(client.cookies["spectragate_session"])
        assert session is not None
        assert (await client.get("/api/v1/cameras")).status_code == 200
        left = await client.post("/logout", headers={"X-CSRF-Token": session.csrf})
        assert left.status_code == 303
        assert app._doors.session(session.name) is None
