"""The graph of `wide` computes what torch computes."""

import numpy as np
import onnx
import onnxruntime
from fakes.bundles import drawn_wide

from gateway.contract.constants import graph_constants
from gateway.contract.network import PROFILES
from trainer.export import graph_template, make_self_test
from trainer.network import export_weights, score_pixels
from trainer.wide_graph import wide_nodes

WIDE = PROFILES["wide"]


def test_graph_computes_what_torch_computes() -> None:
    """Every operator of the template agrees with the network, on pictures with flat, fine and blown-out parts."""
    detector, pixels_NYXC = drawn_wide(), make_self_test(WIDE)
    pixels_NYXC[:2], pixels_NYXC[2, :64] = 255, 0
    options = onnxruntime.SessionOptions()
    inputs = {**graph_constants(WIDE), **export_weights(detector)}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array)) for array in inputs.values()]
    options.add_external_initializers(list(inputs), values)
    session = onnxruntime.InferenceSession(graph_template(WIDE), options, providers=["CPUExecutionProvider"])
    (scores_N,) = session.run(None, {"pixels": pixels_NYXC})
    np.testing.assert_allclose(scores_N, score_pixels(detector, pixels_NYXC), atol=1e-4)
    assert np.ptp(scores_N) > 0.01


def test_every_input_is_used_and_nothing_else() -> None:
    """The nodes take the pixels, the constants and the tensors of the profile, all of them."""
    model = onnx.load_from_string(graph_template(WIDE))
    made = {name for node in wide_nodes(WIDE) for name in node.output}
    taken = {name for node in wide_nodes(WIDE) for name in node.input} - made
    assert taken == {"pixels", *graph_constants(WIDE), *(tensor.name for tensor in WIDE.tensors)}
    assert taken - {"pixels"} == {tensor.name for tensor in model.graph.initializer}
