"""What the page says in words: reason codes, rates and times, for somebody who has never read of p-values."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import JsonValue

from gateway.contract.events import AlertData
from gateway.contract.fields import CalibrationLevel, Promise
from gateway.contract.states import RealisedRate
from gateway.service.window import CameraView, ExplanationView

REASONS = {
    "acl": "the broker lets us log in, but not publish: mend its access list",
    "auth": "user name or password are refused: check them in the configuration",
    "by_command": "switched off by an operator",
    "by_config": "switched off in the configuration",
    "codec": "its video format cannot be decoded: set the camera to H.264",
    "corrupt": "the state on disk is damaged and was set aside",
    "cpu_fallback": "the graphics card fails, the CPU screens instead: fewer frames are looked at",
    "crashed": "its reader crashed and is started again",
    "disk_full": "the disk is full: make room, or alerts may be lost",
    "ended": "the recording is over",
    "folder_missing": "the state folder was removed or is not mounted: bring it back, then restart the gateway",
    "hung": "its reader did not answer and is started again",
    "io_error": "the disk reports errors: replace it",
    "locked": "another process holds the state folder",
    "no_camera_online": "no camera is online",
    "no_cameras": "no camera is configured",
    "no_video": "it sends no video track",
    "not_found": "the camera knows no such stream: check the path of its URL",
    "operating_point": "it raises more alerts than were promised: confirm triggers, or see whether its place changed",
    "overloaded": "the box is overloaded: fewer frames are looked at",
    "quality": "most who pass cannot be judged: faces are too small or blurred; go nearer, or take its larger stream",
    "read_only": "the disk can only be read",
    "refused": "the connection is refused: check address and port",
    "stalled": "no picture arrives any more",
    "starting": "it is starting",
    "taken_over": "another box uses the same client id",
    "timeout": "it does not answer in time",
    "tls": "the encrypted connection fails: check certificate and host name",
    "too_large": "its pictures are larger than may be",
    "transport": "the connection broke",
    "unreachable": "it cannot be reached: check network and power",
    "unreadable": "what it sends cannot be read",
    "waiting": "it waits for somebody to send to it",
}
CALIBRATIONS: dict[CalibrationLevel, str] = {
    "camera": "passages of this very camera",
    "environment": "passages of its environment",
    "factory": "the factory's passages",
}
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


SCALARS = {
    "brightness": "Brightness",
    "blur": "Sharpness",
    "high_band": "Finest detail",
    "score": "The detector's score",
    "spectrum": "The spectrum as a whole",
}
MODEL_STATES = {
    "steady": "in use",
    "staging": "in use; a new one is being fetched and checked",
    "shadow": "in use; a new one is tried on the same faces, unbelieved",
    "activating": "a new one is taking over",
    "probation": "new, and watched: it is undone where it does badly",
    "restoring": "the one before is coming back",
}
DRIFTS = {"learning": "Learning", "steady": "Steady", "drifted": "Drifted"}


def number(value: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,.0f}".replace(",", "\u202f")


def count(value: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 passage", "2 passages"."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Return a share in percent, without a digit that says nothing."""
    return f"{100.0 * share:.3g} %"


def heat(share: float) -> int:
    """Return in which fifth a share lies, 0 to 4: how strongly its cell is tinted."""
    return min(4, int(5.0 * share))


def sentence(text: str) -> str:
    """Return words as a sentence begins; what is written large inside them stays so."""
    return text[:1].upper() + text[1:]


def reason(code: str | None) -> str:
    """Return a reason code as a sentence; one that is not known here as it stands."""
    return "" if code is None else REASONS.get(code, code.replace("_", " "))


def duration(span_s: float) -> str:
    """Return how long something takes or took, in its largest unit."""
    for unit_s, name in _UNITS:
        if span_s >= unit_s:
            return f"{span_s / unit_s:.0f} {name}"
    return f"{max(0.0, span_s):.0f} s"


