"""The check of where the detector runs."""

from gateway.config import Config
from gateway.contract.bundle import Bundle, BundleError
from gateway.doctor.findings import Finding, failed, fine, warning
from gateway.errors import RuntimeFault
from gateway.models.shipped import resolve_bundle

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
        for bundle in _bundles(config):
            await inference.open(bundle)
        report = inference.report
    except (BundleError, RuntimeFault) as error:
        return failed("device", str(error), "check environments.<name>.bundle; a bundle that comes along always works")
    finally:
        await inference.close()
    found = f"asked for {report.asked}, {report.in_words()}"
    if report.degraded:
        return failed("device", found, _GPU_ADVICE)
    if report.asked == "auto" and report.got == "cpu" and report.reason:
        return warning("device", found, f"{_GPU_ADVICE}; set screening.device: cpu where there is no GPU")
    return fine("device", found)


def _bundles(config: Config) -> list[Bundle]:
    names = dict.fromkeys(environment.bundle for environment in config.environments.values())
    return [resolve_bundle(name) for name in names]
