"""What deployment does to a file: real tools, each by itself, and the chains in which they are used.

A tool reads one ONNX file and writes another. Its kind says what it may cost: the target of its rows in the table.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.pipeline_networks import HEADS, WIDTH, Subject, export, quiet, restored

__all__ = ["CHAINS", "KINDS", "TOOLS", "Job", "Tool", "ToolFailed", "Transform", "run_chain", "transforms"]

KINDS: Mapping[str, float] = {"values": 0.99, "16 bits": 0.99, "8 bits": 0.99, "4 bits": 0.97, "part": 0.9}
"""What may happen to values -> the share of the unmodified file's effect that must be left (in a part of the mark the effect
itself varies)."""

WITH_MATMUL = ("transformer",)
"""Weight-only quantisers touch MatMul alone; convolutional networks have none."""

RUNTIME_IR = 10
"""onnx writes newer IR versions than onnxruntime reads."""


@dataclass(frozen=True)
class Job:
    """One run of a tool: what it reads and where it writes."""

    subject: Subject
    source: Path
    out: Path

    def load(self) -> onnx.ModelProto:
        """The source, external data included."""
        return onnx.load(self.source)

    def save(self, model: onnx.ModelProto) -> None:
        """The result, as one file that onnxruntime reads."""
        model.ir_version = min(model.ir_version, RUNTIME_IR)
        onnx.save(model, self.out)


@dataclass(frozen=True)
class Tool:
    """A tool by itself.

    Attributes:
        name: As in the table, and in chains.
        kind: One of KINDS.
        run: Does it; any exception is the tool's failure.
        networks: Those it is made for; all where empty.
        after: The tool without which it finds nothing to do in an unmodified export, where Linear is Transpose and MatMul.
    """

    name: str
    kind: str
    run: Callable[[Job], None]
    networks: tuple[str, ...] = ()
    after: str = ""


TOOLS: dict[str, Tool] = {}


def _tool(
    name: str, kind: str = "values", networks: tuple[str, ...] = (), after: str = ""
) -> Callable[[Callable[[Job], None]], Any]:
    def register(run: Callable[[Job], None]) -> Callable[[Job], None]:
        TOOLS[name] = Tool(name, kind, run, networks, after)
        return run

    return register


# --- PyTorch, from the marked weights ---------------------------------------------------------------------------------


def _exported(job: Job, **settings: Any) -> None:
    export(job.subject, restored(job.subject, job.source), job.out, **settings)


@_tool("torch dynamo")
def _torch_dynamo(job: Job) -> None:
    _exported(job, dynamo=True, optimize=True)


@_tool("torch dynamo, optimize=False")
def _torch_plain(job: Job) -> None:
    _exported(job, dynamo=True, optimize=False)


@_tool("torch dynamo, external data")
def _torch_external(job: Job) -> None:
    _exported(job, dynamo=True, optimize=True, external_data=True)


@_tool("torch legacy")
def _torch_legacy(job: Job) -> None:
    _exported(job, dynamo=False)


@_tool("torch legacy, no folding")
def _torch_legacy_plain(job: Job) -> None:
    _exported(job, dynamo=False, do_constant_folding=False)


@_tool("torch legacy, opset 13")
def _torch_legacy_old(job: Job) -> None:
    _exported(job, dynamo=False, opset_version=13)


@_tool("torch bfloat16", "16 bits")
def _torch_bfloat16(job: Job) -> None:
    _exported_as(job, "bfloat16")


@_tool("torch float16", "16 bits")
def _torch_float16(job: Job) -> None:
    _exported_as(job, "float16")


def _exported_as(job: Job, name: str) -> None:
    import torch
    from torch import nn

    class Narrow(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner.to(getattr(torch, name))

        def forward(self, values: Any) -> Any:
            values = values.to(getattr(torch, name)) if values.is_floating_point() else values
            return self.inner(values).float()

    export(job.subject, Narrow(restored(job.subject, job.source)), job.out, dynamo=True, optimize=True)


# --- optimisers -------------------------------------------------------------------------------------------------------


@_tool("onnxsim")
def _onnxsim(job: Job) -> None:
    import onnxsim

    with quiet():
        model, good = onnxsim.simplify(job.load())
    if not good:
        raise RuntimeError("its own check of the result fails")
    job.save(model)


@_tool("onnxslim")
def _onnxslim(job: Job) -> None:
    import onnxslim

    with quiet():
        job.save(onnxslim.slim(job.load()))


@_tool("onnxscript")
def _onnxscript(job: Job) -> None:
    from onnxscript import optimizer

    with quiet():
        job.save(optimizer.optimize(job.load()))


@_tool("onnxoptimizer")
def _onnxoptimizer(job: Job) -> None:
    import onnxoptimizer

    with quiet():
        job.save(onnxoptimizer.optimize(job.load(), onnxoptimizer.get_fuse_and_elimination_passes()))


def _optimised(level: str) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(job.out)
        onnxruntime.InferenceSession(str(job.source), options, providers=["CPUExecutionProvider"])

    return run


_tool("ORT disabled")(_optimised("ORT_DISABLE_ALL"))
_tool("ORT basic")(_optimised("ORT_ENABLE_BASIC"))
_tool("ORT extended")(_optimised("ORT_ENABLE_EXTENDED"))
_tool("ORT layout")(_optimised("ORT_ENABLE_LAYOUT"))
_tool("ORT all")(_optimised("ORT_ENABLE_ALL"))


@_tool("BERT optimizer", networks=("transformer",))
def _bert(job: Job) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    with quiet():
        optimised = optimize_model(str(job.source), "bert", HEADS, WIDTH, opt_level=0)
        optimised.save_model_to_file(str(job.out))
    model = onnx.load(job.out)
    del model.graph.value_info[:]  # shapes of the three weights that it has merged into one
    job.save(model)


@_tool("onnx2torch and back", after="torch legacy, opset 13")
def _onnx2torch(job: Job) -> None:
    from onnxnnw.torchvision_package import import_torchvision

    import_torchvision()  # onnx2torch imports it too, and would fail where it does not match torch
    from onnx2torch import convert

    with quiet():
        module = convert(job.load()).eval()
        export(job.subject, module, job.out, dynamo=True)


# --- other places -----------------------------------------------------------------------------------------------------


@_tool("version converter")
def _version(job: Job) -> None:
    from onnx import version_converter

    model = job.load()
    current = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    job.save(version_converter.convert_version(model, current + 2))


@_tool("external data")
def _external(job: Job) -> None:
    model = job.load()
    model.ir_version = min(model.ir_version, RUNTIME_IR)
    onnx.save(model, job.out, save_as_external_data=True, location=f"{job.out.name}.data", size_threshold=1024)


@_tool("compose prefix")
def _prefix(job: Job) -> None:
    from onnx import compose

    job.save(compose.add_prefix(job.load(), "deployed/"))


@_tool("initializers to Constant")
def _to_constant(job: Job) -> None:
    model = job.load()
    nodes = [_constant(tensor) for tensor in model.graph.initializer]
    nodes += list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    job.save(model)


def _constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [tensor.name], value=tensor)


@_tool("local function, weights as arguments")
def _function_arguments(job: Job) -> None:
    _as_function(job, inside=False)


@_tool("local function, weights inside")
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


@_tool("If body")
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


@_tool("sparse initializers")
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


@_tool("initializers are inputs")
def _inputs(job: Job) -> None:
    model = job.load()
    present = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in present:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    job.save(model)


@_tool("sub-model", "part")
def _part(job: Job) -> None:
    """Everything up to the weight-consuming node three quarters of the way."""
    model = onnx.shape_inference.infer_shapes(job.load())
    weighty = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")]
    extractor = onnx.utils.Extractor(model)
    job.save(extractor.extract_model([model.graph.input[0].name], [weighty[3 * len(weighty) // 4].output[0]]))


# --- narrower types ---------------------------------------------------------------------------------------------------


@_tool("fp16 (onnxconverter-common)", "16 bits")
def _float16(job: Job) -> None:
    from onnxconverter_common import float16

    with quiet():
        job.save(float16.convert_float_to_float16(job.load(), keep_io_types=True))


@_tool("fp16 (onnxruntime)", "16 bits")
def _float16_runtime(job: Job) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        job.save(convert_float_to_float16(job.load(), keep_io_types=True))


@_tool("bf16 weights behind Cast", "16 bits")
def _bfloat16(job: Job) -> None:
    import ml_dtypes

    model = job.load()
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1:
            casts.append(helper.make_node("Cast", [f"{tensor.name}_bf16"], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), f"{tensor.name}_bf16"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    job.save(model)


@_tool("pre-process for quantisation")
def _prepared(job: Job) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet():
        quant_pre_process(str(job.source), str(job.out), skip_symbolic_shape=True)


def _dynamic(weights: str, per_channel: bool) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        model = _with_shapes(job.load())
        with quiet():
            quantize_dynamic(
                model,
                job.out,
                weight_type=getattr(QuantType, weights),
                per_channel=per_channel,
                extra_options={"DefaultTensorType": TensorProto.FLOAT},  # where shape inference gives up
            )

    return run


_tool("dynamic uint8", "8 bits")(_dynamic("QUInt8", False))
_tool("dynamic int8", "8 bits")(_dynamic("QInt8", False))
_tool("dynamic int8 per channel", "8 bits")(_dynamic("QInt8", True))


def _static(
    form: str, weights: str, activations: str, per_channel: bool, symmetric: bool = False
) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        model = _with_shapes(job.load())

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self.rest = _calibration(job.subject, model.graph.input[0].name)

            def get_next(self) -> Any:
                return next(self.rest, None)

        with quiet():
            quantize_static(
                model,
                job.out,
                Reader(),
                getattr(QuantFormat, form),
                per_channel=per_channel,
                weight_type=getattr(QuantType, weights),
                activation_type=getattr(QuantType, activations),
                extra_options={"WeightSymmetric": symmetric or weights.startswith("QI")},
            )

    return run


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shapes and types as onnx infers them: exporters and optimisers leave some that the quantisers contradict."""
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def _calibration(subject: Subject, name: str) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(1)
    for _ in range(3):
        yield {name: subject.inputs(rng, 4)}