def clock(time_s: float) -> str:
    """Return a time as RFC 3339, which the browser turns into its own."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def one_in(rate: float) -> str:
    """Return a rate as "1 in N", N to two digits."""
    if rate <= 0.0:
        return "none"
    many = 1.0 / rate
    digits = max(0, len(str(int(many))) - 2)
    return f"1 in {number(round(many, -digits))}"


def p_value(value: float | None) -> str:
    """Return a p-value with two digits that count."""
    return "unknown" if value is None else f"{value:.2g}"


def rarity(data: AlertData) -> str:
    """Return how rare such a score is among clean passages."""
    if data.p_value is None:
        return "too few clean passages are known to say how rare this is"
    return f"{one_in(data.p_value)} clean passages looks as suspicious"


def promise(held: Promise | None) -> str:
    """Return what the calibration can hold."""
    if held is None:
        return "nothing can be promised before its detector runs"
    if held.tracks_missing == 0:
        return f"holds the asked rate: {one_in(held.asked_rate)} clean passages gives a false alert"
    if held.attainable_rate <= held.asked_rate:
        return (
            f"holds {one_in(held.asked_rate)} only as far as other passages than this camera's resemble its own; "
            f"{_needed(held.tracks_missing, 'more clean one', 'more clean ones', ' of its own')}"
        )
    return (
        f"asked for {one_in(held.asked_rate)}, can hold {one_in(held.attainable_rate)} now; "
        f"{_needed(held.tracks_missing, 'more clean passage', 'more clean passages')}"
    )


def realised(found: RealisedRate | None, held: Promise | None = None) -> str:
    """Return what a camera did with its promise so far; nothing before its first judged passage.

    A rate is promised per passage: how many false alerts a day that allows depends on how many pass.
    """
    if found is None:
        return ""
    raised = f"{count(found.alerts, 'alert')} in {count(found.tracks, 'passage')}, {found.promised_alerts:.2g} promised"
    if found.exceeds:
        raised = f"{raised}: more than chance explains"
    if held is None or found.last_day_tracks is None:
        return raised
    allowed = max(held.asked_rate, held.attainable_rate) * found.last_day_tracks
    return (
        f"{raised}; {count(found.last_day_tracks, 'passage')} in the last day, which allow {allowed:.2g} false alerts"
    )


def _needed(missing: int, one: str, many: str, whose: str = "") -> str:
    return f"{count(missing, one, many)}{whose} {'is' if missing == 1 else 'are'} needed"


def learnt(camera: CameraView) -> tuple[int, int]:
    """Return how many passages of its own a camera knows, and how many it needs for the asked rate."""
    missing = 0 if camera.promise is None else camera.promise.tracks_missing
    return camera.tracks_known, camera.tracks_known + missing


def calibration(level: CalibrationLevel | None) -> str:
    """Return what a camera is judged by."""
    return "nothing yet" if level is None else CALIBRATIONS[level]


def largest(places: Sequence[Sequence[float]]) -> float:
    """Return what the most suspicious square counts for, and never nought."""
    return max(1e-9, *(value for row in places for value in row))


def top_bands(found: ExplanationView, most: int = 3) -> list[tuple[str, float]]:
    """Return the bands of detail that speak for a trigger, the loudest first, by their shares of the finest detail."""
    named = [
        (f"{100 * low:.0f} to {100 * high:.0f} %", value)
        for low, high, value in zip(found.edges, found.edges[1:], found.bands, strict=False)
    ]
    return [pair for pair in sorted(named, key=lambda pair: -pair[1])[:most] if pair[1] > 0.0]


def tone(camera: CameraView) -> str:
    """Return how a camera is to look: `alarm`, `good`, `warn`, `bad` or `off`."""
    if camera.alarm:
        return "alarm"
    return {"online": "good", "degraded": "warn", "offline": "bad", "disabled": "off"}[camera.state]


def state(camera: CameraView) -> str:
    """Return a camera's state in two words at most."""
    if camera.alarm:
        return "Trigger in view"
    return {"online": "Watching", "degraded": "Degraded", "offline": "Offline", "disabled": "Off"}[camera.state]


def dropped(camera: CameraView) -> int:
    """Return the frames and faces that were lost, not those that `detect.fps` leaves out."""
    stats = camera.stats
    return stats.frames_replaced + stats.frames_damaged + stats.faces_dropped + stats.faces_shed


def facts(value: JsonValue, *, leave_out: frozenset[str] = frozenset({"type", "environment"})) -> list[tuple[str, str]]:
    """Return what a state says as (name, value), for states whose words may grow; nested ones are counted."""
    if not isinstance(value, dict):
        return []
    return [(name.replace("_", " "), _short(each)) for name, each in value.items() if name not in leave_out]


def _short(value: JsonValue) -> str:
    if isinstance(value, list):
        plain = [str(each) for each in value if not isinstance(each, dict | list)]
        return ", ".join(plain).replace("_", " ") if len(plain) == len(value) and value else str(len(value))
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_short(each)}" for name, each in list(value.items())[:8])
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
