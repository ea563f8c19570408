"""The HTTP side of the trainer's service: clean sets in, jobs and the repository out; a token for everything."""

import asyncio
import hmac
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from pydantic import SecretStr, ValidationError

from gateway.contract.doorway import Doorway
from gateway.contract.exchange import (
    CLEAN_SET_PATH,
    COMPLETE_PATH,
    JOB_PATH,
    MAX_DESCRIPTION_BYTES,
    PART_PATH,
    UNKNOWN_JOB,
    CleanSet,
    ExchangeFormatError,
    JobView,
    Part,
    Problem,
    UploadState,
)
from trainer.intake import Intake
from trainer.jobs import Jobs, job_of
from trainer.service_config import ServiceConfig
from trainer.vault import ServiceKeys, VaultError

BODY_S = 120.0
"""A part of 8 MiB over a slow line takes so long."""

_REPOSITORY_PATH = re.compile(r"(metadata|targets)(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: HTTPStatus, error: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.problem, self.headers = status, Problem(error=error, detail=detail), headers

    @property
    def response(self) -> Response:
        """The answer."""
        body = self.problem.model_dump_json()
        return Response(body, int(self.status), self.headers, media_type="application/json")


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work with; `on_job` hears of every job that came in, `doorway` counts who asks how often."""

    jobs: Jobs
    intake: Intake
    config: ServiceConfig
    repository: Path
    now_s: Callable[[], float]
    on_job: Callable[[], None]
    keys: ServiceKeys
    doorway: Doorway


def service_app(desk: Desk) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Spectragate trainer", openapi_url=None, docs_url=None, redoc_url=None)
    token = desk.config.http.token

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        pause_s = desk.doorway.pause_s(request.client.host if request.client else "")
        if pause_s:
            return _too_often(pause_s).response
        if request.url.path != "/healthz" and not _has_token(request, token):
            return Refusal(HTTPStatus.UNAUTHORIZED, "unauthorized", "send the token of http.token").response
        return await call_next(request)

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        return refusal.response

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    _add_uploads(app, desk)
    _add_answers(app, desk)
    return app


def _add_uploads(app: FastAPI, desk: Desk) -> None:
    @app.put(CLEAN_SET_PATH)
    async def describe(sha256: str, request: Request) -> UploadState:
        clean_set = _described(await _body(request, MAX_DESCRIPTION_BYTES), sha256)
        _check(clean_set, desk.config)
        most_open = desk.config.quota.open_sets
        fresh = desk.keys.new_key(sha256)
        if not await desk.jobs.describe(clean_set, fresh, now_s=desk.now_s(), most_open=most_open):
            detail = f"{most_open} clean sets of this gateway are not done yet; try again later"
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "quota", detail)
        job = await desk.jobs.get(job_of(sha256))
        if job is None:
            await _begin_anew_without_key(desk, sha256)
        missing = () if job is not None else await desk.intake.missing(clean_set)
        return UploadState(missing=missing, job=None if job is None else job.job)

    @app.put(PART_PATH, status_code=204)
    async def put(sha256: str, part: str, request: Request) -> None:
        clean_set = await _known(desk, sha256)
        wanted = next((each for each in clean_set.parts if each.sha256 == part), None)
        if wanted is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown_part", "the description names no such part")
        content = await _body(request, wanted.length_bytes)
        if await desk.jobs.get(job_of(sha256)) is not None:
            return
        await _keep(desk, clean_set, wanted, content)

    @app.post(COMPLETE_PATH, status_code=202)
    async def complete(sha256: str) -> JobView:
        clean_set = await _known(desk, sha256)
        job = await desk.jobs.get(job_of(sha256))
        if job is None:
            missing = await desk.intake.missing(clean_set)
            if missing:
                raise Refusal(HTTPStatus.CONFLICT, "parts_missing", f"{len(missing)} parts are still to be put")
            job = await desk.jobs.enqueue(clean_set, now_s=desk.now_s())
            desk.on_job()
        return job


def _add_answers(app: FastAPI, desk: Desk) -> None:
    @app.get(JOB_PATH)
    async def show(job: str) -> JobView:
        view = await desk.jobs.get(job)
        if view is None:
            raise Refusal(HTTPStatus.NOT_FOUND, UNKNOWN_JOB, "there is no such job")
        return view

    @app.get("/repository/{path:path}")
    def repository(path: str) -> FileResponse:
        file = desk.repository / path
        if _REPOSITORY_PATH.fullmatch(path) is None or not file.is_file():
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "there is no such file")
        return FileResponse(file, media_type="application/octet-stream")


def _too_often(pause_s: float) -> Refusal:
    headers = {"retry-after": str(math.ceil(pause_s)), "connection": "close"}
    detail = "too many requests came from this address: try later"
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_often", detail, headers)


def _has_token(request: Request, token: SecretStr) -> bool:
    sent = request.headers.get("authorization", "").encode()
    return hmac.compare_digest(sent, f"Bearer {token.get_secret_value()}".encode())


async def _body(request: Request, most_bytes: int) -> bytes:
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most_bytes:
                    text = f"at most {most_bytes} bytes are taken"
                    raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", text)
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "timeout", f"the body did not come within {BODY_S:g} s") from None
    return bytes(content)


def _described(content: bytes, sha256: str) -> CleanSet:
    try:
        clean_set = CleanSet.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_description", f"{where}: {first['msg']}") from None
    if clean_set.sha256 != sha256:
        raise Refusal(HTTPStatus.CONFLICT, "wrong_digest", "the path names another digest than the description has")
    return clean_set


def _check(clean_set: CleanSet, config: ServiceConfig) -> None:
    if clean_set.environment not in config.environments:
        detail = f"environment {clean_set.environment!r} is not among `environments:` of the trainer's configuration"
        raise Refusal(HTTPStatus.FORBIDDEN, "unknown_environment", detail)
    size_bytes = sum(part.length_bytes for part in clean_set.parts)
    if size_bytes > config.quota.set_bytes:
        detail = f"{size_bytes} bytes; a clean set may have {config.quota.set_bytes}"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)


async def _keep(desk: Desk, clean_set: CleanSet, part: Part, content: bytes) -> None:
    try:
        key = desk.keys.open(await desk.jobs.sealed_key(clean_set.sha256), clean_set.sha256)
        await desk.intake.put(clean_set, part, content, key)
    except ExchangeFormatError as error:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_part", str(error)) from None
    except VaultError as error:
        raise Refusal(HTTPStatus.CONFLICT, "key_lost", f"{error}; describe it again") from None


async def _begin_anew_without_key(desk: Desk, sha256: str) -> None:
    """Erase the parts of a set whose key is gone: nobody can open them, and its gateway still has the faces."""
    sealed_key = await desk.jobs.sealed_key(sha256)
    try:
        desk.keys.open(sealed_key, sha256)
    except VaultError:
        await desk.intake.drop(sha256)
        await desk.jobs.rekey(sha256, desk.keys.new_key(sha256), instead_of=sealed_key)


async def _known(desk: Desk, sha256: str) -> CleanSet:
    clean_set = await desk.jobs.clean_set(sha256)
    if clean_set is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_clean_set", "describe the clean set first")
    return clean_set
