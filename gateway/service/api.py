"""The routes for scripts, `/api/v1`: what the box knows, as JSON, and the two things that may be changed."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.responses import Response

from gateway.contract import messages
from gateway.contract.fields import Model
from gateway.contract.requests import Feedback
from gateway.contract.topics import MAX_NAME_LENGTH, NAME_PATTERN
from gateway.service.hub import HubEvent, Subscription, TooManySubscribers
from gateway.service.window import CameraView, EnvironmentView, ModelView, Window

HEARTBEAT_S = 15.0
"""A comment goes out so often where nothing else does, so that a listener that is gone is noticed."""

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
        429: "Too many wrong secrets came from this address, or too many commands: try later.",
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
    async def events() -> Response:
        """Tell what happens as server-sent events: `alert`, `camera`, `environment`, `stats`."""
        stream = _stream(window)
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
        """Say whether an alert was right; a confirmed one leaves the calibration."""
        if not window.judge(alert_id, judgement.feedback):
            raise HTTPException(404, f"nothing is known of an alert {alert_id}")


async def _after(first: str, stream: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for text in stream:
        yield text


async def _stream(window: Window) -> AsyncIterator[str]:
    async with window.subscribe() as line:
        yield ": welcome\n\n"
        while True:
            try:
                event = await line.next(HEARTBEAT_S)
            except StopAsyncIteration:
                return
            yield ": still here\n\n" if event is None else _as_text(event, line)


def _as_text(event: HubEvent, line: Subscription) -> str:
    lost = f": {line.dropped} dropped\n" if line.dropped else ""
    return f"{lost}id: {event.number}\nevent: {event.name}\ndata: {event.data}\n\n"
