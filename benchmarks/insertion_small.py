"""What a mark costs a classifier of only 2,368 weights, and what modifications leave of it.

    python -m benchmarks insertion_small [--keys 16]

Two layers, 64 to 32 to 10, trained on three quarters of scikit-learn's 1,797 digits (which must be installed) and tested on the
rest. N and strength as ``embed`` chooses them.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.insertion import default_of, marked_anew, table
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify

HIDDEN, EPOCHS = 32, 60
HEADS = ("insertion", "strength", "N", "Top-1 %, mean", "worst key", "traced", "S = .5", "B = 4", "P = 50")
CHANGES = (
    ("gaussian-noise", {"ratio": 0.5}),
    ("quantization", {"bits": 4}),
    ("magnitude-pruning", {"percentage": 50}),
)


def digits() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Images (N, 64) from 0 to 1 and their classes: for training, then for testing."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, classes = (images[order] / 16).astype(np.float32), classes[order]
    cut = 3 * len(images) // 4
    return images[:cut], classes[:cut], images[cut:], classes[cut:]


def trained(images: NDArray[Any], classes: NDArray[Any], out: Path) -> None:
    """Write the trained classifier to ``out``."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(classes)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[chosen]), targets[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    shape = {"images": {0: "batch"}}
    torch.onnx.export(module.eval(), (inputs[:1],), str(out), input_names=["images"], dynamic_axes=shape, dynamo=False)


def top_1(network: Path, images: NDArray[Any], classes: NDArray[Any]) -> float:
    """In percent."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"images": images})
    return float(100 * (scores.argmax(1) == classes).mean())


def rows(keys: int, folder: Path) -> list[list[str]]:
    """The unmarked classifier, then both insertions."""
    images, classes, *testing = digits()
    network, changed = folder / "digits.onnx", folder / "changed.onnx"
    trained(images, classes, network)
    out = [["unmarked", "", "", f"{top_1(network, *testing):.1f}", *[""] * (len(HEADS) - 4)]]
    for insertion in ("added", "replaced"):
        tops, found = [], []
        for number in range(keys):
            marked, path = marked_anew(network, folder, number, insertion, None)
            record = load_record(path)
            tops.append(top_1(marked, *testing))
            answers = [verify(marked, [record])[0].decision]
            for name, settings in CHANGES:
                apply(find_modification(name)(**settings), marked, changed)
                answers.append(verify(changed, [record])[0].decision)
            found.append(answers)
        traced = [f"{column.count('traced')} of {keys}" for column in zip(*found, strict=True)]
        others = {answer for answers in found for answer in answers} - {"traced"}
        print(f"{insertion}: other answers {sorted(others)}", file=sys.stderr)
        out.append([insertion, *default_of(path), f"{mean(tops):.1f}", f"{min(tops):.1f}", *traced])
    return out


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks insertion_small", description=__doc__)
    parser.add_argument("--keys", type=int, default=16)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(table(HEADS, rows(options.keys, Path(folder))))
    return 0
