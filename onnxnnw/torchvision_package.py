"""torchvision as it is installed: also where it was built for another torch, so that its compiled operators are missing."""

import importlib
import sys
from typing import Any

from onnxnnw.errors import MissingExtra

__all__ = ["import_torchvision"]

_DECLARED: list[Any] = []  # a declaration lasts as long as its library object


def import_torchvision(module: str = "torchvision.models") -> Any:
    """A module of torchvision.

    A torchvision that does not match torch fails on import because it registers a shape rule for operators that are not there.
    No network here uses them: declared without an implementation, they do no harm.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra("torchvision", "torch") from error
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    import torch

    _DECLARED.append(torch.library.Library("torchvision", "DEF"))
    for name in ("nms", "qnms"):
        _DECLARED[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    return importlib.import_module(module)
