"""Compare without a record: is a stranger called related, what do orders of strangers say, how often is there a hint?

    python -m benchmarks comparison strangers FOLDER [--pairs 200] [--share 0/1] [--output FILE]
    python -m benchmarks comparison corpus CORPUS [--share 0/1] [--minutes 60] [--after 451] [--output FILE]
    python -m benchmarks comparison speed [--megabytes 100] [--output FILE]

``strangers`` takes a folder of networks of one architecture, trained on the same data from other initial values: all pairs are
compared, aligned for the statistic of ``comparison/orders.py``, and held against each other's sketches. ``corpus`` compares public
networks of different packages. ``speed`` compares two large files that differ in a tenth of their layers. The exit code is 1 where
strangers are called related.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.tables import progress
from onnxnnw.alignment import weights_of
from onnxnnw.alignment.sketch import agreeing_sketches, sketches_of
from onnxnnw.comparison import compare
from onnxnnw.comparison.compare import aligned_weights
from onnxnnw.comparison.orders import orders_in, widths_of
from onnxnnw.enrolment.copies import without_copies
from onnxnnw.errors import CannotLook
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Measure one of the parts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks comparison", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("part", choices=("strangers", "corpus", "speed"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--share", default="0/1", help="K/N: every N-th pair from the K-th on, to run N at once")
    parser.add_argument("--minutes", type=float, default=60, help="of the corpus: pairs of small files come first")
    parser.add_argument("--after", type=int, default=0, help="of the corpus: how many pairs an earlier run has done")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    first, every = map(int, options.share.split("/"))
    if options.part == "speed":
        lines, wrong = _speed(options.megabytes), 0
    elif options.part == "strangers":
        files = sorted(options.folder.glob("*.onnx"))
        some = list(itertools.combinations(files, 2))[: options.pairs][first::every]
        lines, wrong = _strangers(some)
    else:
        lines, wrong = _corpus(list(_of_packages(options.folder))[first::every], 60 * options.minutes, options.after)
    text = "\n".join(lines) + "\n"
    if options.output is not None:
        options.output.write_text(text)
    sys.stdout.write(text)
    return int(wrong > 0)


def _strangers(pairs: list[tuple[Path, Path]]) -> tuple[list[str], int]:
    """Each pair once: relation, agreements per width, share of sketches."""
    relations: Counter[str] = Counter()
    per_width, shares, hints = [], [], 0
    for number, (ours, theirs) in enumerate(pairs):
        relations[compare(ours, theirs).relation] += 1
        with open_network(ours) as one, open_network(theirs) as other:
            own = without_copies(find_slots(one))[0]
            weights, candidates = weights_of(own), weights_of(find_slots(other))
            widths = widths_of(str(ours), own.slots, weights)
            orders = orders_in(widths, aligned_weights(widths, weights, candidates))
            kept = sketches_of(weights)
            shapes = [(weights[slot].rows, weights[slot].row_size) for slot in kept.slots]
            agreeing = agreeing_sketches(kept, shapes, candidates, {})
        if orders.widths:
            per_width.append(orders.agreeing / orders.widths)
            shares.append(orders.share)
        hints += agreeing >= 3 and 2 * agreeing >= len(kept.slots)
        if number % 10 == 9:
            progress(f"{number + 1} of {len(pairs)} pairs")
    levels = (0.5, 0.9, 0.99, 1.0)
    lines = [
        f"{len(pairs)} pairs of one architecture: " + ", ".join(f"{count} {name}" for name, count in relations.items()),
        f"agreements per width: mean {np.mean(per_width):.2f}, quantiles "
        + ", ".join(f"{q:g}: {np.quantile(per_width, q):.2f}" for q in levels),
        "share of channels: " + ", ".join(f"{q:g}: {np.quantile(shares, q):.3f}" for q in levels),
        f"hints: {hints}",
    ]
    return lines, sum(relations[name] for name in ("identical", "same weights, other form", "derived", "shares parts"))


def _of_packages(corpus: Path) -> Iterator[tuple[Path, Path]]:
    """One pair of every two folders of a corpus, with every network of it in some of them."""
    folders = [sorted(folder.glob("*.onnx")) for folder in sorted(corpus.iterdir()) if folder.is_dir()]
    folders = [files for files in folders if files]
    for i, j in itertools.permutations(range(len(folders)), 2):
        yield folders[i][j % len(folders[i])], folders[j][i % len(folders[j])]


def _corpus(pairs: list[tuple[Path, Path]], seconds: float, after: int) -> tuple[list[str], int]:
    relations: Counter[str] = Counter()
    lines, files, end = [], set[Path](), time.monotonic() + seconds
    by_size = sorted(pairs, key=lambda pair: sum(path.stat().st_size for path in pair))
    for number, (ours, theirs) in enumerate(by_size[after:], after):
        if time.monotonic() > end:
            break
        if number % 10 == 9:
            progress(f"{number + 1} of {len(pairs)} pairs: {dict(relations)}")
        files |= {ours, theirs}
        try:
            relation = compare(ours, theirs).relation
        except CannotLook:
            relation = "refused"
        relations[relation] += 1
        if relation not in ("unrelated", "could not tell", "refused"):
            lines.append(f"  {relation}: {ours.name} and {theirs.name}")
            progress(lines[-1])
    head = f"{relations.total()} of {len(pairs)} pairs of different packages, of {len(files)} files: " + ", ".join(
        f"{count} {name}" for name, count in relations.items()
    )
    return [head, *lines], relations["derived"] + relations["same weights, other form"]


def _speed(megabytes: int) -> list[str]:
    """Two files of dense layers; every tenth layer of the second was trained on."""
    rng = np.random.default_rng(0)
    width = 512
    layers = max(10, megabytes * 2**20 // (4 * width * width))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("a.onnx", "b.onnx")]
        weights = [rng.standard_normal((width, width), np.float32) * np.float32(0.05) for _ in range(layers)]
        for path in paths:
            _write(path, weights)
            for number in range(0, layers, 10):
                weights[number] = weights[number] + np.float32(0.005) * rng.standard_normal((width, width), np.float32)
        times = []
        for _ in range(3):
            start, used = time.perf_counter(), time.process_time()
            relation = compare(*paths).relation
            times.append((time.perf_counter() - start, time.process_time() - used))
        size = paths[0].stat().st_size / 1e6
    wall, processor = sorted(times)[1]
    return [
        f"two files of {size:.0f} MB, {layers} layers: {relation}, {wall:.2f} s ({processor:.2f} s of processors), median of 3"
    ]


def _write(path: Path, weights: list[np.ndarray]) -> None:
    nodes, value = [], "x"
    for number in range(len(weights)):
        out = "y" if number == len(weights) - 1 else f"h{number}"
        nodes += [
            helper.make_node("MatMul", [value, f"w{number}"], [f"m{number}"]),
            helper.make_node("Relu", [f"m{number}"], [out]),
        ]
        value = out
    ports = [helper.make_tensor_value_info(name, 1, [1, len(weights[0])]) for name in ("x", "y")]
    stored = [numpy_helper.from_array(weight, f"w{number}") for number, weight in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
