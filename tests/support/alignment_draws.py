"""How often p-values are small under wrong keys after a candidate was brought into a reference's order."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxnnw.candidate import Anchors
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import Writing, draft_watermark
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods import nct
from onnxnnw.methods.base import Candidate, Judgement
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.positions import PositionPlan
from onnxnnw.records.record import Record
from onnxnnw.statistics import log10_of_either
from onnxnnw.verification.ordered import reference as own_copy
from tests.support import calibration_networks as networks
from tests.support.disguises import eight_bits

__all__ = ["CANDIDATES", "SHAPES", "WAYS", "Draws", "wrong_keys"]

SHAPES: Mapping[str, tuple[int, ...]] = {"a": (16, 3, 3, 3), "b": (24, 16, 3, 3), "c": (32, 24, 3, 3), "fc": (10, 32)}
"""A chain of convolutions: each draw aligns it anew, so it is small."""

WAYS = ("added", "replaced", "replaced, mark left in")
"""How marks are written; in the last the reference keeps the wrong key's mark, which is what must not be done."""

POSITIONS = 256


Weights = networks.Weights


def permuted(weights: Weights, rng: np.random.Generator) -> Weights:
    """Every hidden width in another order."""
    out = dict(weights)
    for one, other in pairwise(SHAPES):
        order = rng.permutation(len(out[one]))
        out[one], out[other] = out[one][order], out[other][:, order]
    return out


def rescaled(weights: Weights, rng: np.random.Generator) -> Weights:
    """Every hidden channel multiplied by a positive number, which its reader divides by."""
    out = dict(weights)
    for one, other in pairwise(SHAPES):
        factors = np.exp(0.8 * rng.standard_normal(len(out[one]))).astype(np.float32)
        out[one] = out[one] * factors[:, None, None, None]
        out[other] = out[other] / factors.reshape(1, -1, *[1] * (out[other].ndim - 2))
    return out


