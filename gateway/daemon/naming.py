"""How a box in service names its messages."""

from gateway.contract import messages
from gateway.daemon.obligations import Alerts
from gateway.screening import decide


class LiveNaming:
    """Names by the box and its numbers; a verdict, which has no number, is named by its track."""

    replay = False

    def __init__(self, client_id: str, alerts: Alerts) -> None:
        self.source = f"spectragate/{client_id}"
        self.next_seq = alerts.next_seq
        self._client_id = client_id

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        """Return the name of a track's alert; a camera's track ids begin anew with the daemon, its times do not."""
        return messages.alert_id(self._client_id, camera=camera, track_id=track_id, start_time=start_time_s)

    def alert_event_id(self, said: decide.Announcement, *, number: int, seq: int) -> str:  # noqa: ARG002
        """Return `<client_id>-<seq>`."""
        return messages.live_event_id(self._client_id, seq)

    def verdict_event_id(self, verdict: decide.Verdict) -> str:
        """Return a name that no other verdict of this box has."""
        track = self.alert_id(verdict.camera, verdict.track_id, verdict.start_time_s)
        return messages.live_verdict_id(self._client_id, track)
