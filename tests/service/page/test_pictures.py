"""Pictures of several cameras in one answer."""

import asyncio
import json
from collections.abc import AsyncGenerator

from fakes.pages import Shot, four_faces
from starlette.types import Message

from gateway.service.doors import Session
from gateway.service.page.pictures import MOST_PICTURE_BYTES, PictureStream


class Cameras:
    """Gives three pictures of each camera, then ends, or waits for ever."""

    def __init__(self, *, pictures: tuple[bytes, ...] = (b"\xff1", b"\xff2"), ends: bool = True) -> None:
        self.watched: list[str] = []
        self.left: list[str] = []
        self._pictures = pictures
        self._ends = ends

    async def watch(self, camera: str) -> AsyncGenerator[Shot, None]:
        """Yield the pictures."""
        self.watched.append(camera)
        try:
            for seq, picture in enumerate(self._pictures):
                yield Shot(seq, picture)
            if not self._ends:
                await asyncio.Event().wait()
        finally:
            self.left.append(camera)


class Browser:
    """Takes what is sent; leaves when told to."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.has_four = asyncio.Event()
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """Wait until the browser leaves."""
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        self.sent.append(message)
        if len(self.pictures()) == 4:
            self.has_four.set()

    def pictures(self) -> list[tuple[str, bytes]]:
        """Return what was shown."""
        body = b"".join(each.get("body", b"") for each in self.sent)
        found = []
        while body:
            line, _, body = body.partition(b"\n")
            head = json.loads(line)
            found.append((head["camera"], body[: head["bytes"]]))
            body = body[head["bytes"] :]
        return found


async def test_pictures_of_all_cameras_come_through_one_answer() -> None:
    """Each with its camera's name and its length; the answer ends when every camera has."""
    cameras, browser = Cameras(), Browser()
    await PictureStream(["gate", "yard"], cameras.watch, four_faces)({}, browser.receive, browser.send)
    assert sorted(browser.pictures()) == [
        ("gate", b"\xff1"), ("gate", b"\xff2"), ("yard", b"\xff1"), ("yard", b"\xff2"),
    ]  # fmt: skip
    assert browser.sent[-1]["more_body"] is False


async def test_cameras_are_left_when_the_browser_leaves() -> None:
    """Workers make pictures only while somebody watches."""
    cameras, browser = Cameras(ends=False), Browser()
    async with asyncio.TaskGroup() as group:
        stream = PictureStream(["gate", "yard"], cameras.watch, four_faces)
        group.create_task(stream({}, browser.receive, browser.send), name="stream")
        async with asyncio.timeout(10):
            await browser.has_four.wait()
        browser.leaves.set()
    assert sorted(cameras.left) == ["gate", "yard"]


async def test_pictures_end_with_the_session() -> None:
    """Whoever logs out sees nothing more, and the session remembers no stream that has ended by itself."""
    cameras, browser = Cameras(ends=False), Browser()
    session = Session("name", "csrf", 1e9)
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        stream = PictureStream(["gate", "yard"], cameras.watch, four_faces, session)
        group.create_task(stream({}, browser.receive, browser.send), name="stream")
        await browser.has_four.wait()
        session.close()
    assert sorted(cameras.left) == ["gate", "yard"]
    assert browser.sent[-1]["more_body"] is False
    other = Session("other", "csrf", 1e9)
    await PictureStream(["gate"], Cameras().watch, four_faces, other)({}, browser.receive, browser.send)
    assert not other._begun


async def test_picture_beyond_any_bound_is_left_out() -> None:
    """A worker that was broken into cannot fill the browser."""
    cameras, browser = Cameras(pictures=(b"x" * (MOST_PICTURE_BYTES + 1), b"ok")), Browser()
    await PictureStream(["gate"], cameras.watch, four_faces)({}, browser.receive, browser.send)
    assert browser.pictures() == [("gate", b"ok")]


async def test_stream_of_no_camera_ends_at_once() -> None:
    """Nobody waits for nothing."""
    browser = Browser()
    async with asyncio.timeout(10):
        await PictureStream([], Cameras().watch, four_faces)({}, browser.receive, browser.send)
    assert browser.pictures() == []


async def test_faces_travel_before_their_picture() -> None:
    """Those of that very frame, in px of it, so that they fit over any size; none where nothing is known."""
    browser = Browser()
    await PictureStream(["gate"], Cameras().watch, four_faces)({}, browser.receive, browser.send)
    heads = [json.loads(each["body"].split(b"\n")[0]) for each in browser.sent[1:3]]
    assert [head["frame"] for head in heads] == [[640, 360]] * 2
    assert [head["faces"][0] for head in heads] == [
        [40.0, 60.0, 140.0, 180.0, "clean"],
        [50.0, 60.0, 150.0, 180.0, "clean"],
    ]
    assert [face[4] for face in heads[0]["faces"]] == ["clean", "triggered", "unsure", "judging"]
    await PictureStream(["gate"], Cameras().watch, lambda *_: None)({}, browser.receive, browser.send)
    assert b"faces" not in browser.sent[-2]["body"]
