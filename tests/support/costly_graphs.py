"""Graphs that are built to cost time or memory, and what may be said of each."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper

from tests.support.networks import dense, field, model_of, point_outside, tensor, varint, weight

__all__ = ["CASES", "Build", "alike"]

GRAPH, NODE, INITIALIZER, INPUT = 7, 1, 5, 11
HEADER = field(1, 10) + field(8, field(2, 21))
Build = Callable[[Path], bytes]


def raw_model(graph: bytes, more: bytes = b"") -> bytes:
    return HEADER + field(GRAPH, graph) + more


def a_node(op: str, inputs: list[str], outputs: list[str]) -> bytes:
    return field(
        NODE, b"".join(field(1, i.encode()) for i in inputs) + b"".join(field(2, o.encode()) for o in outputs)
        + field(4, op.encode()),
    )  # fmt: skip


def port(number: int, name: str) -> bytes:
    return field(number, field(1, name.encode()))


def function_bytes(name: str, inputs: list[str], outputs: list[str], nodes: bytes) -> bytes:
    """FunctionProto: name 1, input 4, output 5, node 7 (here given as graph nodes), opset 9, domain 10."""
    ports = b"".join(field(4, i.encode()) for i in inputs) + b"".join(field(5, o.encode()) for o in outputs)
    return field(25, field(1, name.encode()) + ports + nodes + field(9, field(2, 21)) + field(10, b"l"))


def a_call(name: str, inputs: list[str], outputs: list[str]) -> bytes:
    ports = b"".join(field(1, i.encode()) for i in inputs) + b"".join(field(2, o.encode()) for o in outputs)
    return ports + field(4, name.encode()) + field(7, b"l")


def recursive(folder: Path) -> bytes:
    """A function that calls itself."""
    body = field(7, a_call("f", ["a"], ["b"]))
    return raw_model(
        field(NODE, a_call("f", ["x"], ["y"])) + port(INPUT, "x") + port(12, "y"),
        function_bytes("f", ["a"], ["b"], body),
    )


def in_a_circle(folder: Path) -> bytes:
    """Two functions that call each other."""
    functions = b"".join(
        function_bytes(f, ["a"], ["b"], field(7, a_call(g, ["a"], ["b"]))) for f, g in (("f", "g"), ("g", "f"))
    )
    return raw_model(field(NODE, a_call("f", ["x"], ["y"])) + port(INPUT, "x") + port(12, "y"), functions)


def doubling(folder: Path) -> bytes:
    """Fifty functions, each calling the next one twice: 2**50 nodes."""
    functions = []
    for k in range(50):
        called = f"f{k + 1}"
        body = field(7, a_call(called, ["a"], ["t"])) + field(7, a_call(called, ["t"], ["b"]))
        functions.append(function_bytes(f"f{k}", ["a"], ["b"], body))
    functions.append(function_bytes("f50", ["a"], ["b"], field(7, a_node("Relu", ["a"], ["b"])[2:])))
    graph = field(NODE, a_call("f0", ["x"], ["y"])) + port(INPUT, "x") + port(12, "y")
    return raw_model(graph, b"".join(functions))


def wide_calls(folder: Path) -> bytes:
    """A node with many inputs in a function that is called often: their product in values."""
    wide = b"".join(field(1, b"a") for _ in range(50_000)) + field(2, b"b") + field(4, b"Sum")
    function = function_bytes("f", ["a"], ["b"], field(7, wide))
    calls = b"".join(field(NODE, a_call("f", [f"v{k}"], [f"v{k + 1}"])) for k in range(20_000))
    return raw_model(calls + port(INPUT, "v0") + port(12, "v20000"), function)


def copied_constants(folder: Path) -> bytes:
    """A function with a constant of 100,000 varints, called 20,000 times."""
    proto = TensorProto(data_type=TensorProto.INT64, dims=[100_000], int64_data=[1] * 100_000).SerializeToString()
    constant = field(2, b"c") + field(4, b"Constant") + field(5, field(1, b"value") + field(5, proto) + field(20, 4))
    function = function_bytes("f", ["a"], ["b"], field(7, constant) + field(7, a_node("Add", ["a", "c"], ["b"])[2:]))
    calls = b"".join(field(NODE, a_call("f", [f"v{k}"], [f"v{k + 1}"])) for k in range(20_000))
    return raw_model(calls + port(INPUT, "v0") + port(12, "v20000"), function)


def copied_graphs(folder: Path) -> bytes:
    """A function with a branch of 20,000 tensors that hold nothing, called 20,000 times."""
    tensors = b"".join(
        field(5, TensorProto(name=f"{k}", data_type=1, dims=[0]).SerializeToString()) for k in range(20_000)
    )
    branch = field(6, tensors + field(12, field(1, b"0")))
    either = b"".join(field(5, field(1, name) + branch + field(20, 5)) for name in (b"then_branch", b"else_branch"))
    function = function_bytes("f", ["a"], ["b"], field(7, a_node("If", ["a"], ["b"])[2:] + either))
    calls = b"".join(field(NODE, a_call("f", [f"v{k}"], [f"v{k + 1}"])) for k in range(20_000))
    return raw_model(calls + port(INPUT, "v0") + port(12, "v20000"), function)


def unread_calls(folder: Path) -> bytes:
    """A function named like a runtime's operator with four megabytes in its body, called 20,000 times."""
    proto = TensorProto(data_type=TensorProto.INT64, dims=[4_000_000], int64_data=[1] * 4_000_000).SerializeToString()
    constant = field(2, b"r") + field(4, b"Constant") + field(5, field(1, b"value") + field(5, proto) + field(20, 4))
    ports = field(1, b"Gelu") + field(4, b"a") + field(5, b"r") + field(9, field(2, 21)) + field(10, b"com.microsoft")
    calls = b"".join(
        field(NODE, field(1, f"v{k}".encode()) + field(2, f"v{k + 1}".encode()) + field(4, b"Gelu") + field(7, b"com.microsoft"))
        for k in range(20_000)
    )  # fmt: skip
    return raw_model(calls + port(INPUT, "v0") + port(12, "v20000"), field(25, ports + field(7, constant)))


