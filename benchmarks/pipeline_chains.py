"""Tools alone and the chains in which they are used, as one row each."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks import pipeline_exporters, pipeline_places, pipeline_types  # in this order tools stand in tables
from benchmarks.pipeline_networks import Subject
from benchmarks.pipeline_tools import KINDS, TOOLS, Job, Tool

__all__ = ["CHAINS", "TOOLS", "ToolFailed", "Transform", "run_chain", "transforms"]

_DEFINING = (pipeline_exporters, pipeline_places, pipeline_types)
"""Modules that fill ``TOOLS``."""

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
