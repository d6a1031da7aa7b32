"""Files that hold tensors and no graph, as a network: each tensor is read by an operator of its own, and all are live.

What a tensor is for is not known, so a matrix is (rows, columns) as it is stored, anything larger a kernel, vectors are parameters.
Nothing multiplies anything else, so nothing is folded. Which way round a matrix lies in another file is decided by anchors, which
are not tested.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from onnxnnw.errors import UnreadableNetwork

__all__ = ["MAX_TENSORS", "Listed", "model_of"]

MAX_TENSORS = 500_000
_NORMS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Listed:
    """A tensor as a file without a graph lists it.

    Attributes:
        name: As the file has it.
        data_type: ONNX's number of the element type.
        shape: As the file has it.
        entries: Where its bytes are, as entries of external data.
    """

    name: str
    data_type: int
    shape: tuple[int, ...]
    entries: Mapping[str, str]


def model_of(tensors: Iterable[Listed]) -> ModelProto:
    """The network that reads each tensor once: inputs ``x:NAME``, outputs ``y:NAME``.

    Raises:
        UnreadableNetwork: There are too many.
    """
    listed = sorted(tensors, key=lambda tensor: tensor.name)  # the order in a file, and in how many, does not matter
    if len(listed) > MAX_TENSORS:
        raise UnreadableNetwork(f"more than {MAX_TENSORS:,} tensors")
    model = ModelProto(ir_version=10)
    model.opset_import.add(domain="", version=21)
    graph = model.graph
    graph.name = "tensors"
    by_name = {tensor.name: tensor for tensor in listed}
    taken: set[str] = set()
    for tensor in listed:
        proto = graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.shape)
        proto.data_location = TensorProto.EXTERNAL
        for key, value in tensor.entries.items():
            proto.external_data.add(key=key, value=value)
    for tensor in listed:
        if len(tensor.shape) >= 2:
            _weight(graph, tensor, by_name, taken)
    for tensor in listed:
        if len(tensor.shape) < 2 and tensor.name not in taken:
            _vector(graph, tensor, by_name, taken)
    values = {name for node in graph.node for name in (node.input[0], node.output[0])}
    if values & by_name.keys():
        raise UnreadableNetwork("a tensor is named like a value that depends on it")
    return model


def _node(graph: GraphProto, op: str, name: str, constants: list[str], **integers: int) -> NodeProto:
    graph.input.add(name=f"x:{name}").type.tensor_type.elem_type = TensorProto.FLOAT
    graph.output.add(name=f"y:{name}").type.tensor_type.elem_type = TensorProto.FLOAT
    node: NodeProto = graph.node.add(op_type=op, name=name, input=[f"x:{name}", *constants], output=[f"y:{name}"])
    for key, value in integers.items():
        node.attribute.add(name=key, type=2, i=value)
    return node


def _weight(graph: GraphProto, tensor: Listed, by_name: Mapping[str, Listed], taken: set[str]) -> None:
    """A matrix or a kernel, with the bias that is named like it."""
    constants = [tensor.name]
    stem, dot, last = tensor.name.rpartition(".")
    bias = by_name.get(f"{stem}{dot}bias") if last == "weight" else None
    if bias is not None and bias.shape == tensor.shape[:1]:
        constants.append(bias.name)
        taken.add(bias.name)
    if len(tensor.shape) == 2:
        _node(graph, "Gemm", tensor.name, constants, transB=1)
    else:
        _node(graph, "Conv", tensor.name, constants)


def _vector(graph: GraphProto, tensor: Listed, by_name: Mapping[str, Listed], taken: set[str]) -> None:
    """One number per channel; the four of a batch normalisation together."""
    stem, dot, _ = tensor.name.rpartition(".")
    four = [by_name.get(f"{stem}{dot}{name}") for name in _NORMS]
    names = [each.name for each in four if each is not None and each.shape == tensor.shape and each.name not in taken]
    if len(names) == len(_NORMS) and tensor.name in names:
        _node(graph, "BatchNormalization", tensor.name, names)
        taken.update(names)
        return
    _node(graph, "Add", tensor.name, [tensor.name])
    taken.add(tensor.name)