def many_empty_nodes(folder: Path) -> bytes:
    """Two bytes each."""
    return raw_model(field(NODE, b"") * 1_900_000)


def as_many_nodes_as_may_be(folder: Path) -> bytes:
    """Just below the limit, and as small as a node with an output can be."""
    return raw_model(b"".join(field(NODE, field(2, f"{k:x}".encode())) for k in range(130_000)) + port(12, "a"))


def many_inputs(folder: Path) -> bytes:
    """Looking each one up in a list of all would take hours."""
    return raw_model(b"".join(port(INPUT, f"i{k}") for k in range(200_000)) + port(12, "i7"))


def one_wide_node(folder: Path) -> bytes:
    """A Sum of a million values."""
    return raw_model(
        field(NODE, field(1, b"x") * 1_000_000 + field(2, b"y") + field(4, b"Sum")) + port(INPUT, "x") + port(12, "y")
    )


def long_name(folder: Path) -> bytes:
    """Names inside a node repeat its name: ten megabytes for each of five thousand values."""
    inner = b"".join(a_node("Relu", ["x"], [f"r{k}"]) for k in range(5000)) + port(12, "r1")
    body = field(1, b"then_branch") + field(6, inner) + field(20, 5)
    node = field(1, b"x") + field(2, b"y") + field(3, b"n" * 10_000_000) + field(4, b"If") + field(5, body)
    return raw_model(field(NODE, node) + port(INPUT, "x") + port(12, "y"))


def many_dims(folder: Path) -> bytes:
    """A tensor of ten million dimensions."""
    return raw_model(field(INITIALIZER, b"\x08\x01" * 1_900_000 + field(2, 1) + field(8, b"w")))


def many_varints(folder: Path) -> bytes:
    """Thirty million values at one byte each."""
    proto = varint(1 << 3) + varint(30_000_000) + field(2, 7) + field(8, b"w") + field(7, b"\x01" * 30_000_000)
    return raw_model(field(INITIALIZER, proto))


