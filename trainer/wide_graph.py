"""The ONNX graph of the profile `wide`, operator by operator as `trainer.wide_model` computes it.

N faces, C colour plane, R residual map, Y/X pixel row/column, F feature.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gateway.contract.network import Profile
from gateway.contract.wide import (
    ACROSS_MAPS,
    BLOCK_PX,
    CLIP,
    DOWN_MAPS,
    EDGE_PX,
    EDGE_STEP,
    FINE,
    KERNELS,
    LARGEST_LOCAL,
    LOW,
    NTH,
    PLACES,
    POOL,
    SIDE_PX,
    SIGNED_IN_PLACES,
    STRONGEST,
    TILE_POOL,
    TILE_PX,
)


class _Nodes:
    """The nodes so far; every method adds some and returns the name of what they give."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._numbers: dict[str, str] = {}

    def add(self, kind: str, inputs: Sequence[str], *, outputs: int = 1, **attributes: Any) -> str:
        names = [f"{kind.lower()}_{len(self.nodes)}" + (f"_{index}" if index else "") for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def number(self, value: float | Sequence[int]) -> str:
        """Return a constant: a float32 scalar, or whole numbers (shapes, axes, pads)."""
        key = repr(value)
        if key not in self._numbers:
            array = np.float32(value) if isinstance(value, float) else np.array(value, np.int64)
            self._numbers[key] = self.add("Constant", [], value=numpy_helper.from_array(np.asarray(array)))
        return self._numbers[key]

    def log(self, x: str, plus: float) -> str:
        return self.add("Log", [self.add("Add", [x, self.number(plus)])])

    def log_of_size(self, x: str) -> str:
        return self.log(self.add("Abs", [x]), 1.0)

    def signed_log(self, x: str, times: float = 1.0) -> str:
        size = self.add("Abs", [x])
        scaled = size if times == 1.0 else self.add("Mul", [size, self.number(times)])
        return self.add("Mul", [self.add("Sign", [x]), self.log(scaled, 1.0)])

    def reduced(self, kind: str, x: str, axes: Sequence[int], *, keep: bool = False) -> str:
        return self.add(f"Reduce{kind}", [x, self.number(list(axes))], keepdims=int(keep))

    def shaped(self, x: str, shape: Sequence[int]) -> str:
        """Reshape; 0 keeps a dimension and -1 takes the rest."""
        return self.add("Reshape", [x, self.number(list(shape))])

    def sliced(self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], step: int = 1) -> str:
        steps = [step] * len(axes)
        return self.add("Slice", [x, *(self.number(list(each)) for each in (starts, ends, axes, steps))])

    def largest(self, x: str, count: int) -> str:
        return self.add("TopK", [x, self.number([count])], outputs=2, axis=2, largest=1, sorted=1)

    def nth(self, largest: str, n: int) -> str:
        return self.add("Squeeze", [self.sliced(largest, [n], [n + 1], [2]), self.number([2])])

    def spread(self, x: str, mean: str) -> str:
        power = self.reduced("Mean", self.add("Mul", [x, x]), [2])
        variance = self.add("Sub", [power, self.add("Mul", [mean, mean])])
        return self.add("Sqrt", [self.add("Relu", [variance])])

    def pooled(self, kind: str, x: str, kernel: tuple[int, int], stride: tuple[int, int]) -> str:
        return self.add(f"{kind}Pool", [x], kernel_shape=list(kernel), strides=list(stride))

    def falls_short(self, x: str) -> str:
        """Return the mean over the pixels of how far values fall short of 1."""
        short = self.add("Relu", [self.add("Sub", [self.number(1.0), x])])
        return self.reduced("Mean", short, [2, 3])