_tool("QDQ int8", "8 bits")(_static("QDQ", "QInt8", "QInt8", False))
_tool("QDQ int8 per channel", "8 bits")(_static("QDQ", "QInt8", "QUInt8", True))
_tool("QDQ uint8", "8 bits")(_static("QDQ", "QUInt8", "QUInt8", False))
_tool("QDQ int16", "8 bits")(_static("QDQ", "QInt16", "QUInt16", False))
_tool("QDQ int4 per channel", "4 bits")(_static("QDQ", "QInt4", "QUInt8", True))
_tool("QOperator uint8", "8 bits", after="torch dynamo")(_static("QOperator", "QUInt8", "QUInt8", False))
_tool("QOperator int8", "8 bits", after="torch dynamo")(_static("QOperator", "QInt8", "QInt8", False))
_tool("QOperator int8 per channel", "8 bits", after="torch dynamo")(_static("QOperator", "QInt8", "QUInt8", True))


def _four_bits(symmetric: bool = True, form: str = "QOperator", hqq: bool = False) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        from onnxruntime.quantization import QuantFormat
        from onnxruntime.quantization import matmul_nbits_quantizer as nbits

        settings: dict[str, Any] = {"block_size": 32, "is_symmetric": symmetric, "quant_format": QuantFormat[form]}
        if hqq:
            settings = {"algo_config": nbits.HQQWeightOnlyQuantConfig(block_size=32, bits=4)}
        with quiet():
            quantizer = nbits.MatMulNBitsQuantizer(job.load(), **settings)
            quantizer.process()
        job.save(quantizer.model.model)

    return run


