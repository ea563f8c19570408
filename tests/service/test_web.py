"""The application as a whole: what is open, what is described, and what other parts add."""

from fakes.web import BEARER, app_over, client_of
from fakes.windows import FakeWindow
from fastapi import APIRouter

from gateway.service.web import Addition
from gateway.service.window import Readiness


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


async def test_form_of_too_many_fields_is_refused() -> None:
    """Anybody can send one: it is answered, not raised into the log with a trace for each."""
    async with client_of(app_over()) as client:
        answer = await client.post("/login", data={f"field{number}": "1" for number in range(9)})
        assert (answer.status_code, answer.json()) == (400, {"detail": "a form has at most 8 fields"})
