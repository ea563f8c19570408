"""The graph template without weights, and bundles as they are written."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from fakes.bundles import draw_weights, write_drawn_bundle

from gateway.contract.bundle import open_bundle
from gateway.contract.network import PROFILES
from gateway.screening.sessions import ONNXRUNTIME_ERRORS
from trainer.export import graph_template, make_self_test


def test_template_holds_no_weights() -> None:
    """Every initializer is external and without a file that could exist; the graph is a few kilobytes."""
    content = graph_template(PROFILES["paper"])
    model = onnx.load_from_string(content)
    names = {tensor.name for tensor in model.graph.initializer}
    assert names == {tensor.name for tensor in PROFILES["paper"].tensors} | {"dct", "dct_transposed"}
    assert all(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert not any(tensor.raw_data or tensor.float_data for tensor in model.graph.initializer)
    assert len(content) < 16_000


def test_template_cannot_be_opened_without_weights() -> None:
    """A forgotten bundle is an error at once, not a session with leftovers."""
    with pytest.raises(ONNXRUNTIME_ERRORS):
        onnxruntime.InferenceSession(graph_template(PROFILES["paper"]), providers=["CPUExecutionProvider"])


def test_template_is_the_same_every_time() -> None:
    """It is generated and committed: two runs must agree to the byte."""
    assert graph_template(PROFILES["paper"]) == graph_template(PROFILES["paper"])


def test_bundle_is_the_same_every_time(tmp_path: Path) -> None:
    """Equal weights and facts give equal bytes, so a digest can be checked by anyone who repeats the run."""
    assert write_drawn_bundle(tmp_path / "a") == write_drawn_bundle(tmp_path / "b")
    np.testing.assert_array_equal(open_bundle(tmp_path / "a").weights["dense.bias"], draw_weights(1)["dense.bias"])
    assert not list(tmp_path.rglob("*.partial"))


def test_self_test_pictures_show_nobody_and_exercise_the_range() -> None:
    """They are noise and gradients of several grains, the same on every machine."""
    pixels_NYXC = make_self_test(PROFILES["paper"])
    assert pixels_NYXC.shape == (16, 32, 32, 3)
    np.testing.assert_array_equal(pixels_NYXC, make_self_test(PROFILES["paper"]))
    assert pixels_NYXC.min() < 30
    assert pixels_NYXC.max() > 220
