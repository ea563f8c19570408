"""A client of the HTTP application inside the test, without a socket."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import httpx2
from fakes.windows import PASSWORD, TOKEN, FakeWindow
from starlette.routing import BaseRoute, Route

from gateway.contract.doorway import Doorway, Limits
from gateway.service.doors import Doors
from gateway.service.guard import Guard
from gateway.service.web import Addition, create_app
from gateway.service.window import Signalling

UNBOUNDED = Limits(connections=10**6, of_address=10**6, requests_at_once=10**9)
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def app_over(
    window: FakeWindow | None = None,
    *,
    doors: Doors | None = None,
    doorway: Doorway | None = None,
    signalling: Signalling | None = None,
    additions: Sequence[Addition] = (),
) -> Guard:
    """Return the application over a fake daemon."""
    return create_app(
        window or FakeWindow(),
        doors or Doors(TOKEN, PASSWORD, doorway=doorway or Doorway(UNBOUNDED)),
        version="1",
        signalling=signalling,
        additions=additions,
    )


def client_of(app: Guard, *, address: str = "192.0.2.1", **options: Any) -> httpx2.AsyncClient:
    """Return a client that comes from an address."""
    transport = httpx2.ASGITransport(app=app, client=(address, 4711))
    return httpx2.AsyncClient(transport=transport, base_url="http://box:8080", **options)


FILLED = {"{camera}": "gate", "{alert_id}": "a1", "{session}": "s1", "{sha256}": "ab" * 32, "{environment}": "default"}


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
