"""Tools that write the marked weights anew: PyTorch's exporters, and optimisers of graphs."""

from collections.abc import Callable
from typing import Any

import onnx

from benchmarks.pipeline_networks import HEADS, WIDTH, export, quiet, restored
from benchmarks.pipeline_tools import Job, tool

# --- PyTorch, from the marked weights ---------------------------------------------------------------------------------


def _exported(job: Job, **settings: Any) -> None:
    export(job.subject, restored(job.subject, job.source), job.out, **settings)


@tool("torch dynamo")
def _torch_dynamo(job: Job) -> None:
    _exported(job, dynamo=True, optimize=True)


@tool("torch dynamo, optimize=False")
def _torch_plain(job: Job) -> None:
    _exported(job, dynamo=True, optimize=False)


@tool("torch dynamo, external data")
def _torch_external(job: Job) -> None:
    _exported(job, dynamo=True, optimize=True, external_data=True)


@tool("torch legacy")
def _torch_legacy(job: Job) -> None:
    _exported(job, dynamo=False)


@tool("torch legacy, no folding")
def _torch_legacy_plain(job: Job) -> None:
    _exported(job, dynamo=False, do_constant_folding=False)


@tool("torch legacy, opset 13")
def _torch_legacy_old(job: Job) -> None:
    _exported(job, dynamo=False, opset_version=13)


@tool("torch bfloat16", "16 bits")
def _torch_bfloat16(job: Job) -> None:
    _exported_as(job, "bfloat16")


@tool("torch float16", "16 bits")
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


@tool("onnxsim")
def _onnxsim(job: Job) -> None:
    import onnxsim

    with quiet():
        model, good = onnxsim.simplify(job.load())
    if not good:
        raise RuntimeError("its own check of the result fails")
    job.save(model)


@tool("onnxslim")
def _onnxslim(job: Job) -> None:
    import onnxslim

    with quiet():
        job.save(onnxslim.slim(job.load()))


@tool("onnxscript")
def _onnxscript(job: Job) -> None:
    from onnxscript import optimizer

    with quiet():
        job.save(optimizer.optimize(job.load()))


@tool("onnxoptimizer")
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


tool("ORT disabled")(_optimised("ORT_DISABLE_ALL"))
tool("ORT basic")(_optimised("ORT_ENABLE_BASIC"))
tool("ORT extended")(_optimised("ORT_ENABLE_EXTENDED"))
tool("ORT layout")(_optimised("ORT_ENABLE_LAYOUT"))
tool("ORT all")(_optimised("ORT_ENABLE_ALL"))


@tool("BERT optimizer", networks=("transformer",))
def _bert(job: Job) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    with quiet():
        optimised = optimize_model(str(job.source), "bert", HEADS, WIDTH, opt_level=0)
        optimised.save_model_to_file(str(job.out))
    model = onnx.load(job.out)
    del model.graph.value_info[:]  # shapes of the three weights that it has merged into one
    job.save(model)


@tool("onnx2torch and back", after="torch legacy, opset 13")
def _onnx2torch(job: Job) -> None:
    from onnxnnw.torchvision_package import import_torchvision

    import_torchvision()  # onnx2torch imports it too, and would fail where it does not match torch
    from onnx2torch import convert

    with quiet():
        module = convert(job.load()).eval()
        export(job.subject, module, job.out, dynamo=True)
