"""Pictures of several cameras in one answer, so that a page of many cameras needs one connection and not one each.

Every picture is preceded by one line of JSON: its camera, how many bytes follow, and the faces that were found in this
very frame, each with how its passage stands. Nothing of it is kept.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Literal, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.service.doors import Session

STREAM_S = 300.0
"""The browser asks again after so long."""

MOST_PICTURE_BYTES = 1 << 20


class Picture(Protocol):
    """A frame as it is shown: its number, and a JPEG."""

    @property
    def seq(self) -> int:
        """The number of the frame."""

    @property
    def jpeg(self) -> bytes:
        """The picture."""


Watch = Callable[[str], AsyncGenerator[Picture, None]]
"""Gives a camera's pictures from now on, the newest only."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A face in a picture: corners x1, y1, x2, y2 in px of the full-size frame, and how its passage stands."""

    corners: tuple[float, float, float, float]
    standing: Literal["judging", "clean", "triggered", "unsure"]


@dataclass(frozen=True, slots=True)
class Marks:
    """The faces of one frame, and its size."""

    frame_px: tuple[int, int]
    faces: tuple[Mark, ...]


Look = Callable[[str, int], Marks | None]
"""Tells where the faces of a camera's frame are; None where that is not known."""


class PictureStream(Response):
    """Sends pictures while somebody takes them; a camera that waits for its turn skips pictures, it queues none."""

    media_type = "application/octet-stream"

    def __init__(self, cameras: Sequence[str], watch: Watch, look: Look, session: Session | None = None) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._cameras = cameras
        self._watch = watch
        self._look = look
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the browser leaves or logs out, every camera has ended, or the time is over."""
        del scope  # whoever asks, the answer is the same
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        is_over = asyncio.Event()
        with ExitStack() as ending:
            if self._session is not None:
                ending.callback(self._session.begin(is_over.set))
            await self._show_all(receive, send, is_over)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _show_all(self, receive: Receive, send: Send, is_over: asyncio.Event) -> None:
        turn = asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_until_gone(receive), name="pictures:gone")
            over = group.create_task(is_over.wait(), name="pictures:over")
            showing = [
                group.create_task(self._show(name, send, turn), name=f"pictures:{name}") for name in self._cameras
            ]
            ends = group.create_task(_all(showing), name="pictures:all")
            await asyncio.wait({leaving, ends, over}, timeout=STREAM_S, return_when=asyncio.FIRST_COMPLETED)
            for task in (leaving, ends, over, *showing):
                task.cancel()

    async def _show(self, camera: str, send: Send, turn: asyncio.Lock) -> None:
        async with aclosing(self._watch(camera)) as pictures:
            async for picture in pictures:
                if len(picture.jpeg) > MOST_PICTURE_BYTES:
                    continue
                async with turn:
                    head = {"camera": camera, "bytes": len(picture.jpeg)} | self._marks(camera, picture.seq)
                    line = json.dumps(head).encode() + b"\n"
                    await send({"type": "http.response.body", "body": line + picture.jpeg, "more_body": True})

    def _marks(self, camera: str, seq: int) -> dict[str, object]:
        marks = self._look(camera, seq)
        if marks is None:
            return {}
        faces = [[*(round(each, 1) for each in mark.corners), mark.standing] for mark in marks.faces]
        return {"frame": marks.frame_px, "faces": faces}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
