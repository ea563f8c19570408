"""What a configuration asks the daemon to run, as frozen values: a reload touches what differs and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.cameras.jobs import CameraJob, FileSource
from gateway.choice import camera_jobs, camera_rates
from gateway.config import Config
from gateway.settings import BrokerSettings

BROKER_NAMES = ("client_id", "topic_prefix")
"""Keys of `mqtt` that stored messages, their numbers and every retained word carry."""


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """One camera: what its worker does, whose detector judges it, and how often it may be wrong."""

    job: CameraJob
    environment: str
    enabled: bool
    asked_rate: float

    @property
    def teaches(self) -> bool:
        """Whether what it shows is new each time: a recording that begins again at its end teaches nothing."""
        return not (isinstance(self.job.source, FileSource) and self.job.source.loop)


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """One environment: its bundle and how its cameras' faces are gathered."""

    bundle: str
    batch_size: int
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that runs; `fixed` is what only a restart can change, by its key.

    `origins` are other sites whose pages may publish.
    """

    cameras: Mapping[str, CameraPlan]
    environments: Mapping[str, EnvironmentPlan]
    mqtt: BrokerSettings | None
    fixed: Mapping[str, object]
    origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Changes:
    """From one plan to the next: what ends and what begins; a thing that differs does both."""

    cameras_ended: tuple[str, ...]
    cameras_begun: tuple[str, ...]
    cameras_gone: tuple[str, ...]
    environments_ended: tuple[str, ...]
    environments_begun: tuple[str, ...]
    mqtt: bool
    after_restart: tuple[str, ...]

    @property
    def are_none(self) -> bool:
        """Whether both plans are the same."""
        return self == Changes((), (), (), (), (), mqtt=False, after_restart=())

    def watched_anew(self, places: Mapping[str, str]) -> set[str]:
        """Return the cameras that begin, themselves or by another detector; `places` are their environments."""
        return {
            name for name, place in places.items() if name in self.cameras_begun or place in self.environments_begun
        }


def reachable(running: Plan, asked: Plan) -> Plan:
    """Return what a plan comes to without a restart: what is fixed stays.

    A broker that would know the box under another name, or other topics, waits for the restart as a whole: half of what
    the box says would go to the old topics.
    """
    renames = any(running.fixed[f"mqtt.{key}"] != asked.fixed[f"mqtt.{key}"] for key in BROKER_NAMES)
    return replace(asked, fixed=running.fixed, mqtt=running.mqtt if renames else asked.mqtt)


def plan_of(config: Config) -> Plan:
    """Return what a configuration asks for."""
    screening = config.screening
    broker = config.mqtt or BrokerSettings()
    jobs, rates = camera_jobs(config), camera_rates(config)
    return Plan(
        cameras={
            name: CameraPlan(jobs[name], camera.environment, camera.enabled, rates[name])
            for name, camera in config.cameras.items()
        },
        environments={
            name: EnvironmentPlan(environment.bundle, screening.batch_size, screening.max_wait_ms / 1000.0)
            for name, environment in config.environments.items()
        },
        mqtt=config.mqtt,
        fixed={
            "screening.device": screening.device,
            "screening.threads": screening.threads,
            "state_folder": config.state_folder,
            "outbox": config.outbox,
            "http": config.http,
            "adaptation": config.adaptation,
            "evidence": config.evidence,
            **{f"mqtt.{key}": getattr(broker, key) for key in BROKER_NAMES},
        },
        origins=frozenset(config.webrtc.allow_origins),
    )


def changes(old: Plan, new: Plan) -> Changes:
    """Return what differs; a camera whose environment gets another detector is not touched by that."""
    cameras_ended = tuple(name for name, camera in old.cameras.items() if new.cameras.get(name) != camera)
    return Changes(
        cameras_ended=cameras_ended,
        cameras_begun=tuple(name for name, camera in new.cameras.items() if old.cameras.get(name) != camera),
        cameras_gone=tuple(name for name in cameras_ended if name not in new.cameras),
        environments_ended=_differing(old.environments, new.environments),
        environments_begun=_differing(new.environments, old.environments),
        mqtt=old.mqtt != new.mqtt,
        after_restart=tuple(key for key, value in new.fixed.items() if old.fixed[key] != value),
    )


def _differing(these: Mapping[str, EnvironmentPlan], others: Mapping[str, EnvironmentPlan]) -> tuple[str, ...]:
    return tuple(name for name, environment in these.items() if others.get(name) != environment)
