"""What a parent asks of a camera's worker after the job: to answer a publisher, to hang up, to show its pictures.

The parent is trusted; the bytes of an offer inside are not, and only the worker reads them.
"""

import contextlib
import os
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.cameras.offers import MAX_SDP_BYTES

_HEAD = struct.Struct("!BII")  # kind, number, bytes that follow
_OFFER, _HANG_UP, _WATCH, _ANSWER, _VIEW, _LEAVE = range(6)


@dataclass(frozen=True, slots=True)
class Offer:
    """A publisher's offer; its answer carries the same number."""

    number: int
    sdp: bytes


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """What the server said to the worker's own offer."""

    sdp: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """The publisher takes its leave."""


@dataclass(frozen=True, slots=True)
class Show:
    """Send pictures to look at, or stop it."""

    is_on: bool


@dataclass(frozen=True, slots=True)
class View:
    """A viewer's offer; its answer carries the same number."""

    number: int
    sdp: bytes


@dataclass(frozen=True, slots=True)
class Leave:
    """The viewer of this number takes its leave."""

    number: int


Ask = Offer | RemoteAnswer | HangUp | Show | View | Leave


def pack(ask: Ask) -> bytes:
    """Return what is asked as bytes."""
    match ask:
        case Offer(number, sdp):
            return _HEAD.pack(_OFFER, number, len(sdp)) + sdp
        case RemoteAnswer(sdp):
            return _HEAD.pack(_ANSWER, 0, len(sdp)) + sdp
        case HangUp():
            return _HEAD.pack(_HANG_UP, 0, 0)
        case Show(is_on):
            return _HEAD.pack(_WATCH, int(is_on), 0)
        case View(number, sdp):
            return _HEAD.pack(_VIEW, number, len(sdp)) + sdp
        case Leave(number):
            return _HEAD.pack(_LEAVE, number, 0)


class Hearing:
    """Puts what is asked together from the parts in which it comes."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def take(self, data: bytes) -> Iterator[Ask]:
        """Yield whatever is complete.

        Raises:
            ValueError: The parent says what it never would.
        """
        self._waiting += data
        while len(self._waiting) >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._waiting)
            if length > MAX_SDP_BYTES:
                raise ValueError(f"the parent asks with {length} bytes")
            if len(self._waiting) < _HEAD.size + length:
                return
            body = bytes(self._waiting[_HEAD.size : _HEAD.size + length])
            del self._waiting[: _HEAD.size + length]
            yield _ask(kind, number, body)


def _ask(kind: int, number: int, body: bytes) -> Ask:
    match kind:
        case 0:
            return Offer(number, body)
        case 1:
            return HangUp()
        case 2:
            return Show(bool(number))
        case 3:
            return RemoteAnswer(body)
        case 4:
            return View(number, body)
        case 5:
            return Leave(number)
    raise ValueError(f"the parent asks for {kind}")


class Inbox:
    """From the thread that hears the parent to the one that reads the camera; `fileno` wakes the latter."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._asks: deque[Offer | RemoteAnswer] = deque(maxlen=4)  # the parent asks one thing at a time
        self.is_closed = False

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._wake

    def put(self, ask: Offer | RemoteAnswer) -> None:
        """Hand on what is asked."""
        self._asks.append(ask)
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Say that nothing is wanted any more."""
        self.is_closed = True
        os.eventfd_write(self._wake, 1)

    def collect(self) -> Iterator[Offer | RemoteAnswer]:
        """Yield what was asked since the last time."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._asks:
            yield self._asks.popleft()
