"""Known modifications, each with the findings that are due after it and the numbers that they should say."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.pipeline_chains import TOOLS
from benchmarks.pipeline_tools import Job
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record

__all__ = ["CASES", "ESTIMATES", "Case", "fine_tuned"]

Change = Callable[[Path, Path, int], None]
Truth = float | Callable[[Record], float] | None

ESTIMATES = {"noise": "s", "pruned": "share", "lattice": "bits", "rounded": "bits", "other values": "share"}
"""The number that a finding says, where it says one."""


@dataclass(frozen=True)
class Case:
    """One modification.

    Attributes:
        name: As in the table.
        change: Source, result, seed.
        due: Finding -> the number that it should say, or None.
        tolerated: Findings that are true as well.
        only: A property that the network must have.
    """

    name: str
    change: Change
    due: Mapping[str, Truth]
    tolerated: frozenset[str] = frozenset({"values changed"})
    only: Callable[[onnx.ModelProto], bool] = field(default=lambda model: True)

    @property
    def truth(self) -> frozenset[str]:
        """The findings that are due."""
        return frozenset(self.due)

    def of(self, finding: str, record: Record) -> float | None:
        """The number that a finding should say."""
        true = self.due[finding]
        return true(record) if callable(true) else true

    def applies(self, path: Path) -> bool:
        """Whether the modification makes sense for a network."""
        return self.only(onnx.load(path))


def _modification(name: str, **settings: Any) -> Change:
    def change(source: Path, out: Path, seed: int) -> None:
        apply(find_modification(name)(**settings), source, out, seed)

    return change


def _tool(name: str) -> Change:
    def change(source: Path, out: Path, seed: int) -> None:
        TOOLS[name].run(Job(None, source, out))  # type: ignore[arg-type]

    return change


def _weights(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    """A change of every stored weight of two or more dimensions."""

    def apply_to(source: Path, out: Path, seed: int) -> None:
        model = onnx.load(source)
        rng = np.random.default_rng(seed)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim > 1 and values.size >= 64 and values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(values, rng)), tensor.name))
        onnx.save(model, out)

    return apply_to


def _half(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def _per_layer(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (values * np.exp(rng.uniform(0.3, 1.5))).astype(np.float32)


def _per_row(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factors = np.exp(0.7 * rng.standard_normal((len(values), *[1] * (values.ndim - 1))))
    return (values * factors).astype(np.float32)


def _drift(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another size of Gaussian change in every layer: what tells training from noise."""
    size = values.std() * np.exp(rng.uniform(np.log(0.01), np.log(0.3)))
    return (values + size * rng.standard_normal(values.shape)).astype(np.float32)


def _decoys(source: Path, out: Path, seed: int) -> None:
    """Changed weights live, the originals kept where no output depends on them."""
    model = onnx.load(source)
    rng = np.random.default_rng(seed)
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1 and values.size >= 64 and values.dtype == np.float32:
            model.graph.initializer.append(numpy_helper.from_array(values, f"{tensor.name}.kept"))
            moved = values + 0.2 * values.std() * rng.standard_normal(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))
    onnx.save(model, out)


def _extended(source: Path, out: Path, seed: int) -> None:
    """A large layer more, whose result is added to the first output."""
    model = onnx.load(source)
    rng = np.random.default_rng(seed)
    graph = model.graph
    total = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    width = max(16, int(np.sqrt(total / 4)))
    for name, shape in (("more.left", (1, width)), ("more.right", (width, width))):
        graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    output = graph.output[0].name
    graph.node.extend(
        [
            helper.make_node("ReduceMax", [output], ["more.one"], keepdims=0),
            helper.make_node("Mul", ["more.left", "more.one"], ["more.wide"]),
            helper.make_node("MatMul", ["more.wide", "more.right"], ["more.out"]),
            helper.make_node("ReduceMax", ["more.out"], ["more.sum"], keepdims=0),
            helper.make_node("Add", [output, "more.sum"], ["more.output"]),
        ]
    )
    graph.output[0].name = "more.output"
    onnx.save(model, out)


def _overwritten(marks: int) -> Callable[[Record], float]:
    """The share of this record's positions that some of the other marks hit."""

    def share(record: Record) -> float:
        total = sum(slot.capacity for slot in record.slots)
        return 1 - (1 - plan_of(record).positions.size / total) ** marks

    return share


