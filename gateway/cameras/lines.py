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
MOST_UNANSWERED = 16

Offering = asked.Offer | asked.View


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
    """The line to one worker; one offer of a publisher and one of a viewer may be under way."""

    send: Callable[[bytes], None]
    _number: int = 0
    _asked: "dict[int, asyncio.Future[wire.Answered | wire.Declined] | None]" = field(default_factory=dict)
    _busy: set[type[Offering]] = field(default_factory=set)

    async def offer(self, sdp: bytes, kind: type[Offering] = asked.Offer) -> wire.Answered | wire.Declined:
        """Return what the worker says to an offer.

        Raises:
            LineError: It says nothing, or another offer is being answered.
        """
        if kind in self._busy:
            raise LineError("another offer is being answered; try again in a moment")
        if len(self._asked) > MOST_UNANSWERED:
            raise LineError("the camera's worker does not answer")
        self._number = number = self._number + 1
        answer: asyncio.Future[wire.Answered | wire.Declined] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._busy.add(kind)
        try:
            self.send(asked.pack(kind(number, sdp)))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise LineError("the camera's worker does not answer; try again in a moment") from None
        finally:
            self._busy.discard(kind)
            if number in self._asked:
                self._asked[number] = None  # it may still come, late

    def take(self, answer: wire.Answered | wire.Declined) -> None:
        """Take an answer; one that nobody waits for any more is passed over.

        Raises:
            WireError: Nobody asked for it, or it was given before.
        """
        if answer.number not in self._asked:
            raise wire.WireError("an answer to nothing")
        waiting = self._asked.pop(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def end(self) -> None:
        """The worker has gone."""
        for waiting in self._asked.values():
            if waiting is not None and not waiting.done():
                waiting.set_exception(LineError("the camera's worker ended while it answered; try again"))


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
        """Take a publisher's offer to a camera's worker, which may just be starting.

        Raises:
            LineError: There is none, or it does not answer.
        """
        return await (await self._line(camera)).offer(sdp)

    async def view(self, camera: str, sdp: bytes) -> tuple[wire.Answered | wire.Declined, Callable[[], None]]:
        """Take a viewer's offer to a camera's worker; return what it says, and how the viewer takes its leave.

        Raises:
            LineError: There is none, or it does not answer.
        """
        line = await self._line(camera)
        answer = await line.offer(sdp, asked.View)

        def leave() -> None:
            if self._lines.get(camera) is line:
                line.send(asked.pack(asked.Leave(answer.number)))

        return answer, leave

    async def _line(self, camera: str) -> Line:
        try:
            async with asyncio.timeout(WORKER_S):
                while (line := self._lines.get(camera)) is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise LineError("the camera is not watched now; try again in a moment") from None
        return line

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
