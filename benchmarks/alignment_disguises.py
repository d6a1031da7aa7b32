"""Disguises of any ONNX file: through its graph, as somebody does who wants to keep its function, and weight by weight.

Weight by weight each has rows and channels of its own order, which is harder than a consistent one and keeps no function: what is
measured is whether the weights are seen through, and there every weight stands alone.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.modifications import find_modification
from onnxnnw.modifications.base import apply

__all__ = ["EXACT", "FINE_TUNED", "KINDS", "PRESERVING", "Disguise", "Truth", "answers_of", "disguised", "preserved"]

Positions = NDArray[np.int64]
Truth = Mapping[str, tuple[Positions, Positions]]
"""Name of a weight -> where its rows and its channels are now."""


@dataclass(frozen=True)
class Disguise:
    """What is done to every weight; see ``KINDS``."""

    scales: float = 0.0
    signs: bool = False
    dummies: float = 0.0
    clones: float = 0.0
    bits: bool = False
    pruned: float = 0.0
    removed: float = 0.0


KINDS: Mapping[str, Disguise] = {
    "permuted": Disguise(),
    "+ scales": Disguise(scales=0.8),
    "+ signs": Disguise(scales=0.8, signs=True),
    "+ 6 % dummies": Disguise(scales=0.8, dummies=0.06),
    "+ 20 % dummies": Disguise(scales=0.8, dummies=0.2),
    "+ 50 % dummies": Disguise(scales=0.8, dummies=0.5),
    "+ 10 % clones": Disguise(clones=0.1),
    "permuted, 8 bits": Disguise(bits=True),
    "permuted, 30 % pruned": Disguise(pruned=0.3),
    "permuted, 30 % of the channels removed": Disguise(removed=0.3),
    "all composed": Disguise(scales=0.5, signs=True, dummies=0.2, bits=True, pruned=0.3),
}
"""Orders always; scales are e to the power of so many normal numbers, of rows and channels; the rest are shares."""

Step = tuple[str, Mapping[str, float]]
_ORDER: Step = ("channel-permutation", {})
_SCALES: Step = ("channel-rescaling", {})
_SIGNS: Step = ("sign-flip", {})
_EIGHT_BITS: Step = ("quantization", {"bits": 8})
_PRUNED: Step = ("magnitude-pruning", {"percentage": 30})


def _more(kind: str, percentage: float) -> Step:
    return f"{kind}-channels", {"percentage": percentage}


EXACT: Mapping[str, Sequence[Step]] = {
    "permuted": (_ORDER,),
    "+ scales": (_SCALES, _ORDER),
    "+ signs": (_SCALES, _SIGNS, _ORDER),
    "+ 6 % dummies": (_more("dummy", 6), _SCALES, _ORDER),
    "+ 20 % dummies": (_more("dummy", 20), _SCALES, _ORDER),
    "+ 50 % dummies": (_more("dummy", 50), _SCALES, _ORDER),
    "+ 20 % clones": (_more("cloned", 20), _SCALES, _ORDER),
}
"""Disguises that keep the function up to rounding: modifications in a chain."""

FINE_TUNED = "fine-tuned, permuted"
_TUNABLE = {
    "resnet8, trained": ("resnet8", "reference"),
    "rdn-small, trained": ("rdn", "small"),
    "pix2pix-small, trained": ("pix2pix", "small"),
    "vgg16-small": ("vgg16", "small"),
}
"""Networks for which there are data, and whose file can be trained on: reference network and size."""

PRESERVING: Mapping[str, Sequence[Step]] = {
    **EXACT,
    "permuted, 8 bits": (_ORDER, _EIGHT_BITS),
    "permuted, 30 % pruned": (_ORDER, _PRUNED),
    "all composed": (_more("dummy", 20), _SCALES, _SIGNS, _ORDER, _PRUNED, _EIGHT_BITS),
}

_IMAGES_PER_CLASS = 300


def preserved(source: Path, target: Path, kind: str, network: str, data: Path | None) -> str | None:
    """Write a disguised copy through the channel groups of the graph.

    Returns:
        What could not be done to this network; None where nothing could, or where there is nothing to train it on.
    """
    steps = PRESERVING.get(kind, (_ORDER,))
    left_out: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), source
        if kind == FINE_TUNED:
            if data is None or network not in _TUNABLE:
                return None
            path = _trained_on(source, folder, data, *_TUNABLE[network])
        for number, (step, settings) in enumerate(steps):
            try:
                apply(find_modification(step)(**settings), path, folder / f"{number}.onnx", seed=number)
                path = folder / f"{number}.onnx"
            except UnsupportedNetwork:
                left_out.append(step)
        if path == source:
            return None
        shutil.copyfile(path, target)
    return " and ".join(left_out)


def _trained_on(source: Path, folder: Path, data: Path, network: str, size: str) -> Path:
    """A reference network, one epoch further; classifiers on a part of the images."""
    if network in ("resnet8", "vgg16"):
        for part, count in (("train", _IMAGES_PER_CLASS), ("test", 10)):
            for classed in sorted((data / part).iterdir()):
                (folder / "images" / part / classed.name).mkdir(parents=True)
                for image in sorted(classed.iterdir())[:count]:
                    (folder / "images" / part / classed.name / image.name).symlink_to(image.resolve())
        data = folder / "images"
    settings = {"network": network, "size": size, "data": str(data), "epochs": 1, "threads": 1}
    apply(find_modification("fine-tuning")(**settings), source, folder / "trained.onnx", seed=0)
    return folder / "trained.onnx"


def answers_of(path: Path) -> NDArray[np.floating]:
    """What a network answers to drawn inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for port in session.get_inputs():
        sizes = [length if isinstance(length, int) else _open(axis) for axis, length in enumerate(port.shape)]
        drawn = rng.integers(0, 100, sizes) if "int" in port.type else rng.standard_normal(sizes)
        feeds[port.name] = drawn.astype(np.int64 if "int" in port.type else np.float32)
    outputs = session.run(None, feeds)
    return np.concatenate([np.asarray(one, np.float64).reshape(-1) for one in outputs])


