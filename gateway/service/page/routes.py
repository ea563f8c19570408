"""The routes of the operator's page: the whole of it, the parts that are fetched again, and what an operator says."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

import jinja2
from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from gateway.contract.requests import RequestError, read_model_order
from gateway.contract.topics import MAX_NAME_LENGTH, NAME_PATTERN
from gateway.service.api import choose_bundle
from gateway.service.guard import session_of
from gateway.service.page import words
from gateway.service.page.assets import Asset, load_assets
from gateway.service.page.pictures import Look, PictureStream, Watch
from gateway.service.web import Addition, field_of
from gateway.service.window import CameraView, Window

SHOWN_ALERTS = 50
MOST_JUDGED = 500
MOST_WATCHED = 64
PAPER_TRIGGERS = 6
"""So many of an evaluation's triggers are the paper's; they come first."""

Judgement = Literal["false_positive", "confirmed"]
NamedInPath = Annotated[str, Path(pattern=NAME_PATTERN, max_length=MAX_NAME_LENGTH)]
DigestInPath = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
NamedInQuery = Annotated[list[Annotated[str, Query(max_length=MAX_NAME_LENGTH)]], Query(max_length=MOST_WATCHED)]


def page_addition(window: Window, watch: Watch, look: Look, *, clock: Callable[[], float] = time.time) -> Addition:
    """Return the page over a daemon; `watch` gives a camera's pictures, `look` where faces are in them."""
    page = _Page(window, clock)
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    _add_views(router, page)
    _add_commands(router, page)
    _add_assets(router, page.assets)

    @router.get("/page/pictures")
    async def pictures(request: Request, camera: NamedInQuery) -> Response:
        known = [name for name in dict.fromkeys(camera) if window.camera(name) is not None]
        return PictureStream(known, watch, look, session_of(request))

    return Addition(router, open_prefixes=("/static/",), login=True)


class _Page:
    """Renders the templates over what the daemon shows."""

    def __init__(self, window: Window, clock: Callable[[], float]) -> None:
        self.window = window
        self.assets = load_assets()
        self._clock = clock
        self._judged: OrderedDict[str, Judgement] = OrderedDict()
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("gateway.service.page"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"words": words, "asset": lambda name: self.assets[name].url}

    def render(self, template: str, **values: Any) -> HTMLResponse:
        """Return a template, filled."""
        text = self._templates.get_template(template).render(now_s=self._clock(), judged=self._judged, **values)
        return HTMLResponse(text)

    def whole(self, csrf: str) -> HTMLResponse:
        """Return the page as it is opened."""
        parts = self.health() | self.places() | self.alerts()
        return self.render("page.html", csrf=csrf, **parts)

    def health(self) -> dict[str, Any]:
        """Return what the bar at the top shows."""
        cameras = self.window.cameras()
        return {
            "ready": self.window.readiness(),
            "stats": self.window.stats(),
            "cameras": cameras,
            "alarmed": [each.camera for each in cameras if each.alarm],
        }

    def places(self) -> dict[str, Any]:
        """Return what is shown of environments and their models."""
        models = {each.model.sha256: each for each in self.window.models()}
        cameras = {each.camera: each for each in self.window.cameras()}
        return {
            "environments": self.window.environments(),
            "models": models,
            "by_name": cameras,
            "trainer": self.window.trainer(),
        }

    def scorecard(self, sha256: str) -> dict[str, Any]:
        """Return what a model in use was trained and judged on; the release's figures for one adapted from it.

        Raises:
            HTTPException: No such model is in use.
        """
        card = next((each for each in self.window.models() if each.model.sha256 == sha256), None)
        if card is None:
            raise HTTPException(404, "no such model is in use")
        own = self.window.evaluation(sha256)
        parent = None if card.parent_sha256 is None else self.window.evaluation(card.parent_sha256)
        evaluation = own or parent
        named = [] if evaluation is None else list(evaluation.triggers)
        return {
            "card": card,
            "evaluation": evaluation,
            "is_of_parent": own is None,
            "paper": named[:PAPER_TRIGGERS],
            "others": named[PAPER_TRIGGERS:],
        }

    def alerts(self) -> dict[str, Any]:
        """Return the latest alerts."""
        return {"alerts": self.window.alerts()[:SHOWN_ALERTS]}

    def camera(self, name: str) -> CameraView:
        """Return a camera.

        Raises:
            HTTPException: There is none of this name.
        """
        found = self.window.camera(name)
        if found is None:
            raise HTTPException(404, f"there is no camera {name}")
        return found

    def judge(self, alert_id: str, judgement: Judgement) -> None:
        """Take an operator's word on an alert.

        Raises:
            HTTPException: There is no such alert.
        """
        if not self.window.judge(alert_id, judgement):
            raise HTTPException(404, f"nothing is known of an alert {alert_id}")
        self._judged[alert_id] = judgement
        if len(self._judged) > MOST_JUDGED:
            self._judged.popitem(last=False)


