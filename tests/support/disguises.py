"""Exact disguises of the small networks of ``calibration_networks``: the same function, channels elsewhere."""

from collections.abc import Callable

import numpy as np

from tests.support.calibration_networks import Array, Weights

__all__ = ["DISGUISES", "HIDDEN", "STREAMS", "dummies", "eight_bits", "permuted", "rescaled"]

STREAMS = (
    (("stem", "block1.conv2"), ("block1.conv1", "block2.conv1", "block2.shortcut")),
    (("block2.conv2", "block2.shortcut"), ("block3.conv1", "block3.shortcut")),
    (("block3.conv2", "block3.shortcut"), ("fc",)),
)
"""What writes into each residual stream, and what reads it."""

HIDDEN = tuple((f"block{n}.conv1", f"block{n}.conv2") for n in (1, 2, 3))
"""Widths inside a block: the weight that makes the channels, and the one that reads them."""


def permuted(weights: Weights, rng: np.random.Generator) -> Weights:
    """Every hidden width in another order."""
    out = dict(weights)
    for writers, readers in (*STREAMS, *(((one,), (other,)) for one, other in HIDDEN)):
        order = rng.permutation(len(out[f"{writers[0]}.weight"]))
        for name in writers:
            out[f"{name}.weight"] = out[f"{name}.weight"][order]
        for name in readers:
            out[f"{name}.weight"] = out[f"{name}.weight"][:, order]
    return out


def rescaled(weights: Weights, rng: np.random.Generator) -> Weights:
    """Every channel inside a block multiplied by a positive number, which its reader divides by."""
    out = dict(weights)
    for one, other in HIDDEN:
        factors = np.exp(0.8 * rng.standard_normal(len(out[f"{one}.weight"]))).astype(np.float32)
        out[f"{one}.weight"] = out[f"{one}.weight"] * factors[:, None, None, None]
        out[f"{other}.weight"] = out[f"{other}.weight"] / factors[None, :, None, None]
    return out


def dummies(weights: Weights, rng: np.random.Generator, share: float = 0.25) -> Weights:
    """Channels of arbitrary values whose contributions cancel in pairs, at random places inside each block."""
    out = dict(weights)
    for one, other in HIDDEN:
        makes, reads = out[f"{one}.weight"], out[f"{other}.weight"]
        count = max(1, round(share * len(makes) / 2))
        new = _like(makes, (count, *makes.shape[1:]), rng)
        back = _like(reads, (reads.shape[0], count, *reads.shape[2:]), rng)
        order = rng.permutation(len(makes) + 2 * count)
        out[f"{one}.weight"] = np.concatenate([makes, new, new])[order]
        out[f"{other}.weight"] = np.concatenate([reads, back, -back], 1)[:, order]
    return out


def _like(values: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return (values.std() * rng.standard_normal(shape)).astype(np.float32)


def eight_bits(weights: Weights, rng: np.random.Generator) -> Weights:
    """Every weight on 255 levels of its own."""
    steps = {name: np.abs(array).max() / 127 for name, array in weights.items()}
    return {name: (np.round(array / steps[name]) * steps[name]).astype(np.float32) for name, array in weights.items()}


DISGUISES: dict[str, Callable[[Weights, np.random.Generator], Weights]] = {
    "permuted": permuted,
    "permuted and rescaled": lambda weights, rng: rescaled(permuted(weights, rng), rng),
    "with dummies": dummies,
    "dummies, permuted and rescaled": lambda weights, rng: rescaled(permuted(dummies(weights, rng), rng), rng),
    "permuted, in 8 bits": lambda weights, rng: eight_bits(permuted(weights, rng), rng),
}
