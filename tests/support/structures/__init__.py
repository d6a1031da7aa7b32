"""Mutations of a network's structure: what comes out is protobuf as it should be, and often a network that runs.

``mutated`` makes a file of a seed network and random numbers, for the same numbers the same one. A mutation changes the model
that it is given; where there is nothing that it could change it raises ``NotHere``, and another one is drawn. ``rewritten``
applies only what the canonical digest must not notice. A new mutation is one new function.
"""

import random
from collections.abc import Mapping

from onnx import ModelProto

from tests.support.structures import inside, nodes, ports, rewritings, tensors  # noqa: F401 (each adds its mutations)
from tests.support.structures.places import MUTATIONS, NEUTRAL, Mutation, NotHere

__all__ = ["MUTATIONS", "NEUTRAL", "NotHere", "mutated", "rewritten"]


def mutated(model: ModelProto, rng: random.Random) -> tuple[ModelProto, list[str]]:
    """A copy after one to four mutations, with their names."""
    return _applied(model, rng, MUTATIONS, rng.choice((1, 1, 2, 3, 4)))


def rewritten(model: ModelProto, rng: random.Random) -> tuple[ModelProto, list[str]]:
    """A copy after one to four rewritings, with their names."""
    return _applied(model, rng, NEUTRAL, rng.choice((1, 2, 3, 4)))


def _applied(
    model: ModelProto, rng: random.Random, among: Mapping[str, Mutation], count: int
) -> tuple[ModelProto, list[str]]:
    names: list[str] = []
    for _ in range(50):
        if len(names) == count:
            break
        name, trial = rng.choice(sorted(among)), ModelProto()
        trial.CopyFrom(model)
        try:
            among[name](trial, rng)
        except NotHere:
            continue
        model = trial
        names.append(name)
    return model, names