def claims(folder: Path) -> bytes:
    """A weight of 1e12 elements behind an Expand, another behind ConstantOfShape, Tile and Range."""
    nodes = [
        helper.make_node("Expand", ["w", "shape"], ["e"]),
        helper.make_node("MatMul", ["x", "e"], ["h1"]),
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("MatMul", ["h1", "c"], ["h2"]),
        helper.make_node("Tile", ["w", "reps"], ["t"]),
        helper.make_node("MatMul", ["h2", "t"], ["y"]),
    ]
    shape = np.array([10**6, 10**3, 64, 64])
    tensors = [weight("w", 64, 64), tensor("shape", shape), tensor("reps", np.array([10**5, 10**5]))]
    return model_of(nodes, tensors).SerializeToString()


def growing(folder: Path) -> bytes:
    """Each step of a constant is four times as large: (n, 1) * (1, 4), flattened, thirty times."""
    nodes, value = [], "w"
    for k in range(30):
        nodes.append(helper.make_node("Mul", [value, "four"], [f"m{k}"]))
        nodes.append(helper.make_node("Reshape", [f"m{k}", "column"], [f"c{k}"]))
        value = f"c{k}"
    nodes += [helper.make_node("Reshape", [value, "square"], ["s"]), helper.make_node("MatMul", ["x", "s"], ["y"])]
    tensors = [
        weight("w", 4096, 1), weight("four", 1, 4, seed=1), tensor("column", np.array([-1, 1])),
        tensor("square", np.array([64, -1])),
    ]  # fmt: skip
    return model_of(nodes, tensors).SerializeToString()


def squaring(folder: Path) -> bytes:
    """Mul(x, x) two hundred times: 2**200 operations for who evaluates each use."""
    nodes = [helper.make_node("Mul", [f"s{k}", f"s{k}"], [f"s{k + 1}"]) for k in range(200)]
    nodes.append(helper.make_node("MatMul", ["x", "s200"], ["y"]))
    return model_of(nodes, [weight("s0", 64, 64)]).SerializeToString()


def long_chain(folder: Path) -> bytes:
    """A hundred thousand transposes of one constant."""
    chain = b"".join(a_node("Transpose", [f"t{k}"], [f"t{k + 1}"]) for k in range(100_000))
    proto = field(INITIALIZER, weight("t0", 64, 64).SerializeToString())
    return raw_model(chain + a_node("MatMul", ["x", "t100000"], ["y"]) + proto + port(INPUT, "x") + port(12, "y"))


def ladder(folder: Path) -> bytes:
    """Twenty thousand sums of two products, each a product of the former ones."""
    nodes = []
    for k in range(20_000):
        nodes.append(a_node("Mul", [f"v{k}", "s"], [f"a{k}"]) + a_node("Add", [f"a{k}", f"v{k}"], [f"v{k + 1}"]))
    proto = field(INITIALIZER, tensor("s", np.float32(0.5)).SerializeToString())
    return raw_model(b"".join(nodes) + proto + port(INPUT, "v0") + port(12, "v20000"))


def many_masks(folder: Path, waves: bool = False) -> bytes:
    """Two thousand products with constants of a million elements that all lie in the same place: zeros, or a wave."""
    values = np.sin(np.arange(2**20) * 0.1) if waves else np.zeros(2**20)
    (folder / "mask.bin").write_bytes(values.astype("<f4").tobytes())
    protos, nodes = [], []
    for k in range(2000):
        proto = TensorProto(name=f"m{k}", data_type=TensorProto.FLOAT, dims=[2**20])
        point_outside(proto, "mask.bin", 0, 4 * 2**20)
        protos.append(field(INITIALIZER, proto.SerializeToString()))
        nodes.append(a_node("Mul", [f"v{k}", f"m{k}"], [f"a{k}"]) + a_node("Add", ["x", f"a{k}"], [f"v{k + 1}"]))
    return raw_model(b"".join(nodes + protos) + port(INPUT, "v0") + port(INPUT, "x") + port(12, "v2000"))


