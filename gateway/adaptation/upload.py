"""A clean set on its way to the trainer: every step may be repeated, so an upload that broke off goes on.

What leaves the box are faces at the size they were seen, ordered by digest: no camera's name, of times the day.
"""

import asyncio
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from gateway.adaptation.collect import Choice, CleanFace
from gateway.contract.exchange import (
    CLEAN_SET_PATH,
    COMPLETE_PATH,
    JOB_PATH,
    MAX_PART_BYTES,
    MAX_PART_FACES,
    PART_PATH,
    UNKNOWN_JOB,
    CleanSet,
    JobView,
    Part,
    PartKind,
    Problem,
    UploadState,
    face_name,
)
from gateway.errors import ExchangeError, ExchangeReason

MAX_ANSWER_BYTES = 256 * 1024
MAX_DETAIL = 400
ANSWER_S = 300.0
"""For one request and its whole answer: a part of 8 MiB over a slow line, and no answer that comes byte by byte."""

_Answer = TypeVar("_Answer", UploadState, JobView)


def pack(
    faces: Sequence[CleanFace], choice: Choice, *, gateway: str, environment: str
) -> tuple[CleanSet, Mapping[str, bytes]]:
    """Return the description of a set and the bytes of its parts by their digests; the same for the same faces."""
    contents: dict[str, bytes] = {}
    parts: list[Part] = []
    kinds: tuple[tuple[PartKind, tuple[int, ...]], ...] = (
        ("clean", choice.clean),
        ("operator", choice.operator),
        ("held_back", choice.held_back),
        ("repeated", choice.repeated),
    )
    # Numbered by digest, so that the numbers do not tell who came after whom.
    digests = [hashlib.sha256(face.pixels_YXC.tobytes()).digest() for face in faces]
    number_of = {place: number for number, place in enumerate(sorted(range(len(faces)), key=digests.__getitem__))}
    for kind, places in kinds:
        chosen = [(number_of[place], faces[place].pixels_YXC) for place in sorted(places, key=number_of.__getitem__)]
        for group in _groups(chosen):
            content = _safetensors({face_name(number, 0): pixels_YXC for number, pixels_YXC in group})
            digest = hashlib.sha256(content).hexdigest()
            contents[digest] = content
            parts.append(Part(sha256=digest, length_bytes=len(content), faces=len(group), kind=kind))
    times_s = [face.time_s for face in faces]
    clean_set = CleanSet(
        gateway=gateway,
        environment=environment,
        collected_from=_day(min(times_s)),
        collected_to=_day(max(times_s)),
        parts=tuple(parts),
    )
    return clean_set, contents


async def upload(client: httpx2.AsyncClient, clean_set: CleanSet, contents: Mapping[str, bytes]) -> JobView:
    """Bring a set to the trainer and return its job; what is there already is not sent again.

    Raises:
        ExchangeError: The trainer cannot be reached, or refuses.
    """
    name = clean_set.sha256
    answer = await _ask(client, "PUT", CLEAN_SET_PATH.format(sha256=name), clean_set.to_bytes())
    for part in _read(UploadState, answer).missing:
        if part not in contents:
            raise ExchangeError("the trainer asks for a part that this set does not have", ExchangeReason.INVALID)
        await _ask(client, "PUT", PART_PATH.format(sha256=name, part=part), contents[part])
    return _read(JobView, await _ask(client, "POST", COMPLETE_PATH.format(sha256=name), b""))


async def job(client: httpx2.AsyncClient, name: str) -> JobView | None:
    """Return where a job stands; None where the trainer knows no such job.

    Raises:
        ExchangeError: The trainer cannot be reached, or refuses.
    """
    status, answer = await _exchange(client, "GET", JOB_PATH.format(job=name), b"")
    if status == HTTPStatus.NOT_FOUND and _problem(answer).error == UNKNOWN_JOB:
        return None
    return _read(JobView, _taken(status, answer))


async def _ask(client: httpx2.AsyncClient, method: str, path: str, content: bytes) -> bytes:
    return _taken(*await _exchange(client, method, path, content))


async def _exchange(client: httpx2.AsyncClient, method: str, path: str, content: bytes) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(ANSWER_S), client.stream(method, path, content=content) as response:
            answer = b""
            async for piece in response.aiter_bytes():
                answer += piece
                if len(answer) > MAX_ANSWER_BYTES:
                    raise ExchangeError("the trainer's answer has no end", ExchangeReason.TOO_LARGE)
    except TimeoutError:
        text = f"the trainer did not answer within {ANSWER_S:g} s"
        raise ExchangeError(text, ExchangeReason.UNREACHABLE) from None
    except httpx2.HTTPError as error:
        text = f"the trainer cannot be reached: {type(error).__name__}"
        raise ExchangeError(text, ExchangeReason.UNREACHABLE) from None
    return response.status_code, answer


def _taken(status: int, answer: bytes) -> bytes:
    """Return an answer that is no refusal."""
    if status >= HTTPStatus.BAD_REQUEST:
        raise ExchangeError(f"the trainer refuses: {_why(status, answer)}", ExchangeReason.REFUSED)
    return answer


def _why(status: int, answer: bytes) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "adaptation.token is not its http.token"
    return _problem(answer).detail[:MAX_DETAIL] or f"it answers {status}; see its log"


def _problem(answer: bytes) -> Problem:
    """Return what the trainer says is wrong; nothing where something else than the trainer's service answered."""
    try:
        return Problem.model_validate_json(answer)
    except ValidationError:
        return Problem(error="unknown", detail="")


def _read(model: type[_Answer], answer: bytes) -> _Answer:
    try:
        return model.model_validate_json(answer)
    except ValidationError:
        raise ExchangeError("the trainer's answer is not what was agreed", ExchangeReason.INVALID) from None


def _groups(faces: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[list[tuple[int, NDArray[np.uint8]]]]:
    """Return the faces in parts that are neither too many nor too large."""
    groups: list[list[tuple[int, NDArray[np.uint8]]]] = []
    room_bytes = 0
    for face in faces:
        size_bytes = face[1].nbytes + 256
        if not groups or len(groups[-1]) == MAX_PART_FACES or room_bytes < size_bytes:
            groups.append([])
            room_bytes = MAX_PART_BYTES - 4096
        groups[-1].append(face)
        room_bytes -= size_bytes
    return groups


def _safetensors(tensors: Mapping[str, NDArray[np.uint8]]) -> bytes:
    entries, offset = {}, 0
    for name, values in tensors.items():
        entries[name] = {"dtype": "U8", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + b"".join(each.tobytes() for each in tensors.values())


def _day(time_s: float) -> str:
    """Return the day, not the second: when somebody stood before a camera is nobody's business there."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")
