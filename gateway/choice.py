"""What the operator chose for one command: a configuration, and what the command line says otherwise."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.cameras.jobs import (
    CameraJob,
    DeviceSource,
    FaceSettings,
    FileSource,
    LiveSource,
    PeerSource,
    RtspSource,
    Viewing,
)
from gateway.config import Config, FileConfig, OperatingPoint, RtspConfig, SourceConfig, WhepConfig, WhipConfig
from gateway.config_file import describe, read_config
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.calibration import attainable_rate, tracks_needed
from gateway.errors import ConfigError
from gateway.models.shipped import resolve_bundle
from gateway.screening.decide import asked_rate
from gateway.screening.runtime import BundleDetector, InferenceThread, check_device
from gateway.screening.sessions import Device
from gateway.screening.store import MAX_TRACKS
from gateway.strict_yaml import Problem


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration; `bundle`, `environment` and `device` overrule it where they are given."""

    config: Config
    bundle: str | None = None
    environment: str | None = None
    device: Device | None = None

    @property
    def environment_name(self) -> str:
        """The environment asked for, or the only one.

        Raises:
            ConfigError: It does not exist, or there are several and none was named.
        """
        names = list(self.config.environments)
        if self.environment is None and len(names) > 1:
            raise ConfigError(f"--environment: name one of {', '.join(names)}; the configuration has several")
        if self.environment is not None and self.environment not in names:
            raise ConfigError(f"--environment: {self.environment} is not in the configuration, {', '.join(names)} is")
        return self.environment or names[0]

    @property
    def bundle_name(self) -> str:
        """The bundle asked for, or that of the environment."""
        return self.bundle or self.config.environments[self.environment_name].bundle

    @property
    def faces(self) -> FaceSettings:
        """How faces are found."""
        faces, detect = self.config.faces, self.config.detect
        return FaceSettings(faces.model, faces.min_confidence, detect.min_face_px, faces.max_per_frame)


def choose(
    path: Path | None, *, bundle: str | None = None, environment: str | None = None, device: Device | None = None
) -> Choice:
    """Return the operator's choice; without a file every key has its default.

    Raises:
        ConfigError: The file has mistakes.
    """
    return Choice(read_config(path)[0] if path else Config(), bundle, environment, device)


@asynccontextmanager
async def started_detector(choice: Choice) -> AsyncIterator[tuple[Bundle, BundleDetector]]:
    """Open the bundle on an inference thread, which ends with the context.

    Raises:
        ConfigError: The bundle cannot be used, or the device that was asked for by name.
        RuntimeFault: onnxruntime fails.
    """
    screening = choice.config.screening
    device = choice.device or screening.device
    try:
        bundle = resolve_bundle(choice.bundle_name)
    except BundleError as error:
        raise ConfigError(f"bundle {choice.bundle_name}: {error}") from None
    inference = InferenceThread(device=device, threads=screening.threads)
    try:
        try:
            detector = await inference.open(bundle)
        except BundleError as error:
            raise ConfigError(f"bundle {choice.bundle_name}: {error}") from None
        check_device(device, detector.report)
        yield bundle, detector
    finally:
        await inference.close()


LIVE_FPS = 5.0
"""Frames of a camera looked at per second where the configuration names no number."""


# Losses are mended by sending again, which takes a moment; a publisher and the network agree on a way within seconds.
_PEER_PATIENCE = {"connect_s": 10.0, "stall_s": 4.0}


def camera_jobs(config: Config) -> dict[str, CameraJob]:
    """Return what each camera's worker is asked to do, those not enabled included; two are equal if nothing differs."""
    jobs = {}
    for name, camera in config.cameras.items():
        faces, detect = config.faces_of(name), config.detect_of(name)
        jobs[name] = CameraJob(
            camera=name,
            source=_live_source(camera.source, config.webrtc.allow),
            faces=FaceSettings(faces.model, faces.min_confidence, detect.min_face_px, faces.max_per_frame),
            fps=detect.fps or LIVE_FPS,
            max_pixels=detect.max_pixels,
            viewing=Viewing(config.webrtc.allow, config.webrtc.viewers) if config.webrtc.viewers else None,
            **(_PEER_PATIENCE if isinstance(camera.source, WhipConfig | WhepConfig) else {}),
        )
    return jobs