def _add_views(router: APIRouter, page: _Page) -> None:
    @router.get("/login")
    async def login(failed: str = "") -> HTMLResponse:
        return page.render("login.html", failed=bool(failed))

    @router.get("/")
    async def whole(request: Request) -> HTMLResponse:
        session = session_of(request)
        return page.whole("" if session is None else session.csrf)

    @router.get("/page/health")
    async def health() -> HTMLResponse:
        return page.render("health.html", **page.health())

    @router.get("/page/places")
    async def places() -> HTMLResponse:
        return page.render("places.html", **page.places())

    @router.get("/page/models/{sha256}")
    async def model(sha256: DigestInPath) -> HTMLResponse:
        return page.render("scorecard.html", **page.scorecard(sha256))

    @router.get("/page/alerts")
    async def alerts() -> HTMLResponse:
        return page.render("alerts.html", **page.alerts())

    @router.get("/page/alerts/{alert_id}/explanation")
    async def explanation(alert_id: NamedInPath) -> HTMLResponse:
        return page.render("explanation.html", found=page.window.explanation(alert_id), alert_id=alert_id)

    @router.get("/page/cameras/{camera}")
    async def camera(camera: NamedInPath) -> HTMLResponse:
        return page.render("camera.html", camera=page.camera(camera))


def _add_commands(router: APIRouter, page: _Page) -> None:
    @router.post("/page/alerts/{alert_id}/feedback")
    async def judge(alert_id: NamedInPath, request: Request) -> HTMLResponse:
        word = await field_of(request, "judgement")
        if word not in get_args(Judgement):
            raise HTTPException(422, "say false_positive or confirmed")
        page.judge(alert_id, "confirmed" if word == "confirmed" else "false_positive")
        return page.render("alerts.html", **page.alerts())

    @router.post("/page/environments/{environment}/model")
    async def choose(environment: NamedInPath, request: Request) -> HTMLResponse:
        try:
            order = read_model_order((await field_of(request, "order")).encode())
        except RequestError as error:
            raise HTTPException(422, str(error)) from None
        choose_bundle(page.window, environment, order)
        return page.render("places.html", **page.places())

    @router.post("/page/cameras/{camera}/enabled")
    async def switch(camera: NamedInPath, request: Request) -> HTMLResponse:
        word = await field_of(request, "enabled")
        if word not in {"true", "false"}:
            raise HTTPException(422, "say true or false")
        if not page.window.switch(camera, is_on=word == "true"):
            raise HTTPException(404, f"there is no camera {camera}")
        return page.render("camera.html", camera=page.camera(camera))


def _add_assets(router: APIRouter, assets: dict[str, Asset]) -> None:
    for asset in assets.values():
        router.add_api_route(asset.path, _server_of(asset), methods=["GET"])


def _server_of(asset: Asset) -> Callable[[], Any]:
    headers = {"cache-control": "public, max-age=31536000, immutable"}

    async def serve() -> Response:
        return Response(asset.body, media_type=asset.kind, headers=headers)

    return serve
