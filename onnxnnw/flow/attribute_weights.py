"""Weights in the attributes of an operator: coefficients of linear models and support vectors [ai.onnx.ml].

They become inputs behind the node's own one, so that everything that reads weights finds them where weights are.
"""

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from onnxnnw.flow.nodes import Node
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["ATTRIBUTE_WEIGHTS", "attribute_weights", "read_attributes"]

ATTRIBUTE_WEIGHTS: dict[str, tuple[str, ...]] = {
    "LinearRegressor": ("coefficients",),
    "LinearClassifier": ("coefficients",),
    "SVMRegressor": ("support_vectors", "coefficients"),
    "SVMClassifier": ("support_vectors", "coefficients"),
}
"""Operator of ai.onnx.ml -> the attributes that stand as its inputs 1, 2 …"""


def read_attributes(node: Node) -> tuple[str, ...]:
    """Names of the attributes of a node that became inputs."""
    names = ATTRIBUTE_WEIGHTS.get(node.op, ()) if node.domain == "ai.onnx.ml" else ()
    return names if len(node.proto.input) == 1 and len(node.inputs) > 1 else ()


def attribute_weights(node: Node, name: str) -> Iterator[StoredTensor]:
    """What stands in a node's attributes as weights, in the order of ``ATTRIBUTE_WEIGHTS``.

    Args:
        node: A node of ai.onnx.ml with one input; of any other nothing is taken.
        name: Of the node's result: what is taken is called after it.

    Yields:
        Coefficients as [outputs, features], support vectors as [vectors, features], coefficients of support vectors as
        [classes - 1, vectors]; flat where the numbers do not fit each other.
    """
    if len(node.inputs) != 1:
        return
    given = node.attributes()
    for attribute in ATTRIBUTE_WEIGHTS[node.op]:
        values = np.array(given[attribute].floats[:] if attribute in given else [], "<f4")
        rows = _rows(node, attribute, len(values))
        shape = (rows, len(values) // rows) if rows > 0 and not len(values) % rows else (len(values),)
        yield StoredTensor(f"{name}.{attribute}", TensorProto.FLOAT, shape, "inline", inline=values)


def _rows(node: Node, attribute: str, amount: int) -> int:
    """Rows of what an attribute holds; 0 where nothing says it."""
    given = node.attributes()

    def length(name: str) -> int:
        return max(len(given[name].floats), len(given[name].ints), len(given[name].strings)) if name in given else 0

    labels = max(length("classlabels_ints"), length("classlabels_int64s"), length("classlabels_strings"))
    if node.op == "LinearRegressor":
        return node.integer("targets", 1)
    if node.op == "LinearClassifier":
        return length("intercepts") or labels
    vectors = (
        node.integer("n_supports", 0) if node.op == "SVMRegressor" else sum(node.integers("vectors_per_class") or ())
    )
    if attribute == "support_vectors":
        return max(0, vectors)
    if vectors > 0:  # pairs of classes share the coefficients of a vector
        return amount // vectors if not amount % vectors else 0
    return 1 if node.op == "SVMRegressor" else labels
