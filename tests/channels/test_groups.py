"""Channel groups: what moves together, what must stay, and that nothing is moved that would change an answer."""

from itertools import chain
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxnnw.channels.changing import moved, multiplied
from onnxnnw.channels.groups import Groups, find_groups
from onnxnnw.channels.tags import Change
from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.network_file.file import open_network
from onnxnnw.network_file.patch import rewritten, write_patched
from onnxnnw.runtime import open_runtime
from tests.support.networks import model_of, save, weight

ATTENTION = 4


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    """A node from the names of its inputs, separated by spaces."""
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def network(nodes: list, weights: list, *shape: int) -> onnx.ModelProto:
    """A network with one input of this shape."""
    model = model_of(nodes, weights)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, shape))
    return model


def integers(name: str, *values: int) -> onnx.TensorProto:
    """Whole numbers."""
    return onnx.numpy_helper.from_array(np.array(values, np.int64), name)


def conv(number: int, out: int, channels: int, kernel: int = 3) -> list[onnx.TensorProto]:
    """Weight and bias of a convolution."""
    return [
        weight(f"w{number}", out, channels, kernel, kernel, seed=number),
        weight(f"b{number}", out, seed=50 + number),
    ]


STRUCTURES = {
    "residual": network(
        [
            node("Conv", "x w0 b0", "a", pads=[1] * 4),
            node("Relu", "a", "r"),
            node("Conv", "r w1 b1", "c", pads=[1] * 4),
            node("Add", "c r", "s"),
            node("LeakyRelu", "s", "t"),
            node("Conv", "t w2 b2", "y"),
        ],
        [*conv(0, 8, 3), *conv(1, 8, 8), *conv(2, 4, 8)],
        1, 3, 8, 8,
    ),
    "depthwise": network(
        [
            node("Conv", "x w0 b0", "a"),
            node("Relu", "a", "b"),
            node("Conv", "b w1 b1", "c", group=8),
            node("PRelu", "c slope", "d"),
            node("GlobalAveragePool", "d", "e"),
            node("Flatten", "e", "f"),
            node("Gemm", "f w2 b2", "y", transB=1),
        ],
        [*conv(0, 8, 3), *conv(1, 8, 1), weight("slope", 8, 1, 1), weight("w2", 5, 8), weight("b2", 5)],
        1, 3, 9, 9,
    ),
    "grouped": network(
        [node("Conv", "x w0 b0", "a"), node("Relu", "a", "b"), node("Conv", "b w1 b1", "c", group=2), node("Relu", "c", "d"),
         node("Conv", "d w2 b2", "y")],
        [*conv(0, 8, 3), *conv(1, 12, 4), *conv(2, 3, 12)],
        1, 3, 9, 9,
    ),
    "joined and flattened": network(
        [
            node("Conv", "x w0 b0", "a"),
            node("Conv", "x w1 b1", "b"),
            node("Concat", "a b x0", "c", axis=1),
            node("Slice", "x zero seven two", "x0"),
            node("Relu", "c", "d"),
            node("MaxPool", "d", "e", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", "e", "f"),
            node("MatMul", "f w2", "y"),
        ],
        [*conv(0, 6, 3), *conv(1, 5, 3), weight("w2", 14 * 9, 4), integers("zero", 0, 0), integers("seven", 7, 7),
         integers("two", 2, 3)],
        1, 3, 9, 9,
    ),
    "attention": network(
        [
            *(node("MatMul", f"x w{n}", f"p{n}") for n in range(3)),
            *(node("Reshape", f"p{n} heads", f"h{n}") for n in range(3)),
            *(node("Transpose", f"h{n}", f"t{n}", perm=[0, 2, 1, 3]) for n in (0, 2)),
            node("Transpose", "h1", "t1", perm=[0, 2, 3, 1]),
            node("MatMul", "t0 t1", "s"),
            node("Softmax", "s", "q", axis=-1),
            node("MatMul", "q t2", "v"),
            node("Transpose", "v", "u", perm=[0, 2, 1, 3]),
            node("Reshape", "u flat", "z"),
            node("MatMul", "z w3", "y"),
        ],
        [*(weight(f"w{n}", 16, 16, seed=n) for n in range(3)), weight("w3", 16, 6, seed=9), integers("heads", 0, 0, 4, 4),
         integers("flat", 0, 0, 16)],
        1, 5, 16,
    ),
    "tied": network(
        [node("MatMul", "x w0", "a"), node("Relu", "a", "b"), node("MatMul", "b w0", "c"), node("Relu", "c", "d"),
         node("MatMul", "d w1", "y")],
        [weight("w0", 12, 12), weight("w1", 12, 4)],
        1, 12,
    ),
    "halves that are unlike": network(
        [
            node("MatMul", "x w0", "a"),
            node("Gather", "a first", "l", axis=1),
            node("Gather", "a second", "r", axis=1),
            node("Tanh", "l", "t"),
            node("Mul", "t r", "m"),
            node("MatMul", "m w1", "y"),
        ],
        [weight("w0", 6, 8), weight("w1", 4, 3), integers("first", 0, 3, 4, 7), integers("second", 1, 2, 5, 6)],
        1, 6,
    ),
    "normalised": network(
        [
            node("MatMul", "x w0", "a"),
            node("LayerNormalization", "a g b", "n", axis=-1),
            node("Gelu", "n", "e"),
            node("MatMul", "e w1", "c"),
            node("Add", "c a", "s"),
            node("ReduceMean", "s last", "mean"),
            node("Sub", "s mean", "d"),
            node("MatMul", "d w2", "y"),
        ],
        [weight("w0", 6, 8), weight("g", 8, scale=1), weight("b", 8, seed=3), weight("w1", 8, 8, seed=4), weight("w2", 8, 3),
         integers("last", -1)],
        1, 2, 6,
    ),
    "biases that are expanded from a number": network(
        [
            node("CastLike", "nought x", "typed"),
            node("Shape", "w0", "asked", start=0, end=1),
            node("Expand", "asked one", "length"),
            node("Expand", "typed length", "b0"),
            node("Conv", "x w0 b0", "a"),
            node("Clip", "a typed", "b"),
            node("Expand", "half eight", "b1"),
            node("Conv", "b w1 b1", "c"),
            node("Relu", "c", "d"),
            node("Expand", "typed flat", "more"),
            node("Add", "d more", "e"),
            node("Conv", "e w2", "y"),
        ],
        [weight("w0", 6, 3, 3, 3), weight("w1", 8, 6, 3, 3, seed=1), weight("w2", 4, 8, 1, 1, seed=2), integers("one", 1),
         integers("eight", 8), integers("flat", 8, 5, 5), onnx.numpy_helper.from_array(np.array(0, np.float32), "nought"),
         onnx.numpy_helper.from_array(np.array([0.5], np.float32), "half")],
        1, 3, 9, 9,
    ),
}  # fmt: skip
STRUCTURES["joined and flattened"].graph.node.insert(0, STRUCTURES["joined and flattened"].graph.node.pop(3))


def changed(path: Path, change: Change, seed: int = 0) -> tuple[Groups, Path]:
    """Everything that can be changed is."""
    rng, out = np.random.default_rng(seed), path.with_name(f"{change.name}.onnx")
    with open_network(path, for_writing=True) as opened:
        groups = find_groups(opened, change)
        if change is Change.ORDER:
            order: dict[int, int] = {}
            for group in groups.groups:
                order |= dict(zip(group.channels, np.roll(group.channels, 1).tolist(), strict=True))
            changes = moved(groups, order)
        else:
            draw = (
                (lambda: float(rng.uniform(0.3, 3))) if change is Change.SCALE else (lambda: float(rng.choice([-1, 1])))
            )
            changes = multiplied(groups, {channel: draw() for channel in groups.channels})
        write_patched(opened, out, chain.from_iterable(rewritten(t, [v.reshape(-1)]) for t, v in changes))
    return groups, out


@pytest.mark.parametrize("change", Change, ids=lambda change: change.name)
@pytest.mark.parametrize("name", STRUCTURES)
def test_whatever_is_changed_the_answer_stays(name, change, tmp_path):
    """The law: of every structure, and of every change."""
    path = save(STRUCTURES[name], tmp_path / "net.onnx")
    _, out = changed(path, change)
    shape = [d.dim_value for d in STRUCTURES[name].graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    before, after = (open_runtime(each).run({"x": x})["y"] for each in (path, out))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=2e-6 * max(1.0, float(np.abs(before).max())))


@pytest.mark.parametrize(
    ("name", "change", "channels"),
    [
        ("residual", Change.ORDER, 8),
        ("residual", Change.SCALE, 8),
        ("residual", Change.SIGN, 0),
        ("depthwise", Change.ORDER, 8),
        ("depthwise", Change.SCALE, 16),
        ("depthwise", Change.SIGN, 0),
        ("grouped", Change.ORDER, 20),
        ("joined and flattened", Change.ORDER, 11),
        ("joined and flattened", Change.SCALE, 11),
        ("attention", Change.ORDER, 32),
        ("attention", Change.SIGN, 32),
        ("attention", Change.SCALE, 16),
        ("biases that are expanded from a number", Change.ORDER, 14),
        ("biases that are expanded from a number", Change.SCALE, 0),
        ("normalised", Change.ORDER, 8),
        ("normalised", Change.SIGN, 0),
    ],
)
def test_as_many_channels_are_found_as_there_are(name, change, channels, tmp_path):
    """Counted by hand; what a ReLU follows has no sign, queries and keys have no factor that this looks for."""
    with open_network(save(STRUCTURES[name], tmp_path / "net.onnx"), for_writing=True) as opened:
        assert len(find_groups(opened, change).channels) == channels


def test_heads_and_groups_are_not_left(tmp_path):
    """Channels of four heads are four groups for queries with keys, and four for values."""
    with open_network(save(STRUCTURES["attention"], tmp_path / "net.onnx"), for_writing=True) as opened:
        assert [len(group.channels) for group in find_groups(opened, Change.ORDER).groups] == [4] * 8


def test_what_is_not_understood_is_left_alone_and_counted(tmp_path):
    """An operator without a rule keeps the channels of everything that it touches."""
    model = network(
        [node("MatMul", "x w0", "a"), node("CumSum", "a one", "b"), node("MatMul", "b w1", "c"), node("Relu", "c", "d"),
         node("MatMul", "d w2", "y")],
        [weight("w0", 6, 8), weight("w1", 8, 7), weight("w2", 7, 2), onnx.numpy_helper.from_array(np.array(1), "one")],
        1, 6,
    )  # fmt: skip
    with open_network(save(model, tmp_path / "net.onnx"), for_writing=True) as opened:
        groups = find_groups(opened, Change.ORDER)
    assert (len(groups.channels), groups.left_alone, groups.strange) == (7, 10, ["CumSum"])


def test_nodes_in_an_impossible_order_are_refused(tmp_path):
    """Else a reader would be seen before what it reads."""
    model = network([node("Relu", "a", "y"), node("MatMul", "x w0", "a")], [weight("w0", 6, 8)], 1, 6)
    path, words = save(model, tmp_path / "net.onnx"), "in an order in which they cannot run"
    with open_network(path, for_writing=True) as opened, pytest.raises(UnsupportedNetwork, match=words):
        find_groups(opened, Change.ORDER)