def alike(count: int, copies: bool, width: int = 64) -> Build:
    """Thousands of weights of the shape that the record looks for, all the same or all different."""

    def build(folder: Path) -> bytes:
        size = 4 * width * width
        values = np.random.default_rng(3).normal(0, 0.1, (1 if copies else count) * width * width)
        (folder / "w.bin").write_bytes(values.astype("<f4").tobytes())
        parts = []
        for k in range(count):
            proto = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[width, width])
            point_outside(proto, "w.bin", 0 if copies else k * size, size)
            parts.append(field(INITIALIZER, proto.SerializeToString()))
            parts.append(a_node("MatMul", [f"v{k}", f"w{k}"], [f"v{k + 1}"]))
        return raw_model(b"".join(parts) + port(INPUT, "v0") + port(12, f"v{count}"))

    return build


def not_numbers(value: float) -> Build:
    """The victim's layers, filled with something that is no number."""

    def build(folder: Path) -> bytes:
        model = dense(width=64)
        for proto in model.graph.initializer:
            proto.raw_data = np.full(len(proto.raw_data) // 4, value, "<f4").tobytes()
        return model.SerializeToString()

    return build


def strange_scales(folder: Path) -> bytes:
    """Scales of infinity and NaN, a zero point of another type, an axis from nowhere."""
    integers = tensor("q", np.random.default_rng(0).integers(-9, 9, (64, 64)).astype("i1"))
    nodes: list[NodeProto] = []
    value = "x"
    scales = [np.full(64, np.inf, "f4"), np.full(64, np.nan, "f4"), np.zeros((3, 3), "f4"), np.zeros(0, "f4")]
    for k, _ in enumerate(scales):
        nodes += [
            helper.make_node("DequantizeLinear", ["q", f"s{k}"], [f"w{k}"], axis=[1, 1, 0, 77][k]),
            helper.make_node("MatMul", [value, f"w{k}"], [f"h{k}"]),
        ]
        value = f"h{k}"
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    return model_of(nodes, [integers, *(tensor(f"s{k}", s) for k, s in enumerate(scales))]).SerializeToString()


def strange_axes(folder: Path) -> bytes:
    """Squeeze of a scalar, Unsqueeze with one axis twice, Reshape to a negative or huge shape, a bad permutation."""
    axes = {"twice": [0, 0], "far": [99, -99], "huge": [2**62, 0], "negative": [-1, -1], "none": []}
    nodes, value = [], "x"
    for k, (op, axis) in enumerate(
        [("Unsqueeze", "twice"), ("Unsqueeze", "far"), ("Squeeze", "far"), ("Reshape", "huge"), ("Reshape", "negative"),
         ("Reshape", "none"), ("Squeeze", "twice")]
    ):  # fmt: skip
        source = "one" if k == 6 else "w"
        nodes.append(helper.make_node(op, [source, axis], [f"c{k}"]))
        nodes.append(helper.make_node("MatMul", [value, f"c{k}"], [f"h{k}"]))
        value = f"h{k}"
    nodes.append(helper.make_node("Transpose", ["w"], ["bad"], perm=[0, 0]))
    nodes.append(helper.make_node("ConvTranspose", [value, "w"], ["g"], group=0))
    nodes.append(helper.make_node("MatMul", ["g", "bad"], ["y"]))
    tensors = [
        weight("w", 64, 64),
        tensor("one", np.float32(1)),
        *(tensor(n, np.array(a, "i8")) for n, a in axes.items()),
    ]
    return model_of(nodes, tensors).SerializeToString()


def joined(folder: Path) -> bytes:
    """One weight joined to itself sixty-four times, and that again, and sliced and chosen from."""
    nodes, value = [], "w"
    for k in range(6):
        nodes.append(helper.make_node("Concat", [value] * 64, [f"j{k}"], axis=0))
        value = f"j{k}"
    for k, source in enumerate(("j0", "j1", "j5")):
        nodes.append(helper.make_node("MatMul", ["x" if k == 0 else f"h{k - 1}", source], [f"h{k}"]))
    nodes += [
        helper.make_node("Gather", ["w", "many"], ["chosen"], axis=0),
        helper.make_node("MatMul", ["h2", "chosen"], ["h3"]),
        helper.make_node("Slice", ["w", "far", "further", "zero", "back"], ["sliced"]),
        helper.make_node("MatMul", ["h3", "sliced"], ["y"]),
    ]
    tensors = [weight("w", 256, 256), tensor("many", np.zeros(10**6, "i8")), tensor("zero", np.array([0]))]
    tensors += [
        tensor("far", np.array([2**62])),
        tensor("further", np.array([-(2**62)])),
        tensor("back", np.array([-1])),
    ]
    return model_of(nodes, tensors).SerializeToString()


def reduced(folder: Path) -> bytes:
    """Norms of norms: every element of the last one asks for all elements of all others."""
    nodes, value = [], "w"
    for k in range(40):
        nodes.append(helper.make_node("ReduceL2", [value], [f"n{k}"], keepdims=0))
        nodes.append(helper.make_node("Div", ["w", f"n{k}"], [f"d{k}"]))
        value = f"d{k}"
    nodes.append(helper.make_node("MatMul", ["x", value], ["y"]))
    return model_of(nodes, [weight("w", 1024, 1024)]).SerializeToString()


def sparse_claims(folder: Path) -> bytes:
    """A hundred values in a matrix of 1e12 elements; indices outside, twice, and as many as the file can hold."""
    model = model_of([], [])
    value = "x"
    cases = [
        ([0, 5], [10**6, 10**6]), ([0, 4096], [64, 64]), ([7, 7], [64, 64]), ([-5, 3], [64, 64]), ([0, 1], [2**40, -1]),
        (list(range(10**6)), [1000, 1000]), ([0, 1], [2**62, 2**62]), ([0, 1], []),
    ]  # fmt: skip
    for k, (indices, dims) in enumerate(cases):
        sparse = helper.make_sparse_tensor(
            tensor(f"s{k}", np.ones(len(indices), "f4")), tensor(f"i{k}", np.array(indices, "i8")), [1]
        )
        sparse.dims[:] = dims
        model.graph.sparse_initializer.append(sparse)
        model.graph.node.append(helper.make_node("MatMul", [value, f"s{k}"], [f"h{k}"]))
        value = f"h{k}"
    model.graph.node.append(helper.make_node("Identity", [value], ["y"]))
    return model.SerializeToString()


def packed_claims(folder: Path) -> bytes:
    """Packed operators whose attributes promise more than their bytes hold."""
    claims = [
        ("MatMulNBits", {"N": 2**40, "K": 2**40, "bits": 4, "block_size": 16}),
        ("MatMulNBits", {"N": -64, "K": -64, "bits": 4, "block_size": 16}),
        ("MatMulNBits", {"N": 64, "K": 64, "bits": 4, "block_size": 2**62}),
        ("MatMulNBits", {"N": 64, "K": 1, "bits": 8, "block_size": 64}),
        ("MatMulBnb4", {"N": 2**31, "K": 2**31, "block_size": 64, "quant_type": 1}),
        ("MatMulBnb4", {"N": 64, "K": 128, "block_size": 1, "quant_type": 7}),
        ("GatherBlockQuantized", {"quantize_axis": -99, "block_size": 3, "bits": 4}),
    ]
    nodes, value = [], "x"
    for k, (op, given) in enumerate(claims):
        inputs = ["q", "i", "s"] if op.startswith("Gather") else [value, "q", "s"]
        nodes.append(helper.make_node(op, inputs, [f"h{k}"], domain="com.microsoft", **given))
        value = f"h{k}"
    nodes.append(helper.make_node("Conv", [value, "q"], ["c"], domain="com.microsoft.nchwc", group=0))
    nodes.append(helper.make_node("Attention", ["c", "q", ""], ["y"], domain="com.microsoft", num_heads=0))
    tensors = [
        tensor("q", np.zeros((64, 64), "u1")),
        tensor("s", np.ones((64, 1), "f4")),
        tensor("i", np.zeros(3, "i8")),
    ]
    return model_of(nodes, tensors, domains=("com.microsoft", "com.microsoft.nchwc")).SerializeToString()


def long_tail(folder: Path) -> bytes:
    """Weights that are each followed by thousands of products with constants, shared and not."""
    nodes = []
    for k in range(200):
        nodes.append(a_node("MatMul", [f"v{k}", f"w{k}"], [f"h{k}.0"]))
        nodes += [a_node("Mul", [f"h{k}.{m}", "s"], [f"h{k}.{m + 1}"]) for m in range(100)]
        nodes.append(a_node("Relu", [f"h{k}.100"], [f"v{k + 1}"]))
    values = np.random.default_rng(5).normal(0, 0.1, 64 * 64 * 200).astype("<f4")
    (folder / "w.bin").write_bytes(values.tobytes())
    for k in range(200):
        proto = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[64, 64])
        point_outside(proto, "w.bin", k * 64 * 64 * 4, 64 * 64 * 4)
        nodes.append(field(INITIALIZER, proto.SerializeToString()))
    nodes.append(field(INITIALIZER, tensor("s", np.full(64, -1.01, "f4")).SerializeToString()))
    return raw_model(b"".join(nodes) + port(INPUT, "v0") + port(12, "v200"))


