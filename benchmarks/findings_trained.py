"""Small networks that were really trained, and what training, rescaling and rounding make of them: cases for the findings.

Images of ten prototypes with noise; their border is always zero, so some weights never get a gradient, and some units are
dead. Weights travel between the file and the module by name, so that a marked file is trained on as its user would.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from benchmarks.findings_cases import Case, Change
from benchmarks.layered import Layer, file_of, loaded, module_of

__all__ = ["CASES", "NETWORKS", "build", "trained_on"]

SIDE, BORDER, CLASSES, IMAGES, BATCH = 8, 1, 10, 512, 32

NETWORKS: Mapping[str, tuple[Layer, ...]] = {
    "dense": (
        ("flatten", 0, 0), ("dense", SIDE * SIDE, 96), ("relu", 0, 0), ("dense", 96, 64), ("relu", 0, 0), ("dense", 64, CLASSES),
    ),
    "convolutions": (
        ("conv", 1, 16), ("relu", 0, 0), ("conv", 16, 24), ("relu", 0, 0), ("conv", 24, 32), ("relu", 0, 0), ("pool", 0, 0),
        ("dense", 32, CLASSES),
    ),
    "normalised": (
        ("conv", 1, 16), ("norm", 16, 0), ("relu", 0, 0), ("conv", 16, 32), ("norm", 32, 0), ("relu", 0, 0), ("conv", 32, 32),
        ("norm", 32, 0), ("relu", 0, 0), ("pool", 0, 0), ("dense", 32, CLASSES),
    ),
}  # fmt: skip

DEAD = 0.6
"""Share of the units behind a ReLU that a very negative bias keeps at zero; in ``dense`` and ``convolutions``."""


def _images(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Prototypes of every class, the same for all seeds, with noise; nothing in the border."""
    prototypes = np.random.default_rng(0).standard_normal((CLASSES, SIDE, SIDE))
    rng = np.random.default_rng(1 + seed)
    labels = rng.integers(0, CLASSES, IMAGES)
    images = prototypes[labels] + 1.5 * rng.standard_normal((IMAGES, SIDE, SIDE))
    images[:, :BORDER], images[:, -BORDER:], images[:, :, :BORDER], images[:, :, -BORDER:] = 0, 0, 0, 0
    return images[:, None].astype(np.float32), labels


def _train(module: Any, optimiser: str, rate: float, steps: int, seed: int, only: int | None = None) -> None:
    """Train in place; ``only`` leaves all but the last so many parameters as they are."""
    import torch

    torch.manual_seed(seed)
    images, labels = (torch.from_numpy(array) for array in _images(seed))
    torch.set_num_threads(1)  # several at once have only work with each other
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    chosen = parameters if only is None else parameters[-only:]
    made = {
        "SGD": lambda: torch.optim.SGD(chosen, rate),
        "momentum": lambda: torch.optim.SGD(chosen, rate, momentum=0.9, weight_decay=5e-4),
        "Adam": lambda: torch.optim.Adam(chosen, rate),
        "AdamW": lambda: torch.optim.AdamW(chosen, rate),
    }
    stepper = made[optimiser]()
    module.train(only is None)
    for _ in range(steps):
        batch = torch.randint(len(images), (BATCH,))
        stepper.zero_grad()
        torch.nn.functional.cross_entropy(module(images[batch]), labels[batch]).backward()
        stepper.step()


def build(name: str, out: Path, seed: int, steps: int = 120) -> Path:
    """A network of this name, trained from initial values of its own, as a file."""
    import torch

    torch.manual_seed(seed)
    module = module_of(NETWORKS[name])
    if name != "normalised":
        for layer in list(module)[:-1]:
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                dead = torch.rand(len(layer.bias)) < DEAD
                layer.bias.data[dead] = -50
    _train(module, "Adam", 3e-3, steps, seed)
    onnx.save(file_of(NETWORKS[name], module, (1, SIDE, SIDE)), out)
    return out


def _loaded(model: onnx.ModelProto) -> Any:
    for layers in NETWORKS.values():
        module = loaded(layers, model)
        if module is not None:
            return module
    raise ValueError("none of the networks that are trained here")


def trained_on(optimiser: str, rate: float, steps: int, only: int | None = None) -> Change:
    """A change of a file: so many more steps."""

    def change(source: Path, out: Path, seed: int) -> None:
        model = onnx.load(source)
        module = _loaded(model)
        _train(module, optimiser, rate, steps, 100 + seed, only)
        state = module.state_dict()
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(state[tensor.name].detach().numpy().copy(), tensor.name))
        onnx.save(model, out)

    return change


def _arrays(change: Any) -> Change:
    """A change of the stored arrays, all at once: name -> array, generator."""

    def apply_to(source: Path, out: Path, seed: int) -> None:
        model = onnx.load(source)
        arrays = {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
        change(arrays, np.random.default_rng(seed))
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name].astype(np.float32), tensor.name))
        onnx.save(model, out)

    return apply_to