_tool("MatMulNBits sym", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits())
_tool("MatMulNBits asym", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits(symmetric=False))
_tool("MatMulNBits QDQ", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits(form="QDQ"))
_tool("MatMulNBits HQQ", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits(hqq=True))


@_tool("MatMulNBits and Gather", "4 bits", WITH_MATMUL, "torch dynamo")
def _four_bits_gather(job: Job) -> None:
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    with quiet():
        quantizer = nbits.MatMulNBitsQuantizer(
            job.load(), block_size=32, is_symmetric=True, op_types_to_quantize=("MatMul", "Gather")
        )
        quantizer.process()
    job.save(quantizer.model.model)


@_tool("NF4 (Bnb4)", "4 bits", WITH_MATMUL, "torch dynamo")
def _nf4(job: Job) -> None:
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer

    with quiet():
        quantizer = MatMulBnb4Quantizer(job.load(), MatMulBnb4Quantizer.NF4, 64)
        quantizer.process()
    job.save(quantizer.model.model)


# --- chains -----------------------------------------------------------------------------------------------------------

CHAINS: tuple[tuple[str, ...], ...] = (
    ("torch dynamo", "dynamic int8"),
    ("torch dynamo", "dynamic int8 per channel"),
    ("torch dynamo", "QDQ int8 per channel"),
    ("torch dynamo", "onnxsim", "QDQ int8 per channel"),
    ("torch legacy", "onnxslim", "fp16 (onnxconverter-common)"),
    ("onnxsim", "ORT extended"),
    ("onnxscript", "onnxoptimizer", "version converter", "external data"),
    ("ORT basic", "dynamic uint8", "compose prefix"),
    ("torch dynamo", "pre-process for quantisation", "QDQ int8", "ORT extended"),
    ("pre-process for quantisation", "QDQ int8 per channel", "ORT all"),
    ("onnxslim", "MatMulNBits sym", "ORT all"),
    ("torch legacy, opset 13", "onnx2torch and back", "onnxsim"),
    ("BERT optimizer", "fp16 (onnxruntime)"),
    ("BERT optimizer", "dynamic int8"),
    ("torch legacy", "onnxsim", "QOperator uint8", "external data"),
    ("fp16 (onnxconverter-common)", "onnxslim", "compose prefix", "initializers to Constant"),
    ("local function, weights inside", "onnxscript", "dynamic int8 per channel"),
    ("If body", "external data", "compose prefix"),
    ("onnxsim", "onnxslim", "onnxoptimizer", "ORT basic"),
    ("sparse initializers", "ORT extended", "external data"),
    ("sub-model", "onnxsim", "fp16 (onnxruntime)"),
)


