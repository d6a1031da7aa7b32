"""Tools that store weights in narrower types: 16, 8 and 4 bits."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.pipeline_networks import Subject, quiet
from benchmarks.pipeline_tools import WITH_MATMUL, Job, tool


@tool("fp16 (onnxconverter-common)", "16 bits")
def _float16(job: Job) -> None:
    from onnxconverter_common import float16

    with quiet():
        job.save(float16.convert_float_to_float16(job.load(), keep_io_types=True))


@tool("fp16 (onnxruntime)", "16 bits")
def _float16_runtime(job: Job) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        job.save(convert_float_to_float16(job.load(), keep_io_types=True))


@tool("bf16 weights behind Cast", "16 bits")
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


@tool("pre-process for quantisation")
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


tool("dynamic uint8", "8 bits")(_dynamic("QUInt8", False))
tool("dynamic int8", "8 bits")(_dynamic("QInt8", False))
tool("dynamic int8 per channel", "8 bits")(_dynamic("QInt8", True))


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


tool("QDQ int8", "8 bits")(_static("QDQ", "QInt8", "QInt8", False))
tool("QDQ int8 per channel", "8 bits")(_static("QDQ", "QInt8", "QUInt8", True))
tool("QDQ uint8", "8 bits")(_static("QDQ", "QUInt8", "QUInt8", False))
tool("QDQ int16", "8 bits")(_static("QDQ", "QInt16", "QUInt16", False))
tool("QDQ int4 per channel", "4 bits")(_static("QDQ", "QInt4", "QUInt8", True))
tool("QOperator uint8", "8 bits", after="torch dynamo")(_static("QOperator", "QUInt8", "QUInt8", False))
tool("QOperator int8", "8 bits", after="torch dynamo")(_static("QOperator", "QInt8", "QInt8", False))
tool("QOperator int8 per channel", "8 bits", after="torch dynamo")(_static("QOperator", "QInt8", "QUInt8", True))


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


tool("MatMulNBits sym", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits())
tool("MatMulNBits asym", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits(symmetric=False))
tool("MatMulNBits QDQ", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits(form="QDQ"))
tool("MatMulNBits HQQ", "4 bits", WITH_MATMUL, "torch dynamo")(_four_bits(hqq=True))


@tool("MatMulNBits and Gather", "4 bits", WITH_MATMUL, "torch dynamo")
def _four_bits_gather(job: Job) -> None:
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    with quiet():
        quantizer = nbits.MatMulNBitsQuantizer(
            job.load(), block_size=32, is_symmetric=True, op_types_to_quantize=("MatMul", "Gather")
        )
        quantizer.process()
    job.save(quantizer.model.model)


@tool("NF4 (Bnb4)", "4 bits", WITH_MATMUL, "torch dynamo")
def _nf4(job: Job) -> None:
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer

    with quiet():
        quantizer = MatMulBnb4Quantizer(job.load(), MatMulBnb4Quantizer.NF4, 64)
        quantizer.process()
    job.save(quantizer.model.model)
