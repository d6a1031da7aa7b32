"""measure: the quality of an ONNX file."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from onnxnnw.tasks.base import Measurement

__all__ = ["register"]

MEASUREMENT_FORMAT = "onnxnnw/measurement/1"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(measure)


def measure(
    model: Annotated[Path, typer.Argument(help="Any ONNX file.")],
    task: Annotated[
        str | None, typer.Option("--task", help="classification, super-resolution, image-translation or segmentation")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Directory of the task's data.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Another split than the usual, e.g. Set5.")] = None,
    own: Annotated[
        Path | None, typer.Option("--own", help="Your own samples: an .npz, or a folder with inputs/ and targets/.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="The metric for your own samples.")] = None,
    low: Annotated[float, typer.Option("--low", help="Value of black in your own images.")] = 0.0,
    high: Annotated[float, typer.Option("--high", help="Value of white in your own images.")] = 1.0,
    count: Annotated[int | None, typer.Option("--count", min=1, help="At most so many, evenly spread.")] = None,
    provider: Annotated[
        str, typer.Option("--provider", help="What it runs on: cpu or cuda; the GPU when there is one.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the quality of an ONNX file on a task of the standard, or on your own samples.

    Example: onnxnnw measure resnet8.onnx --task classification --data DIR
    """
    from onnxnnw.errors import UsageError
    from onnxnnw.tasks.base import find_task
    from onnxnnw.training import networks

    if own is not None and metric is not None:
        found = networks.measure_own(model, own, metric, low, high, count, provider)
    elif task is not None and data is not None:
        found = networks.measure_task(model, find_task(task), data, split, count, provider)
    else:
        raise UsageError("give --task and --data, or --own and --metric")
    print(_json(model, found) if as_json else _text(found))


def _text(found: "Measurement") -> str:
    lines = [f"{name:22} {value:10.4f}" for name, value in found.values.items()]
    return "\n".join([*lines, f"{'samples':22} {found.samples:10}", f"{'seconds':22} {found.seconds:10.2f}"])


def _json(model: Path, found: "Measurement") -> str:
    numbers = {name: value if math.isfinite(value) else None for name, value in found.values.items()}
    others = {name: str(value) for name, value in found.values.items() if not math.isfinite(value)}
    values = {"metrics": numbers, "not_finite": others, "samples": found.samples, "seconds": found.seconds}
    return json.dumps({"format": MEASUREMENT_FORMAT, "model": str(model), **values}, allow_nan=False)