@dataclass(frozen=True)
class Transform:
    """One row's way: one tool or several in turn."""

    steps: tuple[Tool, ...]

    @property
    def name(self) -> str:
        """The tools' names, in order."""
        return " → ".join(step.name for step in self.steps)

    @property
    def kind(self) -> str:
        """What the strictest of its steps leaves."""
        kinds = [step.kind for step in self.steps]
        return "part" if "part" in kinds else min(kinds, key=lambda kind: (KINDS[kind], -list(KINDS).index(kind)))

    def applies(self, network: str) -> bool:
        """Whether every step is made for such a network."""
        return all(not step.networks or network in step.networks for step in self.steps)


def transforms() -> list[Transform]:
    """Every tool alone, then the chains."""
    alone = [Transform((TOOLS[tool.after], tool) if tool.after else (tool,)) for tool in TOOLS.values()]
    return alone + [Transform(tuple(TOOLS[name] for name in chain)) for chain in CHAINS]


class ToolFailed(Exception):
    """A tool could not do its work."""


def run_chain(transform: Transform, subject: Subject, marked: Path, folder: Path) -> Path:
    """The file that a transform makes of the marked one; common beginnings are run once.

    Raises:
        ToolFailed: With the tool's own reason.
    """
    source = marked
    for count in range(1, len(transform.steps) + 1):
        step = transform.steps[count - 1]
        place = folder / re.sub(r"\W+", "-", Transform(transform.steps[:count]).name)
        out = place / "network.onnx"
        if not out.exists():
            place.mkdir(exist_ok=True)
            try:
                step.run(Job(subject, source, out))
            except Exception as error:  # tools fail in any way they like
                shutil.rmtree(place)
                raise ToolFailed(f"{step.name}: {_reason(error)}") from error
        source = out
    return source


def _reason(error: Exception) -> str:
    """A tool's own words on one line, without the places of files."""
    text = re.sub(r"\x1b\[\d+m", "", " ".join(str(error).split()))
    text = re.sub(r"(/[\w.+-]+){2,}/?", "…", text)
    return (text or type(error).__name__).replace("|", "/")[:160]
