"""The application: every route of the box behind one guard."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.responses import Response

from gateway.service.api import REFUSED, api_routes
from gateway.service.doors import SESSION_S, Doors
from gateway.service.guard import COOKIE, OPEN_PATHS, TOO_MANY, Guard, Rules, address_of, session_of
from gateway.service.metrics import metrics_routes
from gateway.service.whip import whep_routes, whip_routes
from gateway.service.window import Readiness, Signalling, Window

LOGIN, LOGOUT = "/login", "/logout"
MOST_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Addition:
    """Routes of another part: those below `open_prefixes` are for everybody, all others behind the guard.

    `login` says that it answers `GET /login` with a form that posts a `password` there.
    """

    router: APIRouter
    open_prefixes: tuple[str, ...] = ()
    login: bool = False


def create_app(
    window: Window,
    doors: Doors,
    *,
    version: str,
    signalling: Signalling | None = None,
    additions: Sequence[Addition] = (),
    secure_cookie: bool = False,
) -> Guard:
    """Return the whole application."""
    app = FastAPI(title="Spectragate", version=version, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.include_router(_health_routes(window))
    app.include_router(_session_routes(doors, secure_cookie=secure_cookie))
    app.include_router(api_routes(window))
    app.include_router(metrics_routes(window, doors.doorway))
    if signalling is not None:
        app.include_router(whip_routes(signalling))
        app.include_router(whep_routes(signalling))
    for addition in additions:
        app.include_router(addition.router)
    rules = Rules(
        open_paths=OPEN_PATHS | {LOGIN},
        open_prefixes=tuple(prefix for addition in additions for prefix in addition.open_prefixes),
        login=LOGIN if any(addition.login for addition in additions) else None,
        logout=LOGOUT,
        whip_token=signalling.token_of if signalling else lambda _camera: None,
        allows_origin=signalling.allows_origin if signalling else lambda _origin: False,
    )
    return Guard(app, doors=doors, rules=rules)


async def field_of(request: Request, name: str) -> str:
    """Return a field of a form, empty where it lacks it.

    Raises:
        HTTPException: It is none of our forms.
    """
    try:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, f"a form has at most {MOST_FIELDS} fields") from None
    return form.get(name, [""])[0]


def _health_routes(window: Window) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Say that the process answers."""
        return "alive\n"

    @router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
    async def readyz() -> Response:
        """Say whether faces are screened and alerts kept, and if not, why."""
        readiness = window.readiness()
        return JSONResponse(readiness.model_dump(mode="json"), 200 if readiness.ready else 503)

    return router


def _session_routes(doors: Doors, *, secure_cookie: bool) -> APIRouter:
    router = APIRouter(tags=["session"], include_in_schema=False, responses={**REFUSED})

    @router.post(LOGIN)
    async def log_in(request: Request) -> Response:
        """Open a session for whoever knows the password, and go to the page; back to the form for anybody else."""
        address = address_of(request.scope)
        pause_s = doors.failures.pause_s(address)
        if pause_s:
            raise HTTPException(429, TOO_MANY, {"Retry-After": str(math.ceil(pause_s))})
        session = doors.open_session(await field_of(request, "password"))
        if session is None:
            doors.failures.note(address)
            return RedirectResponse(f"{LOGIN}?failed=1", 303)
        # Its browser does not come again once the cookie is too old; what it is shown ends all the same.
        end = asyncio.get_running_loop().call_later(SESSION_S, doors.close_session, session.name)
        session.begin(end.cancel)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, session.name, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure_cookie
        )
        return answer

    @router.post(LOGOUT)
    async def log_out(request: Request) -> Response:
        """End the session."""
        session = session_of(request)
        if session is not None:
            doors.close_session(session.name)
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=secure_cookie)
        return answer

    return router
