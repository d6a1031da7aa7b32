"""Small networks of every structure that ONNX has, which the structure-aware fuzz starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from tests.support.networks import convolutional, dense, model_of, subgraph, tensor, weight

__all__ = ["SEEDS", "Seed"]

node = helper.make_node


@dataclass(frozen=True)
class Seed:
    """A network, and the shape and element type of what its caller gives, by name."""

    model: ModelProto
    feeds: Mapping[str, tuple[tuple[int, ...], str]]


def port(name: str, kind: int = TensorProto.FLOAT, shape: Sequence[int] | None = None) -> ValueInfoProto:
    """An input or output of a body."""
    return helper.make_tensor_value_info(name, kind, shape)


def recurrent() -> Seed:
    """An LSTM whose sequence of states nobody reads, and a layer behind it."""
    nodes = [
        node("LSTM", ["x", "W", "R", "B"], ["", "h"], hidden_size=24),
        node("Squeeze", ["h", "zero"], ["s"]),
        node("MatMul", ["s", "w"], ["y"]),
    ]
    tensors = [
        *(weight("W", 1, 96, 16, seed=1), weight("R", 1, 96, 24, seed=2), weight("B", 1, 192, seed=3)),
        *(tensor("zero", np.array([0])), weight("w", 24, 32, seed=4)),
    ]
    return Seed(model_of(nodes, tensors), {"x": ((5, 2, 16), "f4")})


def attention() -> Seed:
    """A block with a mask that the caller gives, a residual and a normalisation."""
    nodes = [
        node("LayerNormalization", ["x", "gamma", "beta"], ["n"], axis=-1),
        *(node("MatMul", ["n", name], [name[1]]) for name in ("wq", "wk", "wv")),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"]),
        node("Constant", [], ["scale"], value=tensor("", np.array(0.18, "f4"))),
        node("Mul", ["scores", "scale"], ["scaled"]),
        node("Add", ["scaled", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["p"], axis=-1),
        node("MatMul", ["p", "v"], ["mixed"]),
        node("MatMul", ["mixed", "wo"], ["o"]),
        node("Add", ["o", "x"], ["y"]),
    ]
    tensors = [
        *(weight(name, 32, 32, seed=number) for number, name in enumerate(("wq", "wk", "wv", "wo"))),
        *(tensor("gamma", np.linspace(0.5, 1.5, 32, dtype="f4")), weight("beta", 32, seed=8)),
    ]
    model = model_of(nodes, tensors, inputs=("x", "mask"))
    return Seed(model, {"x": ((2, 6, 32), "f4"), "mask": ((2, 1, 6), "f4")})


def branching() -> Seed:
    """An If on a condition that the caller gives; both branches hold weights, and one reads a value from outside."""
    then_branch = subgraph("t", [node("MatMul", ["h", "wt"], ["t"])], ["t"], weight("wt", 32, 32, seed=1))
    inside = [node("MatMul", ["x", "we"], ["e1"]), node("Add", ["e1", "h"], ["e"])]
    else_branch = subgraph("e", inside, ["e"], weight("we", 32, 32, seed=2))
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("If", ["c"], ["i"], then_branch=then_branch, else_branch=else_branch),
        node("Relu", ["i"], ["y"]),
    ]
    model = model_of(nodes, [weight("w", 32, 32)])
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return Seed(model, {"x": ((4, 32), "f4"), "c": ((), "?")})


def looping() -> Seed:
    """Three trips around a layer that stands outside the body."""
    inside = [
        node("Identity", ["c"], ["c2"]),
        node("MatMul", ["v", "w"], ["m"]),
        node("Tanh", ["m"], ["t"]),
        node("Add", ["v", "t"], ["v2"]),
    ]
    counted = [port("i", TensorProto.INT64, []), port("c", TensorProto.BOOL, []), port("v")]
    body = helper.make_graph(inside, "l", counted, [port("c2", TensorProto.BOOL, []), port("v2")])
    nodes = [node("Loop", ["trips", "", "x"], ["l1"], body=body), node("MatMul", ["l1", "out"], ["y"])]
    tensors = [tensor("trips", np.array(3)), weight("w", 32, 32), weight("out", 32, 32, seed=1)]
    return Seed(model_of(nodes, tensors), {"x": ((4, 32), "f4")})


def scanning() -> Seed:
    """A recurrent cell as a Scan over the rows of x."""
    inside = [
        node("MatMul", ["s", "u"], ["a"]),
        node("MatMul", ["r", "w"], ["b"]),
        node("Add", ["a", "b"], ["d"]),
        node("Tanh", ["d"], ["s2"]),
        node("Identity", ["s2"], ["row"]),
    ]
    given = [port("s", shape=(2, 32)), port("r", shape=(2, 16))]  # onnxruntime wants to know them
    body = helper.make_graph(inside, "s", given, [port(name, shape=(2, 32)) for name in ("s2", "row")])
    nodes = [
        node("Scan", ["s0", "x"], ["last", "rows"], body=body, num_scan_inputs=1),
        node("MatMul", ["rows", "out"], ["y"]),
    ]
    tensors = [
        *(weight("u", 32, 32), weight("w", 16, 32, seed=1), weight("out", 32, 32, seed=2)),
        tensor("s0", np.zeros((2, 32), "f4")),
    ]
    return Seed(model_of(nodes, tensors), {"x": ((5, 2, 16), "f4")})


def with_function() -> Seed:
    """A local function that is called twice, with another attribute each time, and hands it on to one that it calls."""
    inside = [node("LeakyRelu", ["a"], ["r"])]
    inside[0].attribute.add(name="alpha", ref_attr_name="slope", type=1)
    around = [node("Gemm", ["a", "w", "b"], ["g"]), node("bent", ["g"], ["r"], domain="local")]
    around[1].attribute.add(name="slope", ref_attr_name="slope", type=1)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    functions = [
        helper.make_function("local", "bent", ["a"], ["r"], inside, imports[:1], ["slope"]),
        helper.make_function("local", "layer", ["a", "w", "b"], ["r"], around, imports, ["slope"]),
    ]
    nodes = [
        node("layer", ["x", "w0", "b0"], ["h"], domain="local", slope=0.1),
        node("layer", ["h", "w1", "b1"], ["y"], domain="local", slope=0.5),
    ]
    tensors = [made for n in range(2) for made in (weight(f"w{n}", 32, 32, seed=n), weight(f"b{n}", 32, seed=5 + n))]
    return Seed(model_of(nodes, tensors, functions=functions, domains=["local"]), {"x": ((4, 32), "f4")})


def quantised() -> Seed:
    """A weight of eight bits behind DequantizeLinear, activations of eight bits, and a weight as it is."""
    rng = np.random.default_rng(0)
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        node("MatMul", ["xd", "w"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "f"], ["y"]),
    ]
    tensors = [
        *(tensor("xs", np.array(0.02, "f4")), tensor("xz", np.array(0, "i1"))),
        tensor("q", rng.integers(-99, 99, (32, 32)).astype("i1")),
        *(tensor("s", rng.uniform(0.001, 0.01, 32).astype("f4")), tensor("z", np.zeros(32, "i1"))),
        weight("f", 32, 32),
    ]
    return Seed(model_of(nodes, tensors), {"x": ((4, 32), "f4")})


def twofold() -> Seed:
    """Two inputs and two outputs of one shape, in that order only by their names."""
    nodes = [
        *(node("MatMul", ["x1", "w1"], ["a"]), node("MatMul", ["x2", "w2"], ["b"])),
        *(node("Sub", ["a", "b"], ["d"]), node("Relu", ["d"], ["y1"]), node("MatMul", ["d", "w3"], ["y2"])),
    ]
    tensors = [weight(f"w{number}", 32, 32, seed=number) for number in (1, 2, 3)]
    model = model_of(nodes, tensors, inputs=("x1", "x2"), outputs=("y1", "y2"))
    return Seed(model, {"x1": ((4, 32), "f4"), "x2": ((4, 32), "f4")})


SEEDS: Mapping[str, Seed] = {
    "dense": Seed(dense(), {"x": ((4, 48), "f4")}),
    "convolutional": Seed(convolutional(), {"x": ((2, 3, 8, 8), "f4")}),
    "recurrent": recurrent(),
    "attention": attention(),
    "branching": branching(),
    "looping": looping(),
    "scanning": scanning(),
    "function": with_function(),
    "quantised": quantised(),
    "twofold": twofold(),
}
