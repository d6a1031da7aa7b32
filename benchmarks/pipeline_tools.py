"""What deployment does to a file: real tools, each registered under its name; the modules beside this one define them.

A tool reads one ONNX file and writes another. Its kind says what it may cost: the target of its rows in the table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from benchmarks.pipeline_networks import Subject

__all__ = ["KINDS", "TOOLS", "WITH_MATMUL", "Job", "Tool", "tool"]

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


def tool(
    name: str, kind: str = "values", networks: tuple[str, ...] = (), after: str = ""
) -> Callable[[Callable[[Job], None]], Any]:
    """Register a function as a tool; see ``Tool``."""

    def register(run: Callable[[Job], None]) -> Callable[[Job], None]:
        TOOLS[name] = Tool(name, kind, run, networks, after)
        return run

    return register
