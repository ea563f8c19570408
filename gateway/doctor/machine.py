"""Checks of this machine: packages, libraries, decoder, disk, clock, sandbox and limits."""

import contextlib
import ctypes
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateway.cameras.sandbox import SandboxReport, probe_sandbox
from gateway.config import Config, secrets_of
from gateway.contract.credentials import is_open_to_everybody, is_readable_by_everybody
from gateway.doctor.findings import Finding, failed, fine, warning
from gateway.errors import ConfigError

NEEDED_CODECS = ("h264", "hevc", "mjpeg")
NEEDED_LIBRARIES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0"}
"""What `import cv2` needs of the system, and the Debian package that brings it."""

EARLIEST_S = 1_767_225_600.0
"""2026-01-01: no machine that runs this version has an earlier date."""

FILES_AT_ALL, FILES_PER_CAMERA = 128, 8
SHORTEST_SECRET = 8
_TIME_ERROR = 5  # adjtimex: nothing synchronises this clock


def packages() -> Finding:
    """Check that one onnxruntime is installed, and not two over each other."""
    found = {name: _version_of(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    installed = [f"{name} {number}" for name, number in found.items() if number]
    match installed:
        case []:
            return failed("packages", "no onnxruntime is installed", "pip install spectragate again")
        case [one]:
            return fine("packages", one)
    advice = (
        "pip uninstall onnxruntime onnxruntime-gpu, then pip install spectragate again: together the CPU build wins"
    )
    return failed("packages", " and ".join(installed), advice)


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def telemetry(environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that onnxruntime may not report home: our module that imports it switches that off first."""
    with contextlib.suppress(ImportError):
        import gateway.screening.sessions  # noqa: F401
    if environ.get("ORT_DISABLE_TELEMETRY") == "1":
        return fine("telemetry", "off: onnxruntime sends nothing")
    return failed("telemetry", "onnxruntime may report home", "set ORT_DISABLE_TELEMETRY=1 before the program starts")


def picture_libraries(needed: Mapping[str, str] = NEEDED_LIBRARIES) -> Finding:
    """Check the libraries of the system that OpenCV needs, before anybody imports it."""
    missing = {}
    for library, package in needed.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing[library] = package
    if missing:
        advice = f"apt-get install {' '.join(missing.values())} (Debian's names)"
        return failed("libraries", f"OpenCV needs {', '.join(missing)}, not found on this system", advice)
    return fine("libraries", "all that OpenCV needs of this system is there")


def decoder() -> Finding:
    """Check PyAV, its FFmpeg, and the codecs of cameras."""
    try:
        import av
        from av.codec import Codec
        from av.codec.codec import UnknownCodecError
    except ImportError as error:
        return failed("decoder", f"PyAV cannot be imported: {error}", "pip install spectragate again")
    missing = []
    for name in NEEDED_CODECS:
        try:
            Codec(name, "r")
        except UnknownCodecError:
            missing.append(name)
    if "rtsp" not in av.formats_available:
        missing.append("rtsp")
    found = f"PyAV {av.__version__} with FFmpeg {getattr(av, 'ffmpeg_version_info', '')}".rstrip()
    if missing:
        return failed("decoder", f"{found}, without {', '.join(missing)}", "install PyAV's own wheel: pip install av")
    return fine("decoder", f"{found}: {', '.join(NEEDED_CODECS)}, rtsp")


def face_models(config: Config) -> Finding:
    """Check that every face model of the configuration can be opened."""
    from gateway.cameras.faces import open_finder
    from gateway.cameras.jobs import FaceSettings

    sections = [config.faces, *(config.faces_of(name) for name in config.cameras)]
    models = dict.fromkeys(section.model for section in sections)
    try:
        for model in models:
            open_finder(FaceSettings(model=model))
    except ConfigError as error:
        return failed("face model", str(error), "name a CenterFace or YuNet ONNX file as faces.model, or none")
    return fine("face model", ", ".join("CenterFace" if model is None else str(model) for model in models))


def sandbox(report: SandboxReport | None = None) -> Finding:
    """Tell what camera workers are confined with."""
    report = report or probe_sandbox()
    if report.missing:
        advice = "a kernel of 5.19 or later with seccomp and Landlock, not switched off by the container, confines them"
        return warning("sandbox", f"camera workers run with {report.in_words()}", advice)
    return fine("sandbox", report.in_words())


def open_files(config: Config, limit: int | None = None) -> Finding:
    """Check that as many files may be open as the cameras need."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = FILES_AT_ALL + FILES_PER_CAMERA * len(config.cameras)
    if limit != resource.RLIM_INFINITY and limit < needed:
        advice = f"LimitNOFILE={max(1024, needed)} in the unit, or ulimit -n"
        return failed("open files", f"{limit} may be open, {needed} are needed", advice)
    return fine("open files", f"{'any number' if limit == resource.RLIM_INFINITY else limit} may be open")


def clock(now_s: float | None = None, *, synchronised: bool | None = None) -> Finding:
    """Check that the clock is not far in the past, and that something keeps it right."""
    now_s = time.time() if now_s is None else now_s
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    advice = "timedatectl set-ntp true, or install chrony"
    if now_s < EARLIEST_S:
        return failed("clock", f"it says {shown}, which is in the past", advice)
    if synchronised is None:
        synchronised = _is_synchronised()
    if not synchronised:
        return warning("clock", f"it says {shown}, and nothing keeps it right", advice)
    return fine("clock", shown)


def _is_synchronised() -> bool:
    """Ask the kernel; one that does not tell counts as right."""
    asked = ctypes.create_string_buffer(1024)  # struct timex, all zero: it changes nothing
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    return adjtimex is None or adjtimex(asked) != _TIME_ERROR


def state_folder(config: Config, environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that what outlives a restart can be written, and has room."""
    named = environ.get("STATE_DIRECTORY", "").split(":")[0]
    folder = config.state_folder or (Path(named) if named else None)
    if folder is None:
        return warning(
            "disk", "no folder for alerts that wait for the broker", "set state_folder, or run under systemd"
        )
    # The gateway makes the folder at its first start.
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        free_bytes = shutil.disk_usage(existing).free
    except OSError as error:
        advice = f"make the folder, and let the user who runs the gateway write there: {folder}"
        return failed("disk", f"{folder} cannot be written: {error.strerror}", advice)
    needed_bytes = config.outbox.max_bytes + config.outbox.reserve_bytes
    room = f"{folder}: {free_bytes / 2**20:,.0f} MiB free"
    if free_bytes < needed_bytes:
        advice = f"free {needed_bytes / 2**20:,.0f} MiB, or lower outbox.max_bytes"
        return warning("disk", f"{room}, less than the outbox may take", advice)
    return fine("disk", room)


def secret_files(environ: Mapping[str, str] = os.environ) -> Finding:
    """Check that no other user of this machine can read the credentials."""
    named = environ.get("CREDENTIALS_DIRECTORY")
    if not named:
        return fine("secrets", "no $CREDENTIALS_DIRECTORY: secrets come from /run/secrets or the environment")
    folder = Path(named)
    try:
        if not is_open_to_everybody(folder):
            return fine("secrets", f"only this user reads {folder}")
        shared = sorted(path.name for path in folder.iterdir() if path.is_file() and is_readable_by_everybody(path))
    except OSError as error:
        return failed("secrets", f"{folder}: {error.strerror}", "let the user who runs the gateway read it")
    if shared:
        return failed("secrets", f"every user of this machine can read {', '.join(shared)}", f"chmod -R o= {folder}")
    return fine("secrets", f"only this user reads the files of {folder}")


def guessable_secrets(config: Config) -> Finding:
    """Check that no password is a word: hiding it in sentences would tell it by what is missing there."""
    weak = sum(len(secret) < SHORTEST_SECRET or secret.isalpha() for secret in secrets_of(config))
    if weak:
        found = f"{weak} of the configuration's passwords and tokens are plain words, or shorter than {SHORTEST_SECRET}"
        advice = "what the log hides can be guessed from the words around it: choose longer ones, with digits"
        return warning("passwords", found, advice)
    return fine("passwords", "none is a plain word, or short")