def _open(axis: int) -> int:
    """A length that a file leaves open: two samples, and a middling image."""
    return 2 if axis == 0 else 64


def disguised(source: Path, target: Path, how: Disguise, rng: np.random.Generator) -> Truth:
    """Write a network whose weights are disguised one by one."""
    model = onnx.load(source)
    axes = _axes(model.graph)
    truth: dict[str, tuple[Positions, Positions]] = {}
    for name, tensor in _tensors(model.graph).items():
        if name in axes and tensor.data_type in (1, 10) and min(tensor.dims[:2]) >= 1:
            rows, channels = axes[name]
            stored = numpy_helper.to_array(tensor)
            array = np.moveaxis(stored.astype(np.float32), (rows, channels), (0, 1))
            moved, *where = _changed(array, how, rng)
            truth[tensor.name or name] = (where[0], where[1])
            back = np.ascontiguousarray(np.moveaxis(moved, (0, 1), (rows, channels)))
            tensor.CopyFrom(numpy_helper.from_array(back.astype(stored.dtype), tensor.name))
    del model.graph.value_info[:]
    onnx.save(model, target)
    return truth


def _tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Stored tensors by the name under which nodes read them."""
    constants = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    return {t.name: t for t in graph.initializer} | {node.output[0]: node.attribute[0].t for node in constants}


def _axes(graph: onnx.GraphProto) -> dict[str, tuple[int, int]]:
    """Weights that one node alone uses, with the axes of their rows and channels; no grouped convolutions but depthwise ones."""
    shapes = {name: tuple(tensor.dims) for name, tensor in _tensors(graph).items()}
    uses: dict[str, int] = {}
    out: dict[str, tuple[int, int]] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
        if len(node.input) < 2 or node.input[1] not in shapes or len(shapes[node.input[1]]) < 2:
            continue
        name, shape = node.input[1], shapes[node.input[1]]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv" and (attributes.get("group", 1) == 1 or shape[1] == 1):
            out[name] = 0, 1
        elif node.op_type == "ConvTranspose" and attributes.get("group", 1) == 1:
            out[name] = 1, 0
        elif node.op_type == "Gemm":
            out[name] = (0, 1) if attributes.get("transB", 0) else (1, 0)
        elif node.op_type == "MatMul" and len(shape) == 2:
            out[name] = 1, 0
    return {name: both for name, both in out.items() if uses[name] == 1}


def _changed(
    array: NDArray[np.float32], how: Disguise, rng: np.random.Generator
) -> tuple[NDArray[np.float32], Positions, Positions]:
    """The weight, and where its rows and channels went; -1 for what was removed."""
    counts = array.shape[0], array.shape[1]
    spread = float(array.std())
    out = array.copy()
    if how.pruned:
        out[np.abs(out) < np.quantile(np.abs(out), how.pruned)] = 0
    places = [np.arange(count) for count in counts]
    for axis, count in enumerate(counts):
        if how.removed and count >= 4:
            kept = np.sort(rng.permutation(count)[: count - round(how.removed * count)])
            out = np.take(out, kept, axis)
            places[axis] = np.full(count, -1)
            places[axis][kept] = np.arange(kept.size)
        more = round(how.dummies * count) if count >= 4 else 0
        again = round(how.clones * count) if count >= 4 else 0
        if more:
            shape = [*out.shape]
            shape[axis] = more
            out = np.concatenate([out, spread * rng.standard_normal(shape)], axis)
        if again:
            out = np.concatenate([out, np.take(out, rng.permutation(count)[:again], axis)], axis)
    for axis in range(2):
        lines = out.shape[axis]
        shape = [1] * out.ndim
        shape[axis] = lines
        if how.scales:
            out = out * np.exp(how.scales * rng.standard_normal(lines)).reshape(shape)
        if how.signs:
            out = out * rng.choice([-1.0, 1.0], lines).reshape(shape)
        order = rng.permutation(lines)
        out = np.take(out, order, axis)
        where = np.argsort(order)
        places[axis] = np.where(places[axis] >= 0, where[np.maximum(places[axis], 0)], -1)
    if how.bits:
        step = np.maximum(np.abs(out).reshape(len(out), -1).max(1), 1e-30).reshape(-1, *[1] * (out.ndim - 1)) / 127
        out = np.round(out / step) * step
    return out.astype(np.float32), places[0], places[1]
