"""The README's main job as a library call: mark a network, modify it as deployment does, and find the mark again."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.owner import Owner
from onnxnnw.errors import UnsupportedNetwork, UsageError
from onnxnnw.modifications.base import Modification, apply, find_modification
from onnxnnw.runtime import Runtime, open_runtime
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify

__all__ = ["DemoRow", "run_demo", "shipped_network"]

PICTURES, CANDIDATES = 256, 2048
_SEED = 20260101

STEPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("noise, S = 0.1", "gaussian-noise", {"ratio": 0.1}),
    ("noise, S = 0.5", "gaussian-noise", {"ratio": 0.5}),
    ("prune the smallest 50 %", "magnitude-pruning", {"percentage": 50.0}),
    ("prune the smallest 80 %", "magnitude-pruning", {"percentage": 80.0}),
    ("quantise to 6 bits", "quantization", {"bits": 6}),
    ("quantise to 4 bits", "quantization", {"bits": 4}),
    ("four more marks on top", "watermark-overwriting", {"marks": 4}),
    ("onnxruntime: optimise", "runtime-optimization", {}),
    ("onnxruntime: 8 bits, static", "static-quantization", {}),
    ("onnxruntime: 8 bits, dynamic", "dynamic-quantization", {}),
)


FILES = len(STEPS) + 2
"""Those that are verified: the original, the marked copy, and one for each step."""


@dataclass(frozen=True)
class DemoRow:
    """One file of the demo and its verdicts.

    Attributes:
        what: What was done.
        file: Name of the file in the demo's folder.
        agreement: Share of pictures that it classifies like the network that was never marked.
        watermark, fingerprint, wrong_key: Verdicts against the tracker's two records and against somebody else's.
        expected: Whether all three verdicts are as they should be.
    """

    what: str
    file: str
    agreement: float
    watermark: Verdict
    fingerprint: Verdict
    wrong_key: Verdict
    expected: bool


def shipped_network() -> Any:
    """A context manager with the path of the ResNet8 that ships with the package."""
    resource = files("onnxnnw.models").joinpath("resnet8.onnx")
    if not resource.is_file():
        raise UnsupportedNetwork("this installation lacks its example network")
    return as_file(resource)


def run_demo(folder: Path | str) -> Iterator[DemoRow]:
    """Mark and fingerprint the shipped ResNet8, modify it in ten ways, and verify each file three times.

    Args:
        folder: Where the files go; it must be new or empty, because records are never overwritten.

    Yields:
        One row per file, as soon as it is known; the unmarked original comes first.

    Raises:
        UsageError: The folder is not empty.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; the demo never overwrites records, so give it a new folder")
    with shipped_network() as original:
        marked = folder / "marked.onnx"
        embed(original, marked, folder / "tracker.record", owner=Owner("Example Ltd.", "Tracker"))
        fingerprint(original, folder / "fingerprint.record", owner=Owner("Example Ltd.", "Tracker"))
        embed(original, folder / "somebody-elses.onnx", folder / "somebody-elses.record", owner=Owner("Somebody else"))
        pictures = _pictures(open_runtime(original))
        answers = _classes(original, pictures)
        yield _row("(the original, never marked)", original, False, folder, answers, pictures)
    yield _row("(the marked network)", marked, True, folder, answers, pictures)
    for what, name, parameters in STEPS:
        out = folder / f"{_slug(what)}.onnx"
        modification: Modification = find_modification(name)(**parameters)
        apply(modification, marked, out)
        yield _row(what, out, True, folder, answers, pictures)


def _row(
    what: str, path: Path, marked: bool, folder: Path, answers: NDArray[np.int64], pictures: NDArray[np.float32]
) -> DemoRow:
    watermark, own, wrong = (
        verify(path, [named_record(folder / f"{name}.record")])[0]
        for name in ("tracker", "fingerprint", "somebody-elses")
    )
    agreement = float(np.mean(_classes(path, pictures) == answers))
    expected = watermark.meets() is marked and own.meets() and not wrong.meets()
    return DemoRow(what, path.name, agreement, watermark, own, wrong, expected)


def _pictures(network: Runtime) -> NDArray[np.float32]:
    """Smooth coloured shapes, the same in every run: the package ships no photographs.

    Of all candidates, those that the network is surest of: what it is unsure of flips at the slightest change.
    """
    rng = np.random.default_rng(_SEED)
    channels, height, width = (size or 32 for size in network.inputs[0].shape[1:])
    y, x = np.mgrid[0 : 2 * np.pi : height * 1j, 0 : 2 * np.pi : width * 1j]
    waves = rng.integers(0, 4, (CANDIDATES, channels, 6, 2))
    phases, weights = rng.uniform(0, 2 * np.pi, (CANDIDATES, channels, 6)), rng.normal(size=(CANDIDATES, channels, 6))
    pictures = rng.normal(scale=0.2, size=(CANDIDATES, channels, height, width)).astype(np.float32)
    for wave in range(6):
        angle = waves[:, :, wave, 0, None, None] * y + waves[:, :, wave, 1, None, None] * x
        pictures += weights[:, :, wave, None, None] * np.cos(angle + phases[:, :, wave, None, None])
    pictures /= pictures.std((1, 2, 3), keepdims=True)
    answers = np.sort(network.predict(pictures), axis=1)
    return np.asarray(pictures[np.argsort(answers[:, -2] - answers[:, -1], kind="stable")[:PICTURES]], np.float32)


def _classes(path: Path, pictures: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(open_runtime(path).predict(pictures).argmax(1), np.int64)


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in text.lower()).split())
