"""The HTTP side of the trainer: idempotent uploads, and every refusal in words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from fakes.clean_sets import TOKEN, drawn_set, faces_keys, service_config

from gateway.contract.doorway import Doorway, Limits
from gateway.contract.exchange import CLEAN_SET_PATH, COMPLETE_PATH, JOB_PATH, PART_PATH, JobView, Problem, UploadState
from trainer.intake import Intake
from trainer.jobs import Jobs
from trainer.server import Desk, service_app
from trainer.serving import LIMITS

SET, CONTENTS = drawn_set(count=4)
PATH = CLEAN_SET_PATH.format(sha256=SET.sha256)
COMPLETE = COMPLETE_PATH.format(sha256=SET.sha256)


@asynccontextmanager
async def client(
    folder: Path, noted: list[str], *, doorway: Doorway | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client of an application over an empty folder; `noted` hears of jobs."""
    jobs = await Jobs.open(f"sqlite+aiosqlite:///{folder}/jobs.sqlite")
    config = service_config(folder)
    config = config.model_copy(update={"quota": config.quota.model_copy(update={"open_sets": 1})})
    repository = folder / "repository"
    (repository / "metadata").mkdir(parents=True)
    (repository / "metadata/1.root.json").write_text("{}", "utf-8")
    keys, intake = faces_keys(config), Intake(folder / "store")
    desk = Desk(
        jobs, intake, config, repository, lambda: 5.0, lambda: noted.append("job"), keys, doorway or Doorway(LIMITS)
    )
    transport = httpx2.ASGITransport(app=service_app(desk), client=("192.0.2.1", 4711))
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://trainer", headers=headers) as made:
        yield made
    await jobs.close()


def part_path(sha256: str) -> str:
    """Return where a part is put."""
    return PART_PATH.format(sha256=SET.sha256, part=sha256)


async def test_an_upload_goes_on_where_it_was_and_makes_one_job(tmp_path: Path) -> None:
    """Each step twice; what is missing is told, and the job is the same."""
    noted: list[str] = []
    async with client(tmp_path, noted) as trainer:
        first, second = CONTENTS
        await trainer.put(PATH, content=SET.to_bytes())
        assert (await trainer.put(part_path(first), content=CONTENTS[first])).status_code == 204
        state = UploadState.model_validate_json((await trainer.put(PATH, content=SET.to_bytes())).content)
        assert state == UploadState(missing=(second,))
        assert (await trainer.post(COMPLETE)).status_code == 409
        await trainer.put(part_path(second), content=CONTENTS[second])
        views = [JobView.model_validate_json((await trainer.post(COMPLETE)).content) for _ in range(2)]
        assert views[0] == views[1]
        shown = await trainer.get(JOB_PATH.format(job=views[0].job))
        assert JobView.model_validate_json(shown.content) == views[0]
        state = UploadState.model_validate_json((await trainer.put(PATH, content=SET.to_bytes())).content)
        assert state == UploadState(missing=(), job=views[0].job)
    assert noted == ["job"]


async def test_an_upload_begins_anew_when_the_key_of_its_faces_is_lost(tmp_path: Path) -> None:
    """What was put cannot be opened any more: it is asked for again, and nothing has to be mended by hand."""
    async with client(tmp_path, []) as trainer:
        first, second = CONTENTS
        await trainer.put(PATH, content=SET.to_bytes())
        await trainer.put(part_path(first), content=CONTENTS[first])
    (tmp_path / "keys/faces.key").unlink()
    (tmp_path / "repository/metadata/1.root.json").unlink()
    (tmp_path / "repository/metadata").rmdir()
    async with client(tmp_path, []) as trainer:
        refused = await trainer.put(part_path(second), content=CONTENTS[second])
        assert (refused.status_code, Problem.model_validate_json(refused.content).error) == (409, "key_lost")
        state = UploadState.model_validate_json((await trainer.put(PATH, content=SET.to_bytes())).content)
        assert set(state.missing) == set(CONTENTS)
        for part, content in CONTENTS.items():
            assert (await trainer.put(part_path(part), content=content)).status_code == 204
        assert (await trainer.post(COMPLETE)).status_code == 202


OTHER = drawn_set(count=4, seed=8)[0]
ABROAD = SET.model_copy(update={"environment": "yard"})


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error"),
    [
        ("PUT", PATH, b"{}", 422, "bad_description"),
        ("PUT", PATH, b" " * 70_000, 413, "too_large"),
        ("PUT", PATH, OTHER.to_bytes(), 409, "wrong_digest"),
        ("PUT", CLEAN_SET_PATH.format(sha256=ABROAD.sha256), ABROAD.to_bytes(), 403, "unknown_environment"),
        ("PUT", CLEAN_SET_PATH.format(sha256=OTHER.sha256), OTHER.to_bytes(), 429, "quota"),
        ("PUT", part_path("0" * 64), b"", 404, "unknown_part"),
        ("PUT", part_path(next(iter(CONTENTS))), b"short", 422, "bad_part"),
        ("PUT", part_path(next(iter(CONTENTS))), b"0" * (1 << 20), 413, "too_large"),
        ("POST", COMPLETE, b"", 409, "parts_missing"),
        ("POST", COMPLETE_PATH.format(sha256="1" * 64), b"", 404, "unknown_clean_set"),
        ("GET", JOB_PATH.format(job="x"), b"", 404, "unknown_job"),
        ("GET", "/repository/metadata/none.json", b"", 404, "not_found"),
        ("GET", "/repository/metadata/..%2f..%2ftrainer.yaml", b"", 404, "not_found"),
        ("GET", "/repository/trainer.yaml", b"", 404, "not_found"),
    ],
)
async def test_a_request_is_refused_in_words(
    tmp_path: Path, method: str, path: str, content: bytes, status: int, error: str
) -> None:
    """Status, constant word and a sentence."""
    async with client(tmp_path, []) as trainer:
        await trainer.put(PATH, content=SET.to_bytes())
        answer = await trainer.request(method, path, content=content)
    problem = Problem.model_validate_json(answer.content)
    assert (answer.status_code, problem.error) == (status, error)
    assert problem.detail


async def test_nothing_but_health_is_answered_without_the_token(tmp_path: Path) -> None:
    """The repository is no exception."""
    async with client(tmp_path, []) as trainer:
        trainer.headers["authorization"] = "Bearer wrong"
        for path in (PATH, "/repository/metadata/1.root.json", "/nothing", JOB_PATH.format(job="x")):
            assert (await trainer.get(path)).status_code == 401
        assert (await trainer.get("/healthz")).status_code == 200
        trainer.headers["authorization"] = f"Bearer {TOKEN}"
        assert (await trainer.get("/repository/metadata/1.root.json")).content == b"{}"


async def test_an_address_that_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    """With or without a token, and the connection ends: it is told so no faster than it may connect."""
    doorway = Doorway(Limits(connections=9, of_address=9, requests_at_once=3, requests_per_s=0.1), clock=lambda: 0.0)
    async with client(tmp_path, [], doorway=doorway) as trainer:
        answers = [await trainer.get("/healthz") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert Problem.model_validate_json(answers[-1].content).error == "too_often"
        assert (answers[-1].headers["retry-after"], answers[-1].headers["connection"]) == ("10", "close")
        assert (await trainer.put(PATH, content=SET.to_bytes())).status_code == 429
