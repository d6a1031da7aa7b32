"""A third of docs/measured/pipeline.md: real tools and chains, each row held against its target."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.pipeline import Enrolled, Row, row
from benchmarks.pipeline_chains import CHAINS, TOOLS, Transform, transforms
from benchmarks.pipeline_networks import NETWORKS
from benchmarks.pipeline_tools import KINDS

pytestmark = pytest.mark.slow

Shipped = Callable[[str], tuple[Enrolled, Path]]

FAST = {
    "resnet8": (
        "onnxsim|onnxslim|onnxscript|onnxoptimizer|ORT extended|ORT all|sparse initializers|If body|QDQ int8|"
        "QDQ int8 per channel|torch dynamo → QOperator int8 per channel|dynamic uint8|fp16 (onnxconverter-common)|"
        "local function, weights inside|sub-model"
    ).split("|"),
    "transformer": "onnxsim|BERT optimizer|ORT all|QDQ uint8|dynamic int8".split("|"),
}
"""What every run of the tests looks at; seconds."""


def third(network: str) -> list[Transform]:
    """Every third row of a network, another third for each, so that together they are all of the table."""
    start = list(NETWORKS).index(network)
    return [t for number, t in enumerate(transforms()) if t.applies(network) and number % 3 == start % 3]


FAST_ROWS = [(network, t) for network, names in FAST.items() for t in transforms() if t.name in names]
SLOW_ROWS = [(network, transform) for network in NETWORKS for transform in third(network)]


def name_of(value: object) -> str:
    """Readable test ids."""
    return value.name if isinstance(value, Transform) else str(value)


@pytest.mark.parametrize(("network", "transform"), FAST_ROWS, ids=name_of)
def test_a_tool_leaves_the_evidence(network: str, transform: Transform, shipped: Shipped) -> None:
    """Coverage, effect and verdict are as the kind of change allows, and no wrong record is traced."""
    check(looked_at(network, transform, shipped))


@pytest.mark.slow
@pytest.mark.parametrize(("network", "transform"), SLOW_ROWS, ids=name_of)
def test_tools_and_chains_leave_the_evidence(network: str, transform: Transform, shipped: Shipped) -> None:
    """The same for a third of the table."""
    check(looked_at(network, transform, shipped))


def looked_at(network: str, transform: Transform, shipped: Shipped) -> Row:
    """The row of the table, with the other networks' records as wrong ones."""
    enrolled, folder = shipped(network)
    other, _ = shipped("resnet8" if network != "resnet8" else "transformer")
    return row(enrolled, transform, [other.mark, other.fingerprint], folder)


def check(found: Row) -> None:
    """Skip where the tool fails, visibly; else the target must hold."""
    if found.failed.startswith("tool failed"):
        pytest.skip(found.failed)
    assert not found.failed
    assert not found.shortcoming


def test_there_are_ten_chains_and_every_tool_has_a_kind() -> None:
    """Chains are made of tools that also stand alone, and the laxest kind of a chain's steps is its own."""
    assert len(CHAINS) >= 10
    assert all(tool.kind in KINDS for tool in TOOLS.values())
    strictest = next(t for t in transforms() if t.name == "torch dynamo → onnxsim → QDQ int8 per channel")
    assert strictest.kind == "8 bits"


@pytest.mark.parametrize("name", ["resnet8", "transformer"])
def test_the_networks_are_inconvenient(name: str, shipped: Shipped) -> None:
    """Normalisation is far from the identity, a quarter of the gammas is negative, weights have heavy tails."""
    model = onnx.load(shipped(name)[0].marked)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    gammas = np.concatenate([v for n, v in tensors.items() if "norm" in n and n.endswith("weight")])
    assert 0.1 < np.mean(gammas < 0) < 0.4
    variances = [v for n, v in tensors.items() if n.endswith("running_var")]
    if variances:
        assert np.quantile(np.abs(np.log(np.concatenate(variances))), 0.5) > 0.5
    heads = [(v - v.mean()) / v.std() for n, v in tensors.items() if v.ndim > 1 and v.size > 1000 and "norm" not in n]
    assert np.mean([np.mean(v**4) for v in heads]) > 3.5