def with_dummies(weights: Weights, rng: np.random.Generator) -> Weights:
    """A quarter more channels of arbitrary values in every hidden width, whose contributions cancel in pairs."""
    out = dict(weights)
    for one, other in pairwise(SHAPES):
        makes, reads = out[one], out[other]
        count = max(1, len(makes) // 8)
        new = (makes.std() * rng.standard_normal((count, *makes.shape[1:]))).astype(np.float32)
        back = (reads.std() * rng.standard_normal((len(reads), count, *reads.shape[2:]))).astype(np.float32)
        out[one], out[other] = np.concatenate([makes, new, new]), np.concatenate([reads, back, -back], 1)
    return permuted(out, rng)


def _noisy(weights: Weights, rng: np.random.Generator) -> Weights:
    moved = {n: a + 0.3 * a.std() * rng.standard_normal(a.shape) for n, a in permuted(weights, rng).items()}
    return {n: a.astype(np.float32) for n, a in moved.items()}


CANDIDATES = {
    "the unmarked original, permuted": permuted,
    "another key's copy, permuted and rescaled": lambda original, rng: rescaled(
        permuted(_marked(original, 99), rng), rng
    ),
    "another key's copy, permuted, in 8 bits": lambda original, rng: eight_bits(
        permuted(_marked(original, 99), rng), rng
    ),
    "the original with dummies": with_dummies,
    "the original, permuted, noise of .3": _noisy,
    "a stranger": lambda original, rng: networks.trained_weights(7, SHAPES),
    "a stranger in 2 bits": lambda original, rng: {
        n: (np.sign(a) * a.std()).astype(np.float32) for n, a in networks.trained_weights(8, SHAPES).items()
    },
}
"""What a wrong key is held against: made from the original without that key, or from nothing of it."""


def saved(weights: Weights, path: Path) -> Path:
    """The chain as a file."""
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()]
    nodes, value = [], "image"
    for name in list(weights)[:-1]:
        nodes += [
            helper.make_node("Conv", [value, name], [f"{name}.conv"], pads=[1] * 4),
            helper.make_node("Relu", [f"{name}.conv"], [f"{name}.out"]),
        ]
        value = f"{name}.out"
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc"], ["scores"], transB=1),
    ]
    ends = (
        helper.make_tensor_value_info("image", 1, ["n", 3, 32, 32]),
        helper.make_tensor_value_info("scores", 1, ["n", 10]),
    )
    graph = helper.make_graph(nodes, "chain", [ends[0]], [ends[1]], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def _marked(weights: networks.Weights, secret: int) -> networks.Weights:
    """Half of a standard deviation at 300 places: somebody else's mark."""
    rng = np.random.default_rng(secret)
    out = {name: array.copy() for name, array in weights.items()}
    for array in out.values():
        places = rng.choice(array.size, min(40, array.size // 4), replace=False)
        array.reshape(-1)[places] += (0.5 * array.std() * rng.standard_normal(places.size)).astype(np.float32)
    return out


@dataclass(frozen=True)
class Draws:
    """What came of wrong keys.

    Attributes:
        way, candidate: What was drawn.
        log10_p: Of the strict test with both views paid for, as the verdict has it before it is multiplied by readings and records.
        raw: Of the values alone, one reading.
        traced: How many were called traced at 1e-6.
    """

    way: str
    candidate: str
    log10_p: NDArray[np.float64]
    raw: NDArray[np.float64]
    traced: int


def wrong_keys(
    folder: Path, way: str, names: list[str], keys: int, values: int = 1, first: int = 10_000
) -> Iterator[Draws]:
    """Candidates under wrong keys, through the code that verification runs.

    What aligned may depend on a key's positions and on nothing else of it; so for each key that draws positions the candidate is
    aligned once, and then judged under so many keys that draw values.

    Args:
        folder: Where networks are written.
        way: One of ``WAYS``; in the last, what aligned holds the values, so each is aligned anew.
        names: Of ``CANDIDATES``.
        keys: How many keys draw positions.
        values: How many keys draw values, for each of these.
        first: The first of them.
    """
    original = networks.trained_weights(0, SHAPES)
    for name in names:
        candidate = CANDIDATES[name](original, np.random.default_rng(5))
        with ExitStack() as opened:
            own = opened.enter_context(open_network(saved(original, folder / "reference.onnx")))
            other = opened.enter_context(open_network(saved(candidate, folder / "candidate.onnx")))
            view, reference = find_slots(other), own_copy.Reference(own)
            if way == WAYS[2]:
                opened.enter_context(mock.patch.object(own_copy, "without_mark", _mark_left_in))
            # nothing is hashed anew for each key
            opened.enter_context(mock.patch.object(reference, "basis", return_value=own_copy.BOUND))
            log10_p, raw, traced = np.empty((keys, values)), np.empty((keys, values)), 0
            for number in range(keys):
                writing = Writing("added" if way == "added" else "replaced")
                record = draft_watermark(reference.view, networks.key(first + number), POSITIONS, Owner(), writing)
                anchors = Anchors(record)
                aligned = reference.aligned(record, anchors, view, 1)
                assert aligned is not None
                for again in range(values):
                    with _values_of(networks.key(10**6 * again + first + number)) if values > 1 else nullcontext():
                        views = [view.log10_p for view in nct.views(record, aligned.weights)]
                        if again == 0:
                            judgement = _judged(record, anchors, aligned)
                    raw[number, again] = views[0]
                    log10_p[number, again] = log10_of_either(min(views), 2)
                    traced += log10_p[number, again] <= -6
                    assert again or judgement.association.log10_p == log10_p[number, 0]
        yield Draws(way, name, log10_p.reshape(-1), raw.reshape(-1), traced)


def _values_of(key: Key) -> AbstractContextManager[object]:
    """Marks take their values from another key."""

    def normals(record: Record, plan: PositionPlan) -> NDArray[np.float64]:
        return key.stream("nct/values", record.values_context).normals(plan.positions.size)

    return mock.patch.object(nct, "expected_numbers", normals)


def _judged(record: Record, anchors: Anchors, aligned: own_copy.Aligned) -> Judgement:
    """What the method says of a candidate in the reference's order."""
    candidate = Candidate(aligned.weights, lambda: anchors.reads(aligned.weights), _nothing)
    return nct.NCT().judge(record, candidate, -6.0)


def _nothing(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    return inputs


def _mark_left_in(record: Record, anchors: Anchors, number: int, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The marked copy as it is."""
    out = array.copy().reshape(-1)
    plan = anchors.plan
    out[plan.of(number)] = nct.mark_values(record, plan)[plan.slots == number]
    return out.reshape(array.shape)
