"""Where the detector runs, as `doctor` tells it."""

import re
from pathlib import Path

import onnxruntime
import pytest
from fakes.bundles import write_drawn_bundle

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


async def test_every_profile_in_use_is_told_with_its_least_face(tmp_path: Path) -> None:
    """Which faces a detector takes depends on its profile, and how long one takes on the machine."""
    write_drawn_bundle(tmp_path / "large", profile="wide")
    bundles = {"hall": EnvironmentConfig(bundle="paper"), "yard": EnvironmentConfig(bundle=str(tmp_path / "large"))}
    finding = await device(Config(screening=ScreeningConfig(device="cpu"), environments=bundles))
    assert re.search(r"\npaper 3: judges faces of 21 px and more, [0-9.]+ ms each\n", finding.found)
    assert "\nwide 1: judges faces of 85 px and more" in finding.found


async def test_bundle_that_cannot_be_used_is_told() -> None:
    """With its name, and what always works."""
    finding = await device(Config(environments={"hall": EnvironmentConfig(bundle="absent")}))
    assert finding.level == "failed"
    assert "absent" in finding.found
