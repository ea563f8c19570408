"""WebRTC's handshake over HTTP: offers go to the camera's worker, its answers come back, unread.

WHIP (RFC 9725) for those who send to us, WHEP for those who watch.
"""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.security import HTTPBearer
from pydantic import JsonValue
from starlette.responses import JSONResponse, Response

from gateway.contract.fields import Model
from gateway.service.api import BOX_TOKEN, REFUSED, UNKNOWN, NamedInPath, Problem, Responses
from gateway.service.guard import session_of
from gateway.service.window import Signalled, Signalling

SDP = "application/sdp"
PREFLIGHT_S = 600
"""How long a browser may remember what it may send."""

CAMERA_TOKEN = Depends(HTTPBearer(scheme_name="camera", description="source.token of the camera", auto_error=False))
SessionInPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]


class Unusable(Model):
    """Why nothing in an offer can be taken, in words or, of a name, as a list of what is wrong with it."""

    detail: str | list[JsonValue]


ANSWERS: Responses = {
    201: {"content": {SDP: {}}, "description": "The answer; `Location` names the session."},
    400: {"model": Problem, "description": "The offer is malformed."},
    404: {"model": Problem, "description": "No camera of this name waits for a publisher, or may be watched."},
    409: {"model": Problem, "description": "Somebody already sends for this camera."},
    415: {"model": Problem, "description": "The offer is no application/sdp."},
    422: {"model": Unusable, "description": "Nothing in the offer can be taken, or no camera can have this name."},
    429: {"model": Problem, "description": "The camera cannot answer now, or too many wrong tokens came: try later."},
}
OFFER = {"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}}


def _allowed(methods: str) -> dict[str, str]:
    return {
        "Allow": methods,
        "Accept-Post": SDP,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": "authorization, content-type",
        "Access-Control-Max-Age": str(PREFLIGHT_S),
    }


def whip_routes(signalling: Signalling) -> APIRouter:
    """Return the routes by which cameras push their pictures; each takes the bearer token of its camera alone."""
    router = APIRouter(prefix="/whip", tags=["whip"], responses=REFUSED, dependencies=[CAMERA_TOKEN])

    @router.post("/{camera}", status_code=201, response_class=Response, responses=ANSWERS, openapi_extra=OFFER)
    async def publish(camera: NamedInPath, request: Request) -> Response:
        """Take an offer and return the answer."""
        answer = await signalling.offer(camera, await _offer_in(request))
        return _answered(answer, f"/whip/{camera}")

    @router.options("/{camera}", include_in_schema=False)
    async def may_publish() -> Response:
        """Say what may be sent here; browsers ask before a page of another site publishes."""
        return Response(status_code=204, headers=_allowed("OPTIONS, POST"))

    @router.options("/{camera}/{session}", include_in_schema=False)
    async def may_hang_up() -> Response:
        """Say the same of a session."""
        return Response(status_code=204, headers=_allowed("OPTIONS, DELETE"))

    @router.delete("/{camera}/{session}", status_code=200, responses=UNKNOWN)
    async def hang_up(camera: NamedInPath, session: SessionInPath) -> Response:
        """End a session."""
        if not await signalling.hang_up(camera, session):
            raise HTTPException(404, "there is no such session")
        return Response(status_code=200)

    return router


def whep_routes(signalling: Signalling) -> APIRouter:
    """Return the routes by which people watch a camera's live picture, for the box's token or as long as a session."""
    router = APIRouter(prefix="/whep", tags=["whep"], responses=REFUSED, dependencies=[BOX_TOKEN])

    @router.post("/{camera}", status_code=201, response_class=Response, responses=ANSWERS, openapi_extra=OFFER)
    async def watch(camera: NamedInPath, request: Request) -> Response:
        """Take a viewer's offer and return the answer."""
        answer = await signalling.view(camera, await _offer_in(request))
        session = session_of(request)
        if session is not None and answer.session is not None:
            session.begin(partial(signalling.leave, camera, answer.session))
            if session.is_over:
                raise HTTPException(401, "the session ended meanwhile: log in again")
        return _answered(answer, f"/whep/{camera}")

    @router.delete("/{camera}/{session}", status_code=200, responses=UNKNOWN)
    async def leave(camera: NamedInPath, session: SessionInPath) -> Response:
        """End a session."""
        if not signalling.leave(camera, session):
            raise HTTPException(404, "there is no such session")
        return Response(status_code=200)

    return router


async def _offer_in(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != SDP:
        raise HTTPException(415, f"an offer is {SDP}")
    return await request.body()


def _answered(answer: Signalled, place: str) -> Response:
    if answer.session is None:
        return JSONResponse({"detail": answer.reason}, answer.status)
    return Response(answer.body, answer.status, {"Location": f"{place}/{answer.session}"}, media_type=SDP)
