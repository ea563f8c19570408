"""The check of where the detectors run."""

import time
from typing import TYPE_CHECKING

from gateway.config import Config
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.geometry import CONTEXT
from gateway.doctor.findings import Finding, failed, fine, warning
from gateway.errors import RuntimeFault
from gateway.models.shipped import resolve_bundle

if TYPE_CHECKING:
    from gateway.screening.runtime import BundleDetector

_GPU_ADVICE = "nvidia-smi tells whether the driver works"


async def device(config: Config) -> Finding:
    """Open every bundle where the configuration says, self-test included, and compare asked with got."""
    try:
        from gateway.screening.runtime import InferenceThread
    except ImportError as error:
        return failed("device", f"onnxruntime cannot be imported: {error}", "pip install spectragate again")
    screening = config.screening
    inference = InferenceThread(device=screening.device, threads=screening.threads)
    try:
        detectors = [await inference.open(bundle) for bundle in _bundles(config)]
        speeds = [await _speed(detector) for detector in detectors]
        report = inference.report
    except (BundleError, RuntimeFault) as error:
        return failed("device", str(error), "check environments.<name>.bundle; a bundle that comes along always works")
    finally:
        await inference.close()
    found = "\n".join([f"asked for {report.asked}, {report.in_words()}", *speeds])
    if report.degraded:
        return failed("device", found, _GPU_ADVICE)
    if report.asked == "auto" and report.got == "cpu" and report.reason:
        return warning("device", found, f"{_GPU_ADVICE}; set screening.device: cpu where there is no GPU")
    return fine("device", found)


async def _speed(detector: "BundleDetector") -> str:
    """Return in words what a detector judges, and how long a face takes it here."""
    bundle, pixels_NYXC = detector.bundle, detector.bundle.self_test.pixels_NYXC
    began_s = time.perf_counter()
    await detector.screen(pixels_NYXC)
    face_ms = 1000.0 * (time.perf_counter() - began_s) / len(pixels_NYXC)
    least_px = round(bundle.profile.min_crop_px / CONTEXT)
    identity = bundle.identity
    return f"{identity.profile} {identity.version}: judges faces of {least_px} px and more, {face_ms:.1f} ms each"


def _bundles(config: Config) -> list[Bundle]:
    names = dict.fromkeys(environment.bundle for environment in config.environments.values())
    return [resolve_bundle(name) for name in names]
