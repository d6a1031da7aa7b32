"""Options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Name", "Out", "Seed", "Size"]


def _networks() -> list[str]:
    from onnxnnw.training.networks import network_names

    return network_names()


Name = Annotated[str, typer.Argument(help="deeplabv3, pix2pix, rdn, resnet8 or vgg16", autocompletion=_networks)]
Size = Annotated[str, typer.Option("--size", help="reference or small")]
Out = Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides initial weights, order and augmentation.")]
