"""The parent's lines to the workers of live cameras: take an offer to one, bring its answer back, watch its pictures.

What goes through is opaque here: the worker alone reads an offer, and a picture is never looked at, kept or logged.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from gateway.cameras import asked, wire
from gateway.cameras.jobs import PeerSource

WORKER_S = 3.0
"""How long an offer waits for a worker that is being started again."""

ANSWER_S = 8.0


@dataclass(frozen=True, slots=True)
class Called:
    """What a server said to the worker's own offer, and how to take leave of it."""

    sdp: bytes
    leave: Callable[[], Awaitable[None]]


Call = Callable[[PeerSource, bytes], Awaitable[Called]]


class LineError(Exception):
    """An offer could not be taken to a worker; the text says why."""


@dataclass(slots=True, eq=False)
class Line:
    """The line to one worker."""

    send: Callable[[bytes], None]
    _number: int = 0
    _answered: int = 0
    _asked: "asyncio.Future[wire.Answered | wire.Declined] | None" = None

    async def offer(self, sdp: bytes) -> wire.Answered | wire.Declined:
        """Return what the worker says to an offer.

        Raises:
            LineError: It says nothing, or another offer is being answered.
        """
        if self._asked is not None:
            raise LineError("another offer is being answered; try again in a moment")
        self._number += 1
        self._asked = asyncio.get_running_loop().create_future()
        try:
            self.send(asked.pack(asked.Offer(self._number, sdp)))
            async with asyncio.timeout(ANSWER_S):
                return await self._asked
        except TimeoutError:
            raise LineError("the camera's worker does not answer; try again in a moment") from None
        finally:
            self._asked = None

    def take(self, answer: wire.Answered | wire.Declined) -> None:
        """Take an answer; one that nobody waits for any more is passed over.

        Raises:
            WireError: Nobody asked for it, or it was given before.
        """
        if not self._answered < answer.number <= self._number:
            raise wire.WireError("an answer to nothing")
        self._answered = answer.number
        if answer.number == self._number and self._asked is not None and not self._asked.done():
            self._asked.set_result(answer)

    def end(self) -> None:
        """The worker has gone."""
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(LineError("the camera's worker ended while it answered; try again"))


@dataclass(slots=True, eq=False)
class _Seat:
    """Where the newest picture waits for one who watches."""

    preview: wire.Preview | None = None
    fresh: asyncio.Event = field(default_factory=asyncio.Event)


class Lines:
    """The lines that stand now, by camera; `call` takes a worker's own offer to the server that it names."""

    def __init__(self, call: Call | None = None) -> None:
        self.call = call
        self._lines: dict[str, Line] = {}
        self._seats: dict[str, set[_Seat]] = {}
        self._changed = asyncio.Event()

    @contextlib.contextmanager
    def connected(self, camera: str, line: Line) -> Iterator[Line]:
        """Keep a line for as long as its worker lives."""
        self._lines[camera] = line
        self._changed.set()
        if self._seats.get(camera):
            line.send(asked.pack(asked.Show(is_on=True)))
        try:
            yield line
        finally:
            line.end()
            if self._lines.get(camera) is line:
                del self._lines[camera]

    async def offer(self, camera: str, sdp: bytes) -> wire.Answered | wire.Declined:
        """Take an offer to a camera's worker, which may just be starting.

        Raises:
            LineError: There is none, or it does not answer.
        """
        try:
            async with asyncio.timeout(WORKER_S):
                while (line := self._lines.get(camera)) is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise LineError("the camera is not watched now; try again in a moment") from None
        return await line.offer(sdp)

    def hang_up(self, camera: str) -> None:
        """Tell a camera's worker that its publisher takes its leave."""
        line = self._lines.get(camera)
        if line is not None:
            line.send(asked.pack(asked.HangUp()))

    def show(self, camera: str, preview: wire.Preview) -> None:
        """Give a picture to everyone who watches."""
        for seat in self._seats.get(camera, ()):
            seat.preview = preview
            seat.fresh.set()

    async def watch(self, camera: str) -> AsyncGenerator[wire.Preview, None]:
        """Yield a camera's pictures, the newest only; the worker makes them while somebody watches.

        Close the iterator (`contextlib.aclosing`) to leave.
        """
        seat = _Seat()
        seats = self._seats.setdefault(camera, set())
        if not seats:
            self._ask_to_show(camera, is_on=True)
        seats.add(seat)
        try:
            while True:
                await seat.fresh.wait()
                seat.fresh.clear()
                if seat.preview is not None:
                    yield seat.preview
        finally:
            seats.discard(seat)
            if not seats:
                self._seats.pop(camera, None)
                self._ask_to_show(camera, is_on=False)

    def _ask_to_show(self, camera: str, *, is_on: bool) -> None:
        line = self._lines.get(camera)
        if line is not None:
            line.send(asked.pack(asked.Show(is_on)))
