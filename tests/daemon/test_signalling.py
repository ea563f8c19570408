"""Signalling: offers find their camera, sessions are left by whoever holds their name."""

import asyncio

import pytest

from gateway.cameras import asked, lines, wire
from gateway.cameras.lines import Line, Lines
from gateway.daemon.signalling import Signalling
from gateway.service.window import Signalled


class Answering:
    """A line whose worker answers at once."""

    def __init__(self, status: int | None = None) -> None:
        self.sent: list[asked.Ask] = []
        self._status, self._hearing = status, asked.Hearing()
        self.line = Line(self._send)

    def _send(self, data: bytes) -> None:
        for ask in self._hearing.take(data):
            self.sent.append(ask)
            if isinstance(ask, asked.Offer | asked.View):
                answered = wire.Answered(ask.number, b"answer:" + ask.sdp)
                word = answered if self._status is None else wire.Declined(ask.number, self._status, "not so")
                asyncio.get_running_loop().call_soon(self.line.take, word)


async def test_a_publisher_is_answered_and_may_leave() -> None:
    """Only with the session that it was given, and once."""
    known, worker = Lines(), Answering()
    signalling = Signalling(known, token_of={"gate": "token"}.get)
    with known.connected("gate", worker.line):
        said = await signalling.offer("gate", b"v=0")
        assert (said.status, said.body) == (201, b"answer:v=0")
        assert said.session is not None
        assert not await signalling.hang_up("gate", said.session[:-1])
        assert not await signalling.hang_up("lobby", said.session)
        assert not await signalling.hang_up("gate", "é")
        assert await signalling.hang_up("gate", said.session)
        assert not await signalling.hang_up("gate", said.session)
    assert worker.sent == [asked.Offer(1, b"v=0"), asked.HangUp()]


async def test_a_publisher_is_told_when_the_worker_declines() -> None:
    """With the worker's status and words."""
    known, worker = Lines(), Answering(422)
    with known.connected("gate", worker.line):
        said = await Signalling(known, token_of={"gate": "token"}.get).offer("gate", b"v=0")
    assert said == Signalled(422, b"", None, "not so")


async def test_a_publisher_is_refused_when_no_camera_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown camera at once, a known one without a worker after a moment."""
    monkeypatch.setattr(lines, "WORKER_S", 0.05)
    signalling = Signalling(Lines(), token_of={"gate": "token"}.get)
    assert (await signalling.offer("lobby", b"v=0")).status == 404
    assert (await signalling.offer("gate", b"v=0")).status == 429


async def test_a_viewer_is_answered_and_may_leave() -> None:
    """Only from a camera that is shown, by its session, and once; a worker that has gone is told nothing."""
    known, worker = Lines(), Answering()
    signalling = Signalling(known, token_of=lambda _camera: None, shows=lambda camera: camera == "gate")
    assert (await signalling.view("lobby", b"v=0")).status == 404
    with known.connected("gate", worker.line):
        first, second = [await signalling.view("gate", b"v=0") for _ in range(2)]
        assert (first.status, first.body) == (201, b"answer:v=0")
        assert first.session is not None
        assert second.session not in {None, first.session}
        assert not signalling.leave("lobby", first.session)
        assert not await signalling.hang_up("gate", first.session)
        assert signalling.leave("gate", first.session)
        assert not signalling.leave("gate", first.session)
    assert worker.sent == [asked.View(1, b"v=0"), asked.View(2, b"v=0"), asked.Leave(1)]
    with known.connected("gate", Answering().line):
        assert signalling.leave("gate", second.session or "")
    assert worker.sent[-1] == asked.Leave(1)


async def test_a_viewer_is_told_when_there_is_no_room() -> None:
    """With the worker's status and words."""
    known, worker = Lines(), Answering(429)
    with known.connected("gate", worker.line):
        said = await Signalling(known, token_of=lambda _camera: None, shows=lambda _camera: True).view("gate", b"v=0")
    assert said == Signalled(429, b"", None, "not so")
