"""Pictures of several cameras in one answer, so that a page of many cameras needs one connection and not one each.

Every picture is preceded by one line of JSON: its camera, how many bytes follow, and the faces that were judged last.
Those are a moment older than the picture. Nothing of it is kept.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

STREAM_S = 300.0
"""The browser asks again after so long; by then whoever has logged out is not answered."""

MOST_PICTURE_BYTES = 1 << 20

Watch = Callable[[str], AsyncGenerator[bytes, None]]
"""Gives a camera's pictures as JPEGs from now on, the newest only."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A face in a camera's picture: the corners x1, y1, x2, y2 of its box, in px of the full-size frame."""

    corners: tuple[float, float, float, float]
    is_triggered: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """The faces of a camera's newest frame, and the size of that frame."""

    frame_px: tuple[int, int]
    faces: tuple[Mark, ...]


Look = Callable[[str], Marks | None]
"""Tells where the faces of a camera are now; None where that is not known."""


class PictureStream(Response):
    """Sends pictures while somebody takes them; a camera that waits for its turn skips pictures, it queues none."""

    media_type = "application/octet-stream"

    def __init__(self, cameras: Sequence[str], watch: Watch, look: Look) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._cameras = cameras
        self._watch = watch
        self._look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the browser leaves, every camera has ended, or the time is over."""
        del scope  # whoever asks, the answer is the same
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        turn = asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_until_gone(receive), name="pictures:gone")
            showing = [
                group.create_task(self._show(name, send, turn), name=f"pictures:{name}") for name in self._cameras
            ]
            ends = group.create_task(_all(showing), name="pictures:all")
            await asyncio.wait({leaving, ends}, timeout=STREAM_S, return_when=asyncio.FIRST_COMPLETED)
            for task in (leaving, ends, *showing):
                task.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _show(self, camera: str, send: Send, turn: asyncio.Lock) -> None:
        async with aclosing(self._watch(camera)) as pictures:
            async for jpeg in pictures:
                if len(jpeg) > MOST_PICTURE_BYTES:
                    continue
                line = json.dumps({"camera": camera, "bytes": len(jpeg)} | self._marks(camera)).encode() + b"\n"
                async with turn:
                    await send({"type": "http.response.body", "body": line + jpeg, "more_body": True})

    def _marks(self, camera: str) -> dict[str, object]:
        marks = self._look(camera)
        if marks is None:
            return {}
        faces = [[*(round(each, 1) for each in mark.corners), mark.is_triggered] for mark in marks.faces]
        return {"frame": marks.frame_px, "faces": faces}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
