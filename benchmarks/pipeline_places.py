"""Tools that leave values alone and put them elsewhere: other files, names, functions, branches, parts of a network."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.pipeline_tools import RUNTIME_IR, Job, tool


@tool("version converter")
def _version(job: Job) -> None:
    from onnx import version_converter

    model = job.load()
    current = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    job.save(version_converter.convert_version(model, current + 2))


@tool("external data")
def _external(job: Job) -> None:
    model = job.load()
    model.ir_version = min(model.ir_version, RUNTIME_IR)
    onnx.save(model, job.out, save_as_external_data=True, location=f"{job.out.name}.data", size_threshold=1024)


@tool("compose prefix")
def _prefix(job: Job) -> None:
    from onnx import compose

    job.save(compose.add_prefix(job.load(), "deployed/"))


@tool("initializers to Constant")
def _to_constant(job: Job) -> None:
    model = job.load()
    nodes = [_constant(tensor) for tensor in model.graph.initializer]
    nodes += list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    job.save(model)


def _constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [tensor.name], value=tensor)


@tool("local function, weights as arguments")
def _function_arguments(job: Job) -> None:
    _as_function(job, inside=False)


@tool("local function, weights inside")
def _function_inside(job: Job) -> None:
    _as_function(job, inside=True)


def _as_function(job: Job, inside: bool) -> None:
    model = job.load()
    graph = model.graph
    tensors = list(graph.initializer)
    names = [value.name for value in graph.input if value.name not in {tensor.name for tensor in tensors}]
    nodes = [*map(_constant, tensors), *graph.node] if inside else list(graph.node)
    arguments = names if inside else [*names, *(tensor.name for tensor in tensors)]
    outputs = [value.name for value in graph.output]
    function = helper.make_function("deployed", "Network", arguments, outputs, nodes, list(model.opset_import))
    del graph.node[:], graph.value_info[:]
    graph.node.append(helper.make_node("Network", arguments, outputs, domain="deployed"))
    if inside:
        del graph.initializer[:]
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("deployed", 1))
    job.save(model)


@tool("If body")
def _if_body(job: Job) -> None:
    model = job.load()
    graph = model.graph
    (output,) = graph.output
    inner = helper.make_graph(
        list(graph.node), "network", [], [helper.make_empty_tensor_value_info(output.name)], list(graph.initializer)
    )
    zeros = [
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array([1], np.int64), "one")),
        helper.make_node("ConstantOfShape", ["one"], ["nothing"]),
    ]
    other = helper.make_graph(zeros, "nothing", [], [helper.make_empty_tensor_value_info("nothing")])
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info("wanted", TensorProto.BOOL, []))
    name = f"{output.name}_of_if"
    graph.node.append(helper.make_node("If", ["wanted"], [name], then_branch=inner, else_branch=other))
    output.name = name
    job.save(model)


@tool("sparse initializers")
def _sparse(job: Job) -> None:
    model = job.load()
    kept = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim < 2 or values.dtype != np.float32:
            kept.append(tensor)
            continue
        places = np.flatnonzero(values)
        content = numpy_helper.from_array(values.reshape(-1)[places], tensor.name)
        index = numpy_helper.from_array(places.astype(np.int64), f"{tensor.name}_index")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(content, index, values.shape))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    job.save(model)


@tool("initializers are inputs")
def _inputs(job: Job) -> None:
    model = job.load()
    present = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in present:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    job.save(model)


@tool("sub-model", "part")
def _part(job: Job) -> None:
    """Everything up to the weight-consuming node three quarters of the way."""
    model = onnx.shape_inference.infer_shapes(job.load())
    weighty = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")]
    extractor = onnx.utils.Extractor(model)
    job.save(extractor.extract_model([model.graph.input[0].name], [weighty[3 * len(weighty) // 4].output[0]]))
