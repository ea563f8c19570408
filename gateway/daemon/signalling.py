"""WebRTC's signalling between the HTTP server and the camera workers: an opaque relay, with sessions to leave."""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable

import structlog

from gateway.cameras import wire
from gateway.cameras.lines import LineError, Lines
from gateway.service.window import Signalled

_BUSY, _CREATED = 429, 201
_NOT_FOUND = 404
_MOST_VIEWERS = 1024

_log = structlog.get_logger()


class Signalling:
    """Takes offers to the cameras that wait for publishers; `token_of` tells what those show, None of the others.

    `allows_origin` tells whether pages of another site may publish, `shows` whether a camera may be watched.
    """

    def __init__(
        self,
        lines: Lines,
        *,
        token_of: Callable[[str], str | None],
        allows_origin: Callable[[str], bool] = lambda _origin: False,
        shows: Callable[[str], bool] = lambda _camera: False,
    ) -> None:
        self._lines, self.token_of, self.allows_origin = lines, token_of, allows_origin
        self._shows = shows
        self._sessions: dict[str, str] = {}
        self._viewers: OrderedDict[tuple[str, str], Callable[[], None]] = OrderedDict()

    async def offer(self, camera: str, sdp: bytes) -> Signalled:
        """Take a publisher's offer to a camera and bring the answer back."""
        if self.token_of(camera) is None:
            return _refused(_NOT_FOUND, "no camera of this name waits for a publisher")
        try:
            answer = await self._lines.offer(camera, sdp)
        except LineError as error:
            return _refused(_BUSY, str(error))
        if isinstance(answer, wire.Declined):
            _log.info("publisher_declined", camera=camera, reason=answer.reason)
            return _refused(answer.status, answer.reason)
        session = self._sessions[camera] = secrets.token_urlsafe(16)
        _log.info("publisher_accepted", camera=camera)
        return Signalled(_CREATED, answer.sdp, session, "")

    async def hang_up(self, camera: str, session: str) -> bool:
        """Let a publisher take its leave; return whether the session is the camera's."""
        known = self._sessions.get(camera)
        if known is None or not hmac.compare_digest(known.encode(), session.encode()):
            return False
        del self._sessions[camera]
        self._lines.hang_up(camera)
        return True

    async def view(self, camera: str, sdp: bytes) -> Signalled:
        """Take a viewer's offer to a camera and bring the answer back."""
        if not self._shows(camera):
            return _refused(_NOT_FOUND, "no camera of this name may be watched over WebRTC: see webrtc.viewers")
        try:
            answer, leave = await self._lines.view(camera, sdp)
        except LineError as error:
            return _refused(_BUSY, str(error))
        if isinstance(answer, wire.Declined):
            return _refused(answer.status, answer.reason)
        session = secrets.token_urlsafe(16)
        self._viewers[camera, session] = leave
        if len(self._viewers) > _MOST_VIEWERS:  # whoever is forgotten ends by silence
            self._viewers.popitem(last=False)
        _log.info("viewer_accepted", camera=camera)
        return Signalled(_CREATED, answer.sdp, session, "")

    def leave(self, camera: str, session: str) -> bool:
        """Let a viewer take its leave; return whether the session was known."""
        leave = self._viewers.pop((camera, session), None)
        if leave is not None:
            leave()
        return leave is not None


def _refused(status: int, reason: str) -> Signalled:
    return Signalled(status, b"", None, reason)