def camera_rates(config: Config) -> dict[str, float]:
    """Return the false-alarm rate per track that each camera's operating point asks for.

    Raises:
        ConfigError: No calibration can ever support one of them; how many passages are missing is said.
    """
    mistakes = [text for key, text in unsupportable(config)]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return {name: _rate_of(config.operating_point_of(name)) for name in config.cameras}


def _rate_of(point: OperatingPoint) -> float:
    return asked_rate(alert_budget_per_day=point.alert_budget_per_day, tracks_per_day=point.tracks_per_day)


def unsupportable(config: Config) -> list[tuple[tuple[str, ...], str]]:
    """Return the cameras, as keys of the configuration, whose target asks for more passages than are ever kept."""
    found: list[tuple[tuple[str, ...], str]] = []
    for name, camera in config.cameras.items():
        point = config.operating_point_of(name)
        needed = tracks_needed(_rate_of(point))
        if needed <= MAX_TRACKS:
            continue
        least = point.tracks_per_day / (MAX_TRACKS + 1)
        key = ("cameras", name, "screening") if camera.screening.model_fields_set else ("screening",)
        text = (
            f"{point.alert_budget_per_day:g} false alerts a day in {point.tracks_per_day:g} passages cannot be "
            f"promised for camera {name}: that takes {needed} clean passages and {MAX_TRACKS} are kept, "
            f"{needed - MAX_TRACKS} are missing; allow {math.ceil(1000 * least) / 1000:g} a day or more"
        )
        found.append((key, f"{'.'.join(key)}: {text}"))
    return found


def operating_points(config: Config) -> list[str]:
    """Return for each camera in words what its target takes, and what is promised until then."""
    lines = []
    for name, camera in config.cameras.items():
        rate = _rate_of(config.operating_point_of(name))
        clean = resolve_bundle(config.environments[camera.environment].bundle).calibration.clean_tracks
        held, needed = attainable_rate(rate, tracks=len(clean)), tracks_needed(rate)
        until = "which its bundle's own passages support" if held <= rate else f"until then 1 in {1 / held:,.0f}"
        lines.append(
            f"camera {name}: 1 false alert in {1 / rate:,.0f} passages; it needs {needed:,} clean ones, {until}"
        )
    return lines


def _live_source(source: SourceConfig, allow: tuple[str, ...]) -> LiveSource:
    if isinstance(source, RtspConfig):
        password = None if source.password is None else source.password.get_secret_value()
        return RtspSource(source.url, source.username, password, source.transport, source.ca_file)
    if isinstance(source, FileConfig):
        is_device = source.path.is_relative_to("/dev")
        return DeviceSource(source.path) if is_device else FileSource(source.path, source.loop)
    if isinstance(source, WhepConfig):
        token = source.token.get_secret_value() if source.token else None
        return PeerSource(allow, source.url, token, source.ca_file)
    return PeerSource(allow, token=source.token.get_secret_value())


def check_config(path: Path) -> Config:
    """Read a configuration, open what it names, and return it.

    Raises:
        ConfigError: Something is wrong; one line per mistake.
    """
    config, document = read_config(path)
    mistakes = []
    for name, environment in config.environments.items():
        try:
            resolve_bundle(environment.bundle)
        except BundleError as error:
            key = ("environments", name, "bundle")
            mistakes.append(describe(path, Problem(document.line_of(key), key, str(error))))
    mistakes += [
        describe(path, Problem(document.line_of(where), where, text.partition(": ")[2]))
        for where, text in unsupportable(config)
    ]
    for name, camera in config.cameras.items():
        if isinstance(camera.source, WhipConfig) and config.http is None:
            key = ("cameras", name, "source")
            text = "nobody can send to it: whip comes in over HTTP, so the section http is needed"
            mistakes.append(describe(path, Problem(document.line_of(key), key, text)))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return config
