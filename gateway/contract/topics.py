"""The MQTT topics, built and read in one place; and which camera names they leave free."""

import re
from dataclasses import dataclass
from typing import Literal

MAX_NAME_LENGTH = 64
MAX_PREFIX_LENGTH = 200
NAME_PATTERN = r"^[a-z0-9_-]+$"

# Below the prefix, as operators read them in the documentation; <angle brackets> stand for a name.
TEMPLATES = (
    "available",
    "alerts",
    "verdicts",
    "stats",
    "<camera>/status",
    "<camera>/alert",
    "<camera>/enabled/set",
    "<camera>/enabled/state",
    "environments/<environment>/drift/state",
    "environments/<environment>/model/state",
    "environments/<environment>/model/set",
    "trainer/state",
    "alerts/replay",
    "alerts/replayed",
    "alerts/<alert_id>/feedback",
)
RESERVED_WORDS = frozenset(
    segment for template in TEMPLATES for segment in template.split("/") if not segment.startswith("<")
)

# What `available` and `<camera>/alert` say; plain text, so that a rule in an automation compares it without parsing.
ONLINE, STOPPED, OFFLINE = "online", "stopped", "offline"
ON, OFF = "ON", "OFF"

MODEL_ORDER = r"^(rollback|pin none|pin [1-9][0-9]{0,9})$"
"""What `model/set` takes."""


def check_name(name: str) -> str:
    """Return `name` when it can be one segment of a topic: 1 to 64 of a-z, 0-9, `_` and `-`.

    Raises:
        ValueError: It cannot.
    """
    if not re.fullmatch(NAME_PATTERN[1:-1], name) or len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"{name[:80]!r} is no name: use 1 to {MAX_NAME_LENGTH} of the characters a-z, 0-9, _ and -")
    return name


def check_camera_name(name: str) -> str:
    """Return `name` when a camera may have it.

    Raises:
        ValueError: It is no name, or one of the fixed words of the topics.
    """
    if check_name(name) in RESERVED_WORDS:
        raise ValueError(f"{name!r} is a fixed word of the MQTT topics: give the camera another name")
    return name


def check_prefix(prefix: str) -> str:
    """Return `prefix` when topics can start with it; several segments are fine (`plant/hall-3`).

    Raises:
        ValueError: It is empty or too long, has an empty segment, a wildcard, white space or a leading `$`.
    """
    if len(prefix) > MAX_PREFIX_LENGTH:
        raise ValueError(f"the topic prefix has {len(prefix)} characters: at most {MAX_PREFIX_LENGTH} are possible")
    if prefix.startswith("$") or not all(_is_segment(segment) for segment in prefix.split("/")):
        raise ValueError(f"the topic prefix {prefix!r} is not usable: no empty segment, leading $, +, # or white space")
    return prefix


def _is_segment(segment: str) -> bool:
    return bool(segment) and segment.isprintable() and not re.search(r"[\s+#]", segment)


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of this box. Raises ValueError for a prefix or a name that cannot be used."""

    prefix: str

    def __post_init__(self) -> None:
        """Check the prefix."""
        check_prefix(self.prefix)

    @property
    def available(self) -> str:
        """`online`, `stopped` or the last will `offline`; retained."""
        return f"{self.prefix}/available"

    @property
    def alerts(self) -> str:
        """One `messages.Alert` per change of a triggered track, and `messages.Notice` in the same line of numbers."""
        return f"{self.prefix}/alerts"

    @property
    def verdicts(self) -> str:
        """One `messages.Verdict` per finished track."""
        return f"{self.prefix}/verdicts"

    @property
    def stats(self) -> str:
        """`messages.Stats`, regularly."""
        return f"{self.prefix}/stats"

    def status(self, camera: str) -> str:
        """Return where the camera's `messages.CameraStatus` goes; retained."""
        return f"{self.prefix}/{check_camera_name(camera)}/status"

    def alert(self, camera: str) -> str:
        """Return where `ON` and `OFF` go: whether a triggered face is in front of the camera; retained."""
        return f"{self.prefix}/{check_camera_name(camera)}/alert"

    def enabled_set(self, camera: str) -> str:
        """Return where `ON` and `OFF` switch a camera, where commands are obeyed."""
        return f"{self.prefix}/{check_camera_name(camera)}/enabled/set"

    def enabled_state(self, camera: str) -> str:
        """Return where the box says whether a camera is switched on; retained."""
        return f"{self.prefix}/{check_camera_name(camera)}/enabled/state"

    def drift_state(self, environment: str) -> str:
        """Return where the environment's `messages.DriftState` goes; retained."""
        return f"{self.prefix}/environments/{check_name(environment)}/drift/state"

    def model_state(self, environment: str) -> str:
        """Return where the environment's `messages.ModelState` goes; retained."""
        return f"{self.prefix}/environments/{check_name(environment)}/model/state"

    @property
    def trainer_state(self) -> str:
        """Where the box says how things stand with the trainer; retained."""
        return f"{self.prefix}/trainer/state"

    def model_set(self, environment: str) -> str:
        """Return where a `requests.ModelOrder` is given, where commands are obeyed."""
        return f"{self.prefix}/environments/{check_name(environment)}/model/set"

    @property
    def replay(self) -> str:
        """Where a `requests.ReplayRequest` asks for alerts again."""
        return f"{self.alerts}/replay"

    @property
    def replayed(self) -> str:
        """Where they come: the bytes first published, then a `messages.ReplayEnd`."""
        return f"{self.alerts}/replayed"

    def feedback(self, alert_id: str) -> str:
        """Return where an alert is judged by people, with a `requests.Feedback`."""
        return f"{self.alerts}/{check_name(alert_id)}/feedback"

    @property
    def requests(self) -> tuple[str, ...]:
        """What the box subscribes to."""
        return (
            self.replay,
            f"{self.prefix}/+/enabled/set",
            f"{self.alerts}/+/feedback",
            f"{self.prefix}/environments/+/model/set",
        )

    def asked(self, topic: str) -> "Asked | None":
        """Return what a message on a topic asks for, or None where it is none of `requests`."""
        if not topic.startswith(f"{self.prefix}/"):
            return None
        try:
            match topic.removeprefix(f"{self.prefix}/").split("/"):
                case ["alerts", "replay"]:
                    return Asked("replay")
                case [camera, "enabled", "set"]:
                    return Asked("enabled", check_camera_name(camera))
                case ["alerts", alert_id, "feedback"]:
                    return Asked("feedback", check_name(alert_id))
                case ["environments", environment, "model", "set"]:
                    return Asked("model", check_name(environment))
        except ValueError:
            return None
        return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a topic asks for; `name` is the camera to switch, the alert that is judged or the environment."""

    what: Literal["replay", "enabled", "feedback", "model"]
    name: str = ""
