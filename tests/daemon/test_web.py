"""The daemon's HTTP side, put together: every route of its table is closed, but those that must be open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import httpx2
from fakes.daemons import running_daemon
from fakes.web import client_of, routes_of
from fakes.windows import GATE_TOKEN, PASSWORD, TOKEN, YARD_TOKEN, FakeSignalling
from pydantic import SecretStr

from gateway.daemon.web import Web
from gateway.settings import HttpSettings

ONE = "cameras: {gate: {source: {type: file, path: gate.mp4}}}\n"
OPEN = {"/healthz", "/readyz", "/login"}
METHODS = ("GET", "POST", "DELETE", "PUT", "HEAD", "PATCH", "OPTIONS")
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
    "of another camera": {"Authorization": f"Bearer {YARD_TOKEN}"},
}


@asynccontextmanager
async def web_of(folder: Path, signalling: FakeSignalling | None = None) -> AsyncIterator[Web]:
    """Yield the HTTP side of a running daemon, which nobody serves yet."""
    async with running_daemon(folder, ONE) as box:
        settings = HttpSettings(port=0, token=SecretStr(TOKEN), password=SecretStr(PASSWORD))
        web = Web(box.daemon, settings, box.daemon.outbox, signalling=signalling)
        yield web
        web.close()


async def test_daemon_is_seen_over_http(tmp_path: Path) -> None:
    """A real socket, the real daemon, the token and the password of its configuration."""
    async with web_of(tmp_path) as web, asyncio.TaskGroup() as group:
        serving = group.create_task(web.run(), name="web")
        async with httpx2.AsyncClient(base_url=web.url, timeout=10) as client:
            assert (await client.get("/healthz")).text == "alive\n"
            assert (await client.get("/api/v1/cameras")).status_code == 401
            cameras = await client.get("/api/v1/cameras", headers={"Authorization": f"Bearer {TOKEN}"})
            assert [each["camera"] for each in cameras.json()] == ["gate"]
            page = await client.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
            assert "Camera gate" in page.text
            assert (await client.post("/login", data={"password": PASSWORD})).headers["location"] == "/"
        serving.cancel()


async def test_every_route_is_closed_to_whoever_shows_no_token(tmp_path: Path) -> None:
    """Every method of every path of the table, with the token in the query too: 401, and nothing is changed."""
    signalling = FakeSignalling()
    async with web_of(tmp_path, signalling) as web:
        paths = {path for _, path in routes_of(web.app) if path not in OPEN and not path.startswith("/static/")}
        assert len(paths) > 12
        assert {"/", "/metrics", "/openapi.json", "/whip/gate", "/api/v1/alerts/a1/feedback"} <= paths
        asked = product(sorted(paths), METHODS, ("", f"?token={TOKEN}&access_token={TOKEN}"), CREDENTIALS)
        for number, (path, method, query, credential) in enumerate(asked):
            async with client_of(web.app, address=f"2001:db8:0:{number:x}::1") as client:
                answer = await client.request(method, path + query, headers=CREDENTIALS[credential])
            assert answer.status_code == 401, (method, path, credential)
        assert signalling.offers == []
        assert web.window.cameras()[0].enabled


async def test_camera_token_opens_nothing_but_its_camera(tmp_path: Path) -> None:
    """No other path of the table, whatever the method."""
    async with web_of(tmp_path, FakeSignalling()) as web:
        paths = {path for _, path in routes_of(web.app) if path not in OPEN and not path.startswith("/static/")}
        shown = {"Authorization": f"Bearer {GATE_TOKEN}"}
        others = [*sorted(paths - {"/whip/gate", "/whip/gate/s1"}), "/whip/yard", "/whip/yard/s1"]
        for number, (path, method) in enumerate(product(others, METHODS)):
            async with client_of(web.app, address=f"2001:db8:0:{number:x}::1") as client:
                assert (await client.request(method, path, headers=shown)).status_code == 401, (method, path)


async def test_session_changes_nothing_without_its_csrf_token(tmp_path: Path) -> None:
    """Every path of the table, with each method that could change something: 403, and 401 where cameras publish."""
    async with web_of(tmp_path, FakeSignalling()) as web, client_of(web.app) as client:
        assert (await client.post("/login", data={"password": PASSWORD})).status_code == 303
        paths = {path for _, path in routes_of(web.app) if path not in OPEN and not path.startswith("/static/")}
        for path, method in product(sorted(paths), ("POST", "DELETE", "PUT", "PATCH")):
            answer = await client.request(method, path)
            assert answer.status_code == (401 if path.startswith("/whip/") else 403), (method, path)
        assert web.window.cameras()[0].enabled
