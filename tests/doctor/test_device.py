"""Where the detector runs, as `doctor` tells it."""

import onnxruntime
import pytest

from gateway.config import Config, EnvironmentConfig, ScreeningConfig
from gateway.doctor.device import device


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let onnxruntime be the build without CUDA."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize(("asked", "level"), [("cpu", "ok"), ("auto", "warning"), ("cuda", "failed")])
async def test_device_asked_for_and_got(asked: str, level: str) -> None:
    """What was asked for by name must be there; `auto` is content and says why."""
    finding = await device(Config(screening=ScreeningConfig.model_validate({"device": asked})))
    assert finding.level == level
    assert finding.found.startswith(f"asked for {asked}, screening on the CPU")
    assert bool(finding.advice) == (level != "ok")


async def test_bundle_that_cannot_be_used_is_told() -> None:
    """With its name, and what always works."""
    finding = await device(Config(environments={"hall": EnvironmentConfig(bundle="absent")}))
    assert finding.level == "failed"
    assert "absent" in finding.found
