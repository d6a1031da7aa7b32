"""Small networks with the shapes and statistics of a trained ResNet8, as files and as arrays in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import Writing, draft_fingerprint, draft_watermark
from onnxnnw.errors import CannotLook
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.row_scale import row_magnitudes, row_scales
from onnxnnw.methods import nct
from onnxnnw.methods.base import Candidate, Reads
from onnxnnw.network_file.file import open_network
from onnxnnw.records import positions as placement
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record

Array = NDArray[np.float32]
Weights = dict[str, Array]

SHAPES: Mapping[str, tuple[int, ...]] = {
    "stem.weight": (16, 3, 3, 3),
    "block1.conv1.weight": (16, 16, 3, 3),
    "block1.conv2.weight": (16, 16, 3, 3),
    "block2.shortcut.weight": (32, 16, 1, 1),
    "block2.conv1.weight": (32, 16, 3, 3),
    "block2.conv2.weight": (32, 32, 3, 3),
    "block3.shortcut.weight": (64, 32, 1, 1),
    "block3.conv1.weight": (64, 32, 3, 3),
    "block3.conv2.weight": (64, 64, 3, 3),
    "fc.weight": (10, 64),
}


def trained_weights(seed: int = 0, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> Weights:
    """Weights as training leaves them: rows of very different size, smooth kernels, heavier tails than normal."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes.items():
        rows = np.exp(0.5 * rng.standard_normal((shape[0], *[1] * (len(shape) - 1))))
        values = rng.standard_t(5, shape)
        if shape[-1] > 1 and len(shape) == 4:
            values = values + rng.standard_t(5, (*shape[:2], 1, 1))  # the taps of a kernel are not independent
        out[name] = (rows * values / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return out


def network_of(weights: Mapping[str, Array], rename: Callable[[str], str] = lambda name: name) -> onnx.ModelProto:
    """A residual network over these weights; every one of them reaches the output."""
    tensors, nodes = [], []

    def add(op: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, list(inputs), [output], name=f"node{len(nodes)}", **attributes))
        return output

    def weight(name: str) -> str:
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(weights[name]), rename(name)))
        return rename(name)

    def convolve(value: str, name: str, stride: int) -> str:
        size = weights[name].shape[-1]
        return add("Conv", [value, weight(name)], f"{name}.out", pads=[size // 2] * 4, strides=[stride] * 2)

    value = add("Relu", [convolve("image", "stem.weight", 1)], "stem.out")
    for block in (1, 2, 3):
        stride = 1 if block == 1 else 2
        inside = add("Relu", [convolve(value, f"block{block}.conv1.weight", stride)], f"block{block}.inside")
        inside = convolve(inside, f"block{block}.conv2.weight", 1)
        if block > 1:
            value = convolve(value, f"block{block}.shortcut.weight", stride)
        value = add("Relu", [add("Add", [inside, value], f"block{block}.sum")], f"block{block}.out")
    value = add("Flatten", [add("GlobalAveragePool", [value], "pooled")], "flat")
    add("Gemm", [value, weight("fc.weight")], "scores", transB=1)
    element = tensors[0].data_type
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", element, ["batch", weights["stem.weight"].shape[1], 32, 32])],
        [helper.make_tensor_value_info("scores", element, ["batch", weights["fc.weight"].shape[0]])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def save(weights: Mapping[str, Array], path: Path, rename: Callable[[str], str] = lambda name: name) -> Path:
    """The network as a file."""
    onnx.save(network_of(weights, rename), path)
    return path


def read(path: Path) -> Weights:
    """The weights of a file, as stored."""
    return {t.name: np.array(numpy_helper.to_array(t)) for t in onnx.load(path).graph.initializer}


def enrolled(
    path: Path,
    watermark: bool,
    secret: int = 1,
    positions: int = 512,
    keep: Sequence[Record] = (),
    strength: float = 1.0,
) -> Record:
    """The record of a network under a fixed secret, as ``fingerprint`` and ``embed`` make it, without files."""
    with open_network(path) as network:
        view = find_slots(network)
        if not watermark:
            return draft_fingerprint(view, key(secret), positions, Owner())
        return draft_watermark(view, key(secret), positions, Owner(), Writing(strength=strength), keep)


def key(number: int) -> Key:
    """One of 2**128 fixed secrets."""
    return Key(number.to_bytes(32, "big"))


def apply_mark(weights: Weights, record: Record) -> Weights:
    """The marked network: a pure function of weights and record."""
    out = {name: array.copy() for name, array in weights.items()}
    for name, (positions, values) in nct.mark(record).items():
        out[name][np.unravel_index(positions, out[name].shape)] = values
    return out


@dataclass(frozen=True)
class InMemory:
    """Weights of a candidate as ``methods.base.Weights``; ``row_scaled`` switches between the two views of verification."""

    arrays: Sequence[Array]
    rows: Sequence[NDArray[np.float64]]
    row_scaled: bool = True

    def has(self, slot: int) -> bool:
        return True

    def array(self, slot: int) -> Array:
        return self.arrays[slot]

    def candidate(self) -> Candidate:
        """These weights as what a method judges; nothing can be asked of them."""
        empty = np.empty(0, np.int64)
        return Candidate(self, lambda: Reads(empty, empty, np.empty(0), np.empty(0)), _answers_nothing)

    def values(self, slot: int, positions: NDArray[np.int64]) -> NDArray[np.float64] | None:
        return self.arrays[slot].reshape(-1)[positions].astype(np.float64)

    def row_scales(self, slot: int) -> NDArray[np.float64] | None:
        return self.rows[slot] if self.row_scaled else None

    def share(self, slots: Sequence[int]) -> float:
        return sum(self.arrays[slot].size for slot in slots) / sum(array.size for array in self.arrays)


def _answers_nothing(inputs: Array) -> Array:
    raise CannotLook("weights in memory answer nothing")


def in_memory(weights: Mapping[str, Array], record: Record) -> InMemory:
    """A candidate whose slots are aligned with a record's, with the scales of their rows."""
    arrays = [weights[entry.name].reshape(-1, entry.row_size) for entry in record.slots]
    return InMemory(arrays, [row_scales(row_magnitudes(array)) for array in arrays])


def under_key(record: Record, number: int, original: InMemory) -> Record:
    """The same network enrolled under another secret: positions, anchors and mark values all drawn anew."""
    other = replace(record, key=key(number))
    if record.kind == "fingerprint":
        return other
    plan = placement.plan_of(other)
    sizes = np.array([entry.row_size for entry in record.slots])[plan.slots]
    scales = np.empty(plan.slots.size)
    for slot in np.unique(plan.slots).tolist():
        chosen = plan.slots == slot
        scales[chosen] = original.rows[slot][plan.positions[chosen] // sizes[chosen]]
    return replace(other, arrays={**record.arrays, "row_gains": scales})


def pruned(weights: Weights, share: float = 0.9) -> Weights:
    """The smallest weights of every layer zeroed."""
    return {n: np.where(np.abs(a) < np.quantile(np.abs(a), share), np.float32(0), a) for n, a in weights.items()}


def quantised(weights: Weights, bits: int) -> Weights:
    """Every layer rounded to a symmetric lattice of ``2**bits - 1`` levels."""
    out = {}
    for name, array in weights.items():
        step = np.abs(array).max() / (2 ** (bits - 1) - 0.5 if bits > 1 else 1)
        out[name] = (np.round(array / step) * step).astype(np.float32)
    return out


def noisy(weights: Weights, ratio: float, seed: int = 7) -> Weights:
    """Gaussian noise in proportion to the deviation of every layer."""
    rng = np.random.default_rng(seed)
    return {n: (a + ratio * a.std() * rng.standard_normal(a.shape)).astype(np.float32) for n, a in weights.items()}


def constant(weights: Weights) -> Weights:
    """Every layer all one value."""
    return {name: np.full_like(array, 0.25) for name, array in weights.items()}


def heavy_tailed(weights: Weights, seed: int = 11) -> Weights:
    """Weights without a variance: Cauchy, with a few beyond 1e6."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_cauchy(array.shape).astype(np.float32) for name, array in weights.items()}


def candidates(weights: Weights, marked: Weights) -> Iterable[tuple[str, Weights]]:
    """What the issue asks about: the marked network, the original, and four that deployment or an enemy may leave."""
    yield "marked", marked
    yield "unmarked", weights
    yield "pruned 90 %", pruned(marked)
    yield "2 bits", quantised(marked, 2)
    yield "constant", constant(marked)
    yield "heavy-tailed", heavy_tailed(marked)