def many_readings(count: int) -> Build:
    """Merged weights in which the record's slots might stand anywhere, and blocked ones that might hold them."""

    def build(folder: Path) -> bytes:
        size = 4 * 2048 * 64
        (folder / "w.bin").write_bytes(
            np.random.default_rng(3).normal(0, 0.1, 2048 * 64 * count).astype("<f4").tobytes()
        )
        nodes, tensors, value = [], [], "x"
        for k in range(count):
            proto = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[64, 2048])
            if k % 2:
                proto.dims[:] = [2048, 64, 1, 1]
            point_outside(proto, "w.bin", k * size, size)
            tensors.append(proto)
            op, domain = ("Conv", "com.microsoft.nchwc") if k % 2 else ("MatMul", "")
            nodes.append(helper.make_node(op, [value, f"w{k}"], [f"v{k}"], domain=domain))
            value = f"v{k}"
        nodes.append(helper.make_node("Identity", [value], ["y"]))
        return model_of(nodes, tensors, domains=("com.microsoft.nchwc",)).SerializeToString()

    return build


REFUSED = {"UnreadableNetwork", "UnreadableExternalData"}
JUDGED = {"not traced", "inconclusive"}
CASES: dict[str, tuple[Build, set[str]]] = {
    "recursive function": (recursive, REFUSED),
    "functions in a circle": (in_a_circle, REFUSED),
    "doubling functions": (doubling, REFUSED),
    "wide calls": (wide_calls, REFUSED),
    "copied constants": (copied_constants, REFUSED),
    "copied graphs": (copied_graphs, REFUSED),
    "unread calls": (unread_calls, JUDGED),
    "empty nodes": (many_empty_nodes, REFUSED),
    "as many nodes as may be": (as_many_nodes_as_may_be, JUDGED),
    "many inputs": (many_inputs, JUDGED),
    "one wide node": (one_wide_node, JUDGED),
    "long name": (long_name, JUDGED),
    "many dimensions": (many_dims, REFUSED),
    "many varints": (many_varints, REFUSED | JUDGED),
    "claims of 1e12 elements": (claims, JUDGED),
    "growing constants": (growing, JUDGED),
    "squaring constants": (squaring, JUDGED),
    "a long chain": (long_chain, JUDGED),
    "a ladder of sums": (ladder, JUDGED),
    "many masks": (many_masks, JUDGED),
    "many waves": (partial(many_masks, waves=True), JUDGED),
    "3,000 copies": (alike(3000, True), JUDGED),
    "3,000 alike": (alike(3000, False), JUDGED),
    "NaN": (not_numbers(np.nan), JUDGED),
    "infinity": (not_numbers(np.inf), JUDGED),
    "large numbers": (not_numbers(3e38), JUDGED),
    "constant": (not_numbers(0.25), JUDGED),
    "strange scales": (strange_scales, JUDGED),
    "strange axes": (strange_axes, JUDGED),
    "joined to itself": (joined, JUDGED),
    "norms of norms": (reduced, JUDGED),
    "sparse claims": (sparse_claims, JUDGED | REFUSED),
    "packed claims": (packed_claims, JUDGED),
    "long tails": (long_tail, JUDGED),
    "many readings": (many_readings(200), JUDGED),
}
