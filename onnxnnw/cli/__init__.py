"""Arguments in, one library call, text and exit code out."""

from onnxnnw.cli.entry import main

__all__ = ["main"]
