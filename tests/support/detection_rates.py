"""Null distributions of RTW and TBW under wrong keys: ``python -m tests.support.detection_rates 1000`` prints the docs' table."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.rtw import MATRICES, RtwInsertion, mark_of, project
from onnxnnw.methods.tbw import TbwInsertion
from onnxnnw.methods.triggers import Triggers
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record import Record
from onnxnnw.runtime import open_runtime
from tests.support import marks

MODEL = Path(__file__).parents[2] / "models" / "resnet8.onnx"
LEVELS = (0.05, 0.01, 0.001)
BITS, TRIGGERS, CLASSES = 64, 100, 10
LAYER = "block3.conv2.weight"

Counts = NDArray[np.int64]


def rtw_matches(record: Record, rows: NDArray[Any], keys: int) -> Counts:
    """Right bits of a layer under wrong keys: new secrets, with matrix, pad and anchors derived anew."""
    out = []
    for number in range(keys):
        mark = mark_of(replace(record, key=marks.key(10_000 + number)))
        out.append(int(((2.0 * mark.wanted - 1) * project(rows, mark) > 0).sum()))
    return np.array(out)


def tbw_matches(record: Record, predict: Callable[[NDArray[Any]], NDArray[Any]], keys: int) -> Counts:
    """Right answers of a network under wrong keys: new secrets, with triggers and labels derived anew."""
    out = []
    for number in range(keys):
        triggers = Triggers(replace(record, key=marks.key(10_000 + number)))
        out.append(int((triggers.answers(predict(triggers.inputs())) == triggers.labels).sum()))
    return np.array(out)


def layers(marked: Path) -> dict[str, NDArray[Any]]:
    """Candidates for RTW: the layer of the unmarked network, of a marked one, and damaged beyond use."""
    found = []
    for path in (MODEL, marked):
        with open_network(path) as network:
            found.append(find_slots(network).by_name()[LAYER].array())
    unmarked, inserted = found
    return {
        "unmarked": unmarked,
        "marked under another key": inserted,
        "pruned 90 %": np.where(np.abs(unmarked) < np.quantile(np.abs(unmarked), 0.9), 0, unmarked),
        "constant": np.full_like(unmarked, 0.01),
        "overflowing": np.where(unmarked > 0.05, 3e38, unmarked).astype(np.float32),
    }


def one_class(inputs: NDArray[Any]) -> NDArray[Any]:
    """The most skewed classifier there is."""
    return np.eye(CLASSES, dtype=np.float32)[np.zeros(len(inputs), np.int64)]


def two_classes(inputs: NDArray[Any]) -> NDArray[Any]:
    """A classifier that looks at brightness alone."""
    return np.eye(CLASSES, dtype=np.float32)[3 * (inputs.mean((1, 2, 3)) > 0).astype(np.int64)]


def table(keys: int, folder: Path) -> Iterator[str]:
    """Rows of Markdown."""
    marks.marked_with_rtw(MODEL, folder / "marked.onnx", marks.drafted(MODEL, RtwInsertion(payload="ACME-1")))
    found = layers(folder / "marked.onnx")
    for matrix in MATRICES:
        drafted = marks.drafted(MODEL, RtwInsertion(matrix=matrix))
        for name, rows in found.items():
            yield _row(f"RTW, X {matrix}", name, rtw_matches(drafted, rows, keys), BITS, 0.5)
        drafted = marks.drafted(MODEL, RtwInsertion(matrix=matrix, payload="ACME-1"))
        matches = rtw_matches(drafted, found["unmarked"], keys)
        yield _row(f"RTW, X {matrix}, payload a text", "unmarked", matches, BITS, 0.5)
    drafted = marks.drafted(MODEL, TbwInsertion(triggers=TRIGGERS))
    real = open_runtime(MODEL, threads=1).predict
    for name, predict in (("unmarked ResNet8", real), ("always one class", one_class), ("two classes", two_classes)):
        yield _row("TBW, 10 classes", name, tbw_matches(drafted, predict, keys), TRIGGERS, 1 / CLASSES)


def _row(test: str, candidate: str, matches: Counts, trials: int, chance: float) -> str:
    tails = stats.binom.sf(matches - 1, trials, chance)
    shares = " | ".join(f"{np.mean(tails <= level):.2%}" for level in LEVELS)
    exact = " / ".join(f"{_attained(trials, chance, level):.2%}" for level in LEVELS)
    fit = marks.chi_square(matches, trials, chance)
    return f"| {test} | {candidate} | {shares} | {exact} | {fit:.2g} | {tails.min():.1e} | {np.sum(tails <= 1e-6)} |"


def _attained(trials: int, chance: float, level: float) -> float:
    """What an exact discrete test attains: the largest of its p-values that is at most the level."""
    tails = stats.binom.sf(np.arange(trials + 1) - 1, trials, chance)
    return float(tails[tails <= level].max(initial=0))


def main(keys: int) -> None:
    """Print the table of docs/reference/statistics.md."""
    from tempfile import TemporaryDirectory

    say = sys.stdout.write
    heads = " | ".join(f"p ≤ {level:g}" for level in LEVELS)
    say(f"| test | candidate | {heads} | exact | χ² | smallest p | p ≤ 1e-6 |\n|---|---|{'---|' * (len(LEVELS) + 4)}\n")
    with TemporaryDirectory() as folder:
        for row in table(keys, Path(folder)):
            say(row + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