def wide_nodes(profile: Profile) -> list[onnx.NodeProto]:
    """Return the nodes from `pixels` to `scores`; the constants of `contract.wide` and the tensors are inputs."""
    g = _Nodes()
    rgb = g.add("Transpose", [g.add("Cast", ["pixels"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    padded = g.add("Pad", [rgb, g.number([0, 0, 2, 2, 0, 0, 2, 2])], mode="edge")
    residuals = _of_residuals(g, g.add("Conv", [padded, "residuals"]))
    ycc = g.shaped(g.add("MatMul", ["ycc", g.shaped(rgb, [0, 3, -1])]), [0, 3, SIDE_PX, SIDE_PX])
    blocks = g.add("Conv", [rgb, "blocks"], strides=[BLOCK_PX, BLOCK_PX])
    strength = g.log_of_size(blocks)
    parts = [
        *_whole(g, ycc),
        *_over_blocks(g, blocks, strength),
        *_tiled(g, ycc),
        *_residual_statistics(g, residuals),
        *_edges(g, residuals),
        _channel_correlations(g, rgb),
        *_levels(g, rgb),
        *_grid_phase(g, ycc),
    ]
    features = g.add("Concat", [g.add("Flatten", [part], axis=1) for part in parts], axis=1)
    standard = _standardised(g, features, "features_mean", "features_scale")
    hidden = g.add("Relu", [g.add("Gemm", [standard, "dense1.weight", "dense1.bias"], transB=1)])
    places = g.add("Concat", [strength, *_in_places(g, blocks, residuals)], axis=1)
    joined = g.add("Concat", [hidden, _shapes(g, places, profile.norm_epsilon)], axis=1)
    joined = g.add("Relu", [g.add("Gemm", [joined, "dense2.weight", "dense2.bias"], transB=1)])
    logits = g.add("Gemm", [joined, "dense3.weight", "dense3.bias"], transB=1)
    clean, triggered = (g.sliced(logits, [index], [index + 1], [1]) for index in (0, 1))
    margin = g.add("Sub", [triggered, clean])
    g.nodes.append(helper.make_node("Reshape", [margin, g.number([-1])], ["scores"]))
    return g.nodes


def _whole(g: _Nodes, ycc: str) -> list[str]:
    spectrum = g.add("MatMul", [g.add("MatMul", ["dct", ycc]), "dct_transposed"])
    strength = g.log_of_size(spectrum)
    low = g.sliced(spectrum, [0, 0], [LOW, LOW], [2, 3])
    pools = [g.pooled(kind, strength, (POOL, POOL), (POOL, POOL)) for kind in ("Average", "Max")]
    return [*pools, g.signed_log(low)]


def _standardised(g: _Nodes, values: str, mean: str, scale: str) -> str:
    centred = g.add("Mul", [g.add("Sub", [values, mean]), scale])
    return g.add("Clip", [centred, g.number(-CLIP), g.number(CLIP)])


def _over_blocks(g: _Nodes, blocks: str, strength: str) -> list[str]:
    values, strength = (g.shaped(each, [0, 0, -1]) for each in (blocks, strength))
    mean = g.reduced("Mean", strength, [2])
    largest = g.nth(g.largest(strength, NTH), NTH - 1)
    return [mean, g.spread(strength, mean), largest, g.signed_log(g.reduced("Mean", values, [2]), 4.0)]


class _Residuals(NamedTuple):
    """As in `trainer.wide_model`."""

    size: str
    local: str
    peaks: str
    flat: str
    across: str
    down: str


def _of_residuals(g: _Nodes, residuals: str) -> _Residuals:
    size = g.add("Abs", [residuals])
    short = g.add("Relu", [g.add("Sub", [g.number(1.0), size])])
    return _Residuals(
        size,
        g.pooled("Average", g.pooled("Average", size, (4, 4), (4, 4)), (2, 2), (1, 1)),
        g.pooled("Max", size, (4, 4), (4, 4)),
        g.pooled("Average", short, (BLOCK_PX, BLOCK_PX), (BLOCK_PX, BLOCK_PX)),
        _mean_piece(g, g.add("Gather", [residuals, g.number(list(ACROSS_MAPS))], axis=1), axis=2),
        _mean_piece(g, g.add("Gather", [residuals, g.number(list(DOWN_MAPS))], axis=1), axis=3),
    )


def _mean_piece(g: _Nodes, maps: str, *, axis: int) -> str:
    length = SIDE_PX - EDGE_STEP + 1
    return g.add("Mean", [g.sliced(maps, [first], [first + length], [axis]) for first in range(EDGE_STEP)])


def _in_places(g: _Nodes, blocks: str, residuals: _Residuals) -> list[str]:
    length = SIDE_PX - EDGE_STEP + 1
    pieces = []
    for short, axis, window in ((residuals.across, 2, (2, BLOCK_PX)), (residuals.down, 3, (BLOCK_PX, 2))):
        halves = (g.sliced(short, [first], [length - EDGE_STEP + first], [axis], EDGE_STEP) for first in (0, EDGE_STEP))
        size = g.add("Abs", [g.add("Mean", list(halves))])
        pads = [0] * 8
        pads[4 + axis] = 1
        padded = g.add("Pad", [size, g.number(pads)], mode="constant")
        pieces.append(g.log(g.pooled("Max", padded, window, window), 0.1))
    every_8 = g.sliced(residuals.local, [0, 0], [2 * PLACES, 2 * PLACES], [2, 3], 2)
    return [
        g.signed_log(g.add("Gather", [blocks, g.number(list(SIGNED_IN_PLACES))], axis=1)),
        g.log(every_8, 0.1),
        g.log(g.pooled("Max", residuals.peaks, (2, 2), (2, 2)), 1.0),
        residuals.flat,
        *pieces,
    ]


def _tiled(g: _Nodes, ycc: str) -> list[str]:
    times = SIDE_PX // TILE_PX
    windows = g.reduced("Mean", g.shaped(ycc, [0, 3, times, TILE_PX, times, TILE_PX]), [2, 4])
    spectrum = g.add("MatMul", [g.add("MatMul", ["tile_dct", windows]), "tile_dct_transposed"])
    return [g.pooled("Max", g.log_of_size(spectrum), (TILE_POOL, TILE_POOL), (TILE_POOL, TILE_POOL))]


def _residual_statistics(g: _Nodes, residuals: _Residuals) -> list[str]:
    size = residuals.size
    log_mean = g.log(g.reduced("Mean", size, [2, 3]), 0.1)
    power = g.reduced("Mean", g.add("Mul", [size, size]), [2, 3])
    half_log_power = g.add("Mul", [g.log(power, 0.01), g.number(0.5)])
    local = g.shaped(residuals.local, [0, 0, -1])
    log_local = g.log(local, 0.1)
    largest = g.largest(local, LARGEST_LOCAL)
    peaks = g.largest(g.shaped(residuals.peaks, [0, 0, -1]), NTH)
    above = [g.nth(largest, 0), g.reduced("Mean", largest, [2])]
    return [
        log_mean,
        g.add("Sub", [half_log_power, log_mean]),
        g.reduced("Mean", residuals.flat, [2, 3]),
        g.log(g.nth(peaks, 0), 1.0),
        g.log(g.nth(peaks, NTH - 1), 1.0),
        g.reduced("Min", log_local, [2]),
        *(g.add("Sub", [g.log(each, 0.1), log_mean]) for each in above),
        g.spread(log_local, g.reduced("Mean", log_local, [2])),
    ]


def _edges(g: _Nodes, residuals: _Residuals) -> list[str]:
    found = []
    for axis, short in ((2, residuals.across), (3, residuals.down)):
        length = SIDE_PX - EDGE_PX + 1
        pieces = [g.sliced(short, [first], [first + length], [axis]) for first in range(0, EDGE_PX, EDGE_STEP)]
        edges = g.add("Abs", [g.add("Mean", pieces)])
        peaks = g.largest(g.shaped(g.pooled("Max", edges, (4, 4), (4, 4)), [0, 0, -1]), NTH)
        found += [g.log(g.nth(peaks, 0), 1.0), g.log(g.nth(peaks, NTH - 1), 1.0)]
    return found


def _channel_correlations(g: _Nodes, rgb: str) -> str:
    fine = g.add("Conv", [rgb, "laplacian"], group=3, strides=[2, 2])
    turn = g.number([1, 2, 0])
    common = g.reduced("Mean", g.add("Mul", [fine, g.add("Gather", [fine, turn], axis=1)]), [2, 3])
    power = g.reduced("Mean", g.add("Mul", [fine, fine]), [2, 3])
    both = g.add("Sqrt", [g.add("Mul", [power, g.add("Gather", [power, turn], axis=1)])])
    return g.add("Div", [common, g.add("Add", [both, g.number(0.05)])])


def _levels(g: _Nodes, rgb: str) -> list[str]:
    # A look into a table is a third of the work of comparing every pixel with every comb.
    values = g.add("Cast", [g.sliced("pixels", [0, 0], [SIDE_PX, SIDE_PX], [1, 2], step=2)], to=TensorProto.INT32)
    off = g.reduced("Mean", g.add("Gather", ["levels", values], axis=0), [1, 2])
    bright = g.add("Relu", [g.add("Sub", [rgb, g.number(254.0)])])
    return [g.add("Transpose", [off], perm=[0, 2, 1]), g.falls_short(rgb), g.reduced("Mean", bright, [2, 3])]


def _grid_phase(g: _Nodes, ycc: str) -> list[str]:
    luma = g.add("Squeeze", [g.sliced(ycc, [0], [1], [1]), g.number([1])])
    found = []
    for axis in (2, 1):
        ahead = g.sliced(luma, [1], [SIDE_PX], [axis])
        last = g.sliced(luma, [SIDE_PX - 1], [SIDE_PX], [axis])
        step = g.add("Abs", [g.add("Sub", [luma, g.add("Concat", [ahead, last], axis=axis)])])
        means = g.shaped(g.reduced("Mean", step, [3 - axis]), [0, SIDE_PX // BLOCK_PX, BLOCK_PX])
        logs = g.log(g.reduced("Mean", means, [1]), 0.2)
        found.append(g.add("Sub", [logs, g.reduced("Mean", logs, [1], keep=True)]))
    return found


def _shapes(g: _Nodes, places: str, epsilon: float) -> str:
    mean, scale = (g.shaped(f"places_{name}", [1, -1, 1, 1]) for name in ("mean", "scale"))
    standard = _standardised(g, places, mean, scale)
    flat = g.shaped(standard, [0, 0, -1])
    mean = g.reduced("Mean", flat, [2])
    context = g.add("Gemm", [g.add("Concat", [mean, g.spread(flat, mean)], axis=1), "context.weight"], transB=1)
    around = g.add("Add", [g.shaped(context, [0, -1, 1, 1]), "usual"])
    found, x = [], standard
    for index, kernel in enumerate(KERNELS, start=1):
        norm = [f"norm{index}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        if index == FINE + 1:
            x = g.pooled("Max", x, (2, 2), (2, 2))
        x = g.add("Conv", [x, f"conv{index}.weight"], pads=[kernel // 2] * 4)
        if index == 1:
            x = g.add("Add", [x, around])
        x = g.add("Relu", [g.add("BatchNormalization", [x, *norm], epsilon=epsilon)])
        found.append(x)
    second, third, coarse = found[FINE - 2], g.shaped(found[FINE - 1], [0, 0, PLACES**2]), found[-1]
    strongest = g.largest(third, STRONGEST)
    fine = [
        g.reduced("Max", second, [2, 3]),
        g.reduced("Mean", third, [2]),
        g.nth(strongest, 0),
        g.reduced("Mean", strongest, [2]),
    ]
    return g.add("Concat", [*fine, *(g.reduced(kind, coarse, [2, 3]) for kind in ("Mean", "Max"))], axis=1)
