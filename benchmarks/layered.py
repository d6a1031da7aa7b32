"""Networks that are a list of layers: as a module that is trained, and as a file whose weights travel back by name."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Layer", "file_of", "loaded", "module_of"]

Layer = tuple[str, int, int]
"""Kind, channels in, channels out."""

_OPERATORS = {
    "flatten": "Flatten",
    "dense": "Gemm",
    "conv": "Conv",
    "norm": "BatchNormalization",
    "relu": "Relu",
    "halve": "MaxPool",
    "pool": "GlobalAveragePool",
}
_WEIGHTED = ("dense", "conv", "norm")
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "dense": {"transB": 1},
    "conv": {"pads": [1] * 4},
    "halve": {"kernel_shape": [2, 2], "strides": [2, 2]},
}


def module_of(layers: tuple[Layer, ...]) -> Any:
    """The network in torch, with initial weights."""
    from torch import nn

    made = {
        "flatten": lambda i, o: nn.Flatten(),
        "dense": lambda i, o: nn.Linear(i, o),
        "conv": lambda i, o: nn.Conv2d(i, o, 3, padding=1),
        "norm": lambda i, o: nn.BatchNorm2d(i),
        "relu": lambda i, o: nn.ReLU(),
        "halve": lambda i, o: nn.MaxPool2d(2),
        "pool": lambda i, o: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    }
    return nn.Sequential(*(made[kind](i, o) for kind, i, o in layers))


def file_of(layers: tuple[Layer, ...], module: Any, shape: tuple[int, ...]) -> onnx.ModelProto:
    """The module as ONNX, each parameter under the module's name for it.

    Args:
        layers, module: The network.
        shape: Of one input.
    """
    nodes: list[onnx.NodeProto] = []
    value = "image"
    for number, (kind, _, _) in enumerate(layers):
        names = [f"{number}.weight", f"{number}.bias"]
        out = [f"p{number}" if kind == "pool" else f"v{number}"]
        if kind == "norm":
            names += [f"{number}.running_mean", f"{number}.running_var"]
        given = [value, *(names if kind in _WEIGHTED else [])]
        nodes.append(helper.make_node(_OPERATORS[kind], given, out, **_ATTRIBUTES.get(kind, {})))
        if kind == "pool":
            nodes.append(helper.make_node("Flatten", [f"p{number}"], [f"v{number}"]))
        value = f"v{number}"
    tensors = [
        numpy_helper.from_array(parameter.detach().numpy().copy(), name)
        for name, parameter in module.state_dict().items()
        if parameter.ndim
    ]
    graph = helper.make_graph(
        nodes,
        "trained",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", layers[-1][2]])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def loaded(layers: tuple[Layer, ...], model: onnx.ModelProto) -> Any:
    """A module with the weights of a file; None where that is of another network."""
    import torch

    present = {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    module = module_of(layers)
    state = module.state_dict()
    kept = {name: value for name, value in state.items() if value.ndim}
    if kept.keys() != present.keys() or any(tuple(kept[name].shape) != present[name].shape for name in kept):
        return None
    module.load_state_dict({**state, **{name: torch.from_numpy(value) for name, value in present.items()}})
    return module
