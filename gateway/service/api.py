"""The routes for scripts, `/api/v1`: what the box knows, as JSON, and the two things that may be changed."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.responses import Response

from gateway.contract import messages
from gateway.contract.fields import Model
from gateway.contract.requests import Feedback, ModelOrder, RequestsWait, read_model_order
from gateway.contract.topics import MAX_NAME_LENGTH, MODEL_ORDER, NAME_PATTERN
from gateway.service.doors import Session
from gateway.service.guard import session_of
from gateway.service.hub import HubEvent, Subscription, TooManySubscribers
from gateway.service.window import CameraView, EnvironmentView, ExplanationView, ModelView, Window

HEARTBEAT_S = 15.0
"""A comment goes out so often where nothing else does, so that a listener that is gone is noticed."""

SESSION_STREAM_S = 300.0
"""A browser listens so long and asks again; by then whoever has logged out hears nothing more."""

RETRY_MS = 1000
ORDERS_RETRY_S = 10
MOST_ALERTS = 500

Responses = dict[int | str, dict[str, Any]]
BOX_TOKEN = Depends(HTTPBearer(scheme_name="token", description="http.token of the configuration", auto_error=False))
"""Says in the description what the guard before the routes has checked already."""

NamedInPath = Annotated[str, Path(pattern=NAME_PATTERN, max_length=MAX_NAME_LENGTH)]


class Problem(Model):
    """Why a request was refused."""

    detail: str


class Switch(Model):
    """Whether a camera is to be watched."""

    enabled: bool


class ModelChoice(Model):
    """Which bundle is to judge an environment."""

    order: str = Field(pattern=MODEL_ORDER, description="rollback, `pin <version>`, or `pin none`: take new ones again")


class Latest(Model):
    """How many alerts are wanted; a key that is not known here is refused, not passed over."""

    limit: int = Field(default=100, ge=1, le=MOST_ALERTS, strict=False)  # a query holds texts


REFUSED: Responses = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The request cannot be read.",
        401: "Token or session are missing or wrong.",
        403: "The session's CSRF token is missing or wrong.",
        408: "The body did not come in time.",
        413: "The body is too large.",
        429: "Too many requests or wrong secrets came from this address, or too many commands: try later.",
    }.items()
}
UNKNOWN: Responses = {404: {"model": Problem, "description": "There is nothing of this name."}}


def api_routes(window: Window) -> APIRouter:
    """Return the routes over a daemon."""
    router = APIRouter(prefix="/api/v1", responses=REFUSED, tags=["api"], dependencies=[BOX_TOKEN])
    _add_views(router, window)
    _add_commands(router, window)

    @router.get(
        "/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}, 503: {}}
    )
    async def events(request: Request) -> Response:
        """Tell what happens as server-sent events: `alert`, `camera`, `environment`, `stats`."""
        stream = _stream(window, session_of(request))
        try:
            first = await anext(stream)
        except TooManySubscribers as error:
            raise HTTPException(503, f"{error}: close a page") from None
        return StreamingResponse(_after(first, stream), media_type="text/event-stream")

    return router


def _add_views(router: APIRouter, window: Window) -> None:
    @router.get("/cameras")
    async def cameras() -> tuple[CameraView, ...]:
        """Return every camera, in the order of the configuration."""
        return window.cameras()

    @router.get("/alerts")
    async def alerts(asked: Annotated[Latest, Query()]) -> tuple[messages.Alert, ...]:
        """Return the newest message of each of the latest alerts, newest first."""
        return window.alerts()[: asked.limit]

    @router.get("/alerts/{alert_id}/explanation", responses={**UNKNOWN, 202: {"model": ExplanationView}})
    async def explanation(alert_id: NamedInPath, response: Response) -> ExplanationView:
        """Return which places and frequencies of an alert's face spoke for a trigger; 202 while they are looked for."""
        found = window.explanation(alert_id)
        if found is None or found.state == "unknown":
            raise HTTPException(404, f"no face of an alert {alert_id} is kept (evidence.explanations)")
        response.status_code = 200 if found.state == "done" else 202
        return found

    @router.get("/environments")
    async def environments() -> tuple[EnvironmentView, ...]:
        """Return every environment with its model, its calibration and its drift."""
        return window.environments()

    @router.get("/models")
    async def models() -> tuple[ModelView, ...]:
        """Return every model that is in use."""
        return window.models()

    @router.get("/stats")
    async def stats() -> messages.Stats:
        """Return what was counted since the start."""
        return window.stats()


def _add_commands(router: APIRouter, window: Window) -> None:
    @router.post("/cameras/{camera}/enabled", status_code=204, responses={**UNKNOWN})
    async def switch(camera: NamedInPath, wanted: Switch) -> None:
        """Switch a camera on or off; the position outlives a restart."""
        if not window.switch(camera, is_on=wanted.enabled):
            raise HTTPException(404, f"there is no camera {camera}")

    @router.post("/alerts/{alert_id}/feedback", status_code=204, responses={**UNKNOWN})
    async def judge(alert_id: NamedInPath, judgement: Feedback) -> None:
        """Say whether an alert was right; a confirmed one leaves the calibration. A note is told among the alerts."""
        if not window.judge(alert_id, judgement.feedback, judgement.note):
            raise HTTPException(404, f"nothing is known of an alert {alert_id}")

    @router.post("/environments/{environment}/model", status_code=204, responses={**UNKNOWN})
    async def choose(environment: NamedInPath, choice: ModelChoice) -> None:
        """Choose an environment's bundle; what came of it stands in its `model_state`."""
        choose_bundle(window, environment, read_model_order(choice.order.encode()))


def choose_bundle(window: Window, environment: str, order: ModelOrder) -> None:
    """Take an operator's order.

    Raises:
        HTTPException: There is no such environment that takes bundles, or too many orders wait for it.
    """
    try:
        is_taken = window.choose(environment, order)
    except RequestsWait as error:
        raise HTTPException(429, str(error), {"Retry-After": str(ORDERS_RETRY_S)}) from None
    if not is_taken:
        raise HTTPException(404, f"no bundle can be chosen for an environment {environment}")


async def _after(first: str, stream: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for text in stream:
        yield text


async def _stream(window: Window, session: Session | None) -> AsyncIterator[str]:
    ends_at_s = time.monotonic() + (math.inf if session is None else SESSION_STREAM_S)
    async with window.subscribe() as line:
        with ExitStack() as ending:
            if session is not None:
                ending.callback(session.begin(line.cut))
            yield f": welcome\nretry: {RETRY_MS}\n\n"
            while time.monotonic() < ends_at_s:
                try:
                    event = await line.next(HEARTBEAT_S)
                except StopAsyncIteration:
                    return
                yield ": still here\n\n" if event is None else _as_text(event, line)


def _as_text(event: HubEvent, line: Subscription) -> str:
    lost = f": {line.dropped} dropped\n" if line.dropped else ""
    return f"{lost}id: {event.number}\nevent: {event.name}\ndata: {event.data}\n\n"