def _has(*operators: str) -> Callable[[onnx.ModelProto], bool]:
    return lambda model: any(node.op_type in operators for node in model.graph.node)


_NARROW = frozenset({"values changed", "renamed", "operator", "decoys", "transposed", "missing", "pruned"})
_CHANGED = frozenset({"values changed", "recomputed"})


def _cases() -> Iterator[Case]:
    yield Case("nothing", _weights(lambda values, rng: values), {"unchanged": None}, frozenset())
    for ratio in (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0):
        yield Case(f"Gaussian noise, S = {ratio:g}", _modification("gaussian-noise", ratio=ratio), {"noise": ratio})
    yield Case("quantisation, B = 16", _modification("quantization", bits=16), {"rounded": 16}, _CHANGED | {"lattice"})
    for bits in (8, 6, 4, 2):
        tolerated = _CHANGED | {"pruned", "missing", "added", "rounded"}
        yield Case(f"quantisation, B = {bits}", _modification("quantization", bits=bits), {"lattice": bits}, tolerated)
    for name in ("magnitude-pruning", "global-magnitude-pruning"):
        for part in (10, 20, 50, 80, 90):
            change = _modification(name, percentage=part)
            yield Case(f"{name}, {part} %", change, {"pruned": part / 100}, _CHANGED | {"missing", "added"})
    for part in (1, 5, 10):
        change = _modification("random-pruning", percentage=part)
        missed = frozenset(
            {"unchanged"} if part == 1 else ()
        )  # one network in five of those with 164 positions keeps them all
        yield Case(f"random-pruning, {part} %", change, {"pruned": part / 100}, _CHANGED | missed)
    for marks in (1, 2, 3, 4):
        change = _modification("watermark-overwriting", marks=marks)
        yield Case(f"overwriting, W = {marks}", change, {"other values": _overwritten(marks)}, _CHANGED | {"unchanged"})
    yield Case("another size of change per layer", _weights(_drift), {"fine-tuned": None})
    yield Case("float16 and back", _weights(_half), {"rounded": None})
    yield Case("one factor per layer", _weights(_per_layer), {"scaled": None}, _CHANGED | {"scaled per channel"})
    yield Case("one factor per out-channel", _weights(_per_row), {"scaled per channel": None}, _CHANGED | {"rescaled"})
    yield Case("fp16", _tool("fp16 (onnxruntime)"), {"type changed": None}, _NARROW)
    yield Case("bf16 behind Cast", _tool("bf16 weights behind Cast"), {"type changed": None, "renamed": None}, _NARROW)
    for name, change in (
        ("dynamic uint8", _modification("dynamic-quantization")),
        ("static int8 per channel", _modification("static-quantization", batches=2)),
    ):
        only = _has("Conv")
        yield Case(name, change, {"type changed": None, "renamed": None}, _NARROW, only)
    yield Case(
        "optimised by onnxruntime",
        _modification("runtime-optimization"),
        {"renamed": None, "batch norm folded": None},
        frozenset({"operator", "transposed", "unchanged", "recomputed", "values changed"}),
        _has("BatchNormalization"),
    )
    kept = frozenset({"unchanged"})
    yield Case("other names", _tool("compose prefix"), {"renamed": None, "unchanged": None}, frozenset())
    yield Case("initializers are inputs", _tool("initializers are inputs"), {"replaceable at run time": None}, kept)
    yield Case(
        "in an If body", _tool("If body"), {"conditional": None}, kept | {"renamed"}, lambda m: len(m.graph.output) == 1
    )
    cut = kept | {"values changed", "scaled per channel"}  # the normalisation after the last layer is cut away
    yield Case("a part", _tool("sub-model"), {"missing": None}, cut)
    yield Case("extended by a large layer", _extended, {"added": None}, kept)
    yield Case("originals kept as decoys", _decoys, {"decoys": None, "noise": 0.2})


CASES: tuple[Case, ...] = tuple(_cases())


def fine_tuned(data: Path) -> Iterator[Case]:
    """Fine-tuning of the shipped ResNet8 as the standard has it; minutes."""
    change = _modification("fine-tuning", network="resnet8", data=str(data), epochs=1, threads=1)
    yield Case("fine-tuning, E = 1", change, {"fine-tuned": None}, _CHANGED | {"missing", "added"})
