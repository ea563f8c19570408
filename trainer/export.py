"""From trained weights to what ships: the graph template of a profile and the folder of a bundle."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper

from gateway.contract.bundle import MANIFEST_NAME, Calibration, FileDigest, Manifest, SelfTest
from gateway.contract.constants import graph_constants
from gateway.contract.geometry import CONTEXT, RESIZE_FILTER
from gateway.contract.network import Profile
from trainer.wide_graph import wide_nodes

OPSET = 20
IR_VERSION = 10


def graph_template(profile: Profile) -> bytes:
    """Return the ONNX graph of a profile: uint8 pixels (N, S, S, 3) in, float32 scores (N,) out, the DCT inside.

    Every initializer is declared external, with its shape and length but without a file: a session can only be opened
    with weights from a bundle, and none of another can linger (decision 0005).
    """
    side_px = profile.side_px
    constants = {name: array.shape for name, array in graph_constants(profile).items()}
    shapes = constants | {t.name: t.shape for t in profile.tensors}
    graph = helper.make_graph(
        nodes=wide_nodes(profile) if profile.name == "wide" else _paper_nodes(profile),
        name=f"spectragate_{profile.name}",
        inputs=[helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", side_px, side_px, 3])],
        outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N"])],
        initializer=[_external(name, shape) for name, shape in shapes.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="spectragate"
    )
    return bytes(model.SerializeToString(deterministic=True))


def _external(name: str, shape: tuple[int, ...]) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "given_by_the_bundle"), ("length", str(4 * int(np.prod(shape))))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _paper_nodes(profile: Profile) -> list[onnx.NodeProto]:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["pixels_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels_float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("MatMul", ["dct", "planes"], ["half_spectrum"]),
        helper.make_node("MatMul", ["half_spectrum", "dct_transposed"], ["spectrum"]),
    ]
    x = "spectrum"
    for index in range(1, len(profile.conv_channels) + 1):
        nodes += _convolution(index, x, profile.norm_epsilon)
        x = f"normed{index}"
        if index % 2 == 0:
            nodes.append(helper.make_node("MaxPool", [x], [f"pooled{index}"], kernel_shape=[2, 2], strides=[2, 2]))
            x = f"pooled{index}"
    margin = helper.make_tensor("margin", TensorProto.FLOAT, [2, 1], [-1.0, 1.0])
    flat = helper.make_tensor("flat", TensorProto.INT64, [1], [-1])
    return [
        *nodes,
        helper.make_node("Transpose", [x], ["channels_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["channels_last"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "dense.weight", "dense.bias"], ["logits"], transB=1),
        helper.make_node("Constant", [], ["margin"], value=margin),
        helper.make_node("MatMul", ["logits", "margin"], ["score_column"]),
        helper.make_node("Constant", [], ["flat"], value=flat),
        helper.make_node("Reshape", ["score_column", "flat"], ["scores"]),
    ]


def _convolution(index: int, x: str, epsilon: float) -> list[onnx.NodeProto]:
    conv, norm = f"conv{index}", f"norm{index}"
    norm_inputs = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    return [
        helper.make_node("Conv", [x, f"{conv}.weight", f"{conv}.bias"], [conv], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Elu", [conv], [f"elu{index}"], alpha=1.0),
        helper.make_node("BatchNormalization", [f"elu{index}", *norm_inputs], [f"normed{index}"], epsilon=epsilon),
    ]


def write_bundle(
    folder: Path,
    *,
    profile: Profile,
    weights: Mapping[str, NDArray[np.float32]],
    calibration: Calibration,
    self_test: SelfTest,
    facts: Mapping[str, Any],
) -> str:
    """Write a bundle folder and return the digest of its manifest.

    `facts` are the fields of the manifest that only the caller knows: `version`, `environment`, `parent_sha256`,
    `created`, `training`. The manifest is written last and whole, so that an interrupted write is no bundle.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "weights.safetensors": safetensors.numpy.save(dict(weights)),
        "self_test.safetensors": safetensors.numpy.save(
            {"pixels": np.ascontiguousarray(self_test.pixels_NYXC), "scores": np.ascontiguousarray(self_test.scores_N)}
        ),
        "calibration.json": _json_bytes(calibration.model_dump(mode="json")),
    }
    digests = {
        name: FileDigest(sha256=hashlib.sha256(content).hexdigest(), length_bytes=len(content))
        for name, content in contents.items()
    }
    manifest = Manifest(
        format=1, profile=profile.name, resize_filter=RESIZE_FILTER, context=CONTEXT, files=digests, **facts
    )
    manifest_bytes = _json_bytes(manifest.model_dump(mode="json"))
    for name, content in [*contents.items(), (MANIFEST_NAME, manifest_bytes)]:
        write_whole(folder / name, content)
    return hashlib.sha256(manifest_bytes).hexdigest()


def make_self_test(profile: Profile, *, count: int = 16) -> NDArray[np.uint8]:
    """Return pictures, uint8 (N, S, S, 3), that show nobody: noise of several grains and gradients, always the same."""
    draw = np.random.default_rng(20)
    side_px = profile.side_px
    pictures = []
    for index in range(count):
        cells = max(2, side_px >> (index % 4))
        coarse_YXC = draw.integers(0, 256, (cells, cells, 3)).repeat(side_px // cells, 0).repeat(side_px // cells, 1)
        slope_YX = np.add.outer(np.arange(side_px), np.arange(side_px)) * (127.0 / side_px)
        pictures.append(np.rint(0.5 * coarse_YXC + 0.5 * slope_YX[..., None]))
    return np.stack(pictures).astype(np.uint8)


def _json_bytes(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, even after a power cut."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(path)