def _weights(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    return [name for name, array in arrays.items() if array.ndim > 1]


def rescaled(share: float, size: float) -> Change:
    """A share of the channels between two layers multiplied before and divided after, as a ReLU lets pass."""

    def change(arrays: dict[str, NDArray[Any]], rng: np.random.Generator) -> None:
        names = _weights(arrays)
        for before, after in pairwise(names):
            if (
                before.replace("weight", "running_mean") in arrays
                or f"{int(before.split('.')[0]) + 1}.running_mean" in arrays
            ):
                continue  # a normalisation stands between them
            count = len(arrays[before])
            factors = np.where(rng.random(count) < share, np.exp(size * rng.standard_normal(count)), 1.0)
            arrays[before] = arrays[before] * factors.reshape(-1, *[1] * (arrays[before].ndim - 1))
            arrays[before.replace("weight", "bias")] = arrays[before.replace("weight", "bias")] * factors
            arrays[after] = arrays[after] / factors.reshape(1, -1, *[1] * (arrays[after].ndim - 2))

    return _arrays(change)


def _round_trip(bits: int, axis: int | None, symmetric: bool) -> Change:
    """Quantised and back, stored as floats again: one scale per layer, or per channel."""

    def change(arrays: dict[str, NDArray[Any]], rng: np.random.Generator) -> None:
        for name in _weights(arrays):
            array = arrays[name]
            over = None if axis is None else tuple(a for a in range(array.ndim) if a != axis)
            low = np.minimum(array.min(axis=over, keepdims=True), 0)
            high = np.maximum(array.max(axis=over, keepdims=True), 0)
            if symmetric:
                scale = np.maximum(-low, high) / (2 ** (bits - 1) - 1)
                zero: Any = 0.0
            else:
                scale = (high - low) / (2**bits - 1)
                zero = np.round(-low / np.where(scale > 0, scale, 1))
            scale = np.where(scale > 0, scale, 1)
            arrays[name] = (np.round(array / scale + zero) - zero) * scale

    return _arrays(change)


def _pruned(share: float, by_size: bool) -> Change:
    def change(arrays: dict[str, NDArray[Any]], rng: np.random.Generator) -> None:
        for name in _weights(arrays):
            size = np.abs(arrays[name]) if by_size else rng.random(arrays[name].shape)
            arrays[name] = np.where(size < np.quantile(size, share), 0, arrays[name])

    return _arrays(change)


def _then(*changes: Change) -> Change:
    def change(source: Path, out: Path, seed: int) -> None:
        place = source
        for number, one in enumerate(changes):
            target = out if number == len(changes) - 1 else out.with_name(f"step-{number}.onnx")
            one(place, target, seed)
            place = target

    return change


def _few_rows(source: Path, out: Path, seed: int) -> None:
    """One channel in twenty of every layer gets other values: units that were drawn anew."""

    def change(arrays: dict[str, NDArray[Any]], rng: np.random.Generator) -> None:
        for name in _weights(arrays):
            for row in np.flatnonzero(rng.random(len(arrays[name])) < 0.05):
                arrays[name][row] = arrays[name].std() * rng.standard_normal(arrays[name][row].shape)

    _arrays(change)(source, out, seed)


_TUNED = frozenset({"values changed", "fine-tuned", "parameters changed"})
_RESCALED = frozenset(
    {"values changed", "scaled per channel", "scaled", "rescaled", "parameters changed", "recomputed", "unchanged"}
)
_ROUNDED = frozenset({"values changed", "rounded", "lattice"})
_SPARSE = frozenset({"values changed"})
SCHEDULES = (
    *(("SGD", rate, steps) for rate, steps in ((1e-3, 1), (1e-2, 30), (1e-1, 100))),
    *(("momentum", rate, steps) for rate, steps in ((1e-3, 30), (1e-2, 100))),
    *(("Adam", rate, steps) for rate, steps in ((1e-4, 1), (1e-3, 1), (1e-3, 2), (1e-4, 30), (1e-3, 30), (1e-3, 200), (1e-2, 100))),
    *(("AdamW", rate, steps) for rate, steps in ((1e-4, 1), (1e-3, 5), (1e-3, 100), (5e-3, 100))),
)  # fmt: skip


def _cases() -> Iterator[Case]:
    for optimiser, rate, steps in SCHEDULES:
        yield Case(
            f"{optimiser}, rate {rate:g}, {steps} steps", trained_on(optimiser, rate, steps), {}, _TUNED | {"unchanged"}
        )
    yield Case("only the head, Adam", trained_on("Adam", 1e-3, 100, 2), {}, _TUNED | {"missing", "added", "unchanged"})
    for share, size in ((1.0, 0.3), (1.0, 1.0), (0.5, 1.0), (0.05, 1.0)):
        yield Case(f"rescaled, {share:.0%} of the channels, {size:g}", rescaled(share, size), {}, _RESCALED)
    for bits, axis, symmetric in (
        (8, None, False),
        (8, 0, True),
        (8, 1, True),
        (8, 0, False),
        (4, 0, True),
        (4, None, True),
    ):
        per = "layer" if axis is None else f"axis {axis}"
        name = f"quantised and back, {bits} bits{', symmetric' if symmetric else ''}, per {per}"
        yield Case(name, _round_trip(bits, axis, symmetric), {}, _ROUNDED)
    for share in (0.5, 0.75, 0.9):
        yield Case(f"smallest {share:.0%} pruned", _pruned(share, True), {"pruned": share}, _SPARSE)
        yield Case(f"random {share:.0%} pruned", _pruned(share, False), {"pruned": share}, _SPARSE)
    both = _then(_pruned(0.5, True), trained_on("SGD", 1e-2, 30))
    yield Case("pruned, then trained on", both, {}, _TUNED | {"pruned"})
    yield Case(
        "pruned 50 %, then 8 bits and back",
        _then(_pruned(0.5, True), _round_trip(8, 0, True)),
        {},
        _ROUNDED | {"pruned"},
    )
    yield Case(
        "trained on, then rescaled", _then(trained_on("Adam", 1e-3, 30), rescaled(1.0, 1.0)), {}, _TUNED | _RESCALED
    )
    yield Case("some channels drawn anew", _few_rows, {}, frozenset({"values changed", "unchanged"}))


CASES: tuple[Case, ...] = tuple(_cases())
