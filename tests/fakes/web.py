"""A client of the HTTP application inside the test, without a socket."""

from collections.abc import Sequence
from typing import Any

import httpx2
from fakes.windows import PASSWORD, TOKEN, FakeWindow

from gateway.service.doors import Doors
from gateway.service.guard import Guard
from gateway.service.web import Addition, create_app
from gateway.service.window import Signalling

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def app_over(
    window: FakeWindow | None = None,
    *,
    doors: Doors | None = None,
    signalling: Signalling | None = None,
    additions: Sequence[Addition] = (),
) -> Guard:
    """Return the application over a fake daemon."""
    return create_app(
        window or FakeWindow(),
        doors or Doors(TOKEN, PASSWORD),
        version="1",
        signalling=signalling,
        additions=additions,
    )


def client_of(app: Guard, *, address: str = "192.0.2.1", **options: Any) -> httpx2.AsyncClient:
    """Return a client that comes from an address."""
    transport = httpx2.ASGITransport(app=app, client=(address, 4711))
    return httpx2.AsyncClient(transport=transport, base_url="http://box:8080", **options)
