"""The only module that loads onnxruntime: it turns a file into a function of arrays; no warnings without a GPU."""

import io
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, UnknownName, UnreadableNetwork, UsageError
from onnxnnw.onnxruntime_package import import_onnxruntime

__all__ = [
    "PROVIDERS",
    "Port",
    "Runtime",
    "find_provider",
    "open_runtime",
    "optimise",
    "quantize_dynamically",
    "quantize_statically",
    "usual_provider",
]

PROVIDERS = ("cpu", "cuda")
_CUDA = "CUDAExecutionProvider"

Array = NDArray[Any]

INPUT_BYTES_PER_CALL = 16 * 2**20
"""Inputs per call when the caller names no batch size; activations are often a hundred times as large."""

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
}


@dataclass(frozen=True)
class Port:
    """One input or output of a network.

    Args:
        shape: One entry per axis, None where the network leaves it open.
        dtype: As NumPy has it; ``object`` for what NumPy does not have (bfloat16, sequences).
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class Runtime:
    """An ONNX network that can be run; made by `open_runtime`."""

    def __init__(self, session: Any, path: Path, limit_s: float | None = None) -> None:
        self._session, self._path, self._limit_s = session, path, limit_s
        self.inputs = tuple(_port(value) for value in session.get_inputs())
        self.outputs = tuple(_port(value) for value in session.get_outputs())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            UsageError: An input is missing, unknown, or has a shape the network does not take.
            CannotLook: onnxruntime gives up while running, for want of memory for instance.
        """
        wanted = {port.name for port in self.inputs}
        if set(inputs) != wanted:
            raise UsageError(f"{self._path} wants the inputs {sorted(wanted)}, not {sorted(inputs)}")
        options, timer = self._limited()
        try:
            values = self._session.run(None, dict(inputs), options)
        except Exception as error:  # onnxruntime's exceptions have no common, public base
            reason = _reason(error)
            if options is not None and options.terminate:
                raise CannotLook(f"{self._path} did not answer within {self._limit_s:g} s") from error
            if "INVALID_ARGUMENT" in str(error):
                raise UsageError(f"{self._path} does not take these inputs: {reason}") from error
            raise CannotLook(f"{self._path} could not be run: {reason}") from error
        finally:
            if timer is not None:
                timer.cancel()
        return {port.name: value for port, value in zip(self.outputs, values, strict=True)}

    def _limited(self) -> tuple[Any, threading.Timer | None]:
        """What makes a run give up when its time is over; onnxruntime looks at it between operators and iterations."""
        if self._limit_s is None:
            return None, None
        options = import_onnxruntime().RunOptions()
        timer = threading.Timer(self._limit_s, lambda: setattr(options, "terminate", True))
        timer.daemon = True
        timer.start()
        return options, timer

    def predict(self, batch: Array, batch_size: int | None = None) -> Array:
        """The first output of a network with one input, for any number of samples.

        Args:
            batch: Samples along the first axis; converted to the network's number type.
            batch_size: Samples per call; None sizes calls to memory. A network with a fixed batch keeps its own.
        """
        if len(self.inputs) != 1:
            raise UsageError(f"{self._path} has {len(self.inputs)} inputs; predict() is for networks with one")
        if len(batch) == 0:
            raise UsageError(f"no samples were given to {self._path}")
        port = self.inputs[0]
        batch = batch.astype(port.dtype, copy=False)
        fixed = port.shape[0] if port.shape else None
        size = fixed or batch_size or max(1, INPUT_BYTES_PER_CALL // max(1, batch[:1].nbytes))
        answers, start = [], 0
        while start < len(batch):
            part = batch[start : start + size]
            try:
                answers.append(self._first(port.name, part, fixed))
            except CannotLook as error:
                if fixed or len(part) == 1 or not re.search("alloc|memory", str(error), re.IGNORECASE):
                    raise
                size = max(1, len(part) // 2)  # it did not fit: take half
                continue
            start += len(part)
        return np.concatenate(answers)

    def _first(self, name: str, part: Array, fixed: int | None) -> Array:
        missing = (fixed or len(part)) - len(part)
        whole = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
        answer = self.run({name: np.ascontiguousarray(whole)})[self.outputs[0].name]
        return answer[: len(part)]


def open_runtime(
    path: Path | str, threads: int | None = None, limit_s: float | None = None, provider: str = ""
) -> Runtime:
    """Open an ONNX file for running, on the GPU when there is one.

    Args:
        threads: Threads per operator; None leaves it to onnxruntime.
        limit_s: Seconds after which one call gives up; None waits. For networks of others: one may loop forever.
        provider: ``"cpu"`` or ``"cuda"``; empty takes the GPU when there is one. Where CUDA is asked for, and onnxruntime runs
            on the CPU all the same, a warning says so.

    Raises:
        UnreadableNetwork: onnxruntime rejects the file; the message has its reason.
        CannotLook: onnxruntime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableNetwork(f"{path} is not a file")
    onnxruntime = import_onnxruntime()
    onnxruntime.set_default_logger_severity(4)  # only what ends the process; errors come as exceptions anyway
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    cuda = usual_provider() == "cuda" if find_provider(provider) != "cpu" else False
    providers = [_CUDA, "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common, public base
        raise UnreadableNetwork(f"onnxruntime rejects {path}: {_reason(error)}") from error
    if (cuda or provider == "cuda") and _CUDA not in session.get_providers():
        _warn_of_cpu(_CUDA in onnxruntime.get_available_providers())
    return Runtime(session, path, limit_s)


def find_provider(name: str) -> str:
    """The provider of this name; an empty one leaves it to what there is.

    Raises:
        UnknownName: There is none.
    """
    if name not in ("", *PROVIDERS):
        raise UnknownName("provider", name, PROVIDERS)
    return name


def usual_provider() -> str:
    """What networks run on where nobody says: ``"cuda"`` where onnxruntime has it and there is a GPU."""
    try:
        import onnxruntime
    except ImportError:
        return "cpu"
    return "cuda" if _CUDA in onnxruntime.get_available_providers() and _gpu_present() else "cpu"


@cache
def _warn_of_cpu(built: bool) -> None:
    """Once a process: silence would pass a CPU's figures off as a GPU's."""
    import logging

    reason = (
        "its libraries or the GPU's driver are missing"
        if built
        else "this onnxruntime was built without CUDA (onnxruntime-gpu has it)"
    )
    logging.getLogger("onnxnnw").warning("CUDA was asked for, but onnxruntime runs on the CPU: %s", reason)


def _gpu_present() -> bool:
    """Asking onnxruntime for CUDA on a machine without a GPU makes it complain at length."""
    if sys.platform == "win32":
        from ctypes.util import find_library

        return find_library("nvcuda") is not None
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _port(value: Any) -> Port:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape or ())
    return Port(value.name, shape, np.dtype(DTYPES.get(value.type, object)))


def _reason(error: Exception) -> str:
    """onnxruntime's own words, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return text if len(text) <= 300 else text[:299] + "…"


def quantize_dynamically(source: Path, out: Path) -> None:
    """onnxruntime's own dynamic quantisation: 8-bit weights, activations quantised while running.

    Args:
        source: In a folder of its own: the quantiser overwrites and deletes files beside it.
    """
    tools = import_onnxruntime(quantization=True)
    with _quiet():
        tools.quantize_dynamic(
            source, out, weight_type=tools.QuantType.QUInt8
        )  # no CPU kernel convolves with signed weights


def quantize_statically(source: Path, out: Path, batches: Iterable[Mapping[str, Array]]) -> None:
    """onnxruntime's own static quantisation: QuantizeLinear/DequantizeLinear pairs, one scale per channel.

    Args:
        source: In a folder of its own: the quantiser overwrites and deletes files beside it.
        batches: Inputs from which the ranges of activations are measured.
    """
    tools = import_onnxruntime(quantization=True)

    class CalibrationBatches(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self.rest, None)

    with _quiet():
        form, weights = tools.QuantFormat.QDQ, tools.QuantType.QInt8
        tools.quantize_static(source, out, CalibrationBatches(), form, per_channel=True, weight_type=weights)


def optimise(source: Path, out: Path) -> None:
    """The network as onnxruntime's offline optimiser writes it: normalisation folded, names changed.

    Args:
        out: Beside ``source``: what is external and does not change stays where it is.
    """
    onnxruntime = import_onnxruntime()
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common, public base
        raise UnreadableNetwork(f"onnxruntime rejects {source}: {_reason(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantiser advises through the root logger and prints; its errors come as exceptions."""
    import logging  # not at the top: every verification imports this module, and few run a network

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
