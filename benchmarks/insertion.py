"""Added and replaced marks: what they cost a network, and how much of their evidence is left after what.

    python -m benchmarks insertion --data DIR [--keys 8] [--images 10000] [--output FILE]
    python -m benchmarks insertion --data DIR --keys 16 --accuracy
    python -m benchmarks insertion --keys 3 --prices NETWORK.onnx…

The shipped ResNet8, ``--keys`` keys for each row; means, and the worst key in brackets. ``--data`` is a directory with CIFAR-10.
The shipped image networks are compared with their unmarked selves on drawn inputs. ``--accuracy`` measures Top-1 alone, of what
``embed`` writes by default and of what the standard writes: the difference to the unmarked network, with its 95 % limits over keys.
``--prices`` compares the outputs of any networks, marked as ``embed`` marks them by default, with their unmarked selves.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev

from onnxnnw.demo import shipped_network
from onnxnnw.enrolment.enrol import embed
from onnxnnw.enrolment.price import price_of
from onnxnnw.errors import TraceabilityError
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.tasks.base import Samples, every_kth, find_task
from onnxnnw.training.networks import measure
from onnxnnw.verification.verify import verify

MODELS = Path(__file__).parent.parent / "models"
WRITINGS = (
    ("replaced", 1.0, 512),
    ("added", 0.2, 512),
    ("added", 0.4, 164),
    ("added", 0.4, 512),
    ("added", 0.4, 2048),
    ("added", 1.0, 512),
)
"""Insertion, strength, N."""

CHANGES: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("S = .5", "gaussian-noise", {"ratio": 0.5}),
    ("S = 1", "gaussian-noise", {"ratio": 1.0}),
    ("P = 50", "magnitude-pruning", {"percentage": 50}),
    ("P = 80", "magnitude-pruning", {"percentage": 80}),
    ("P = 90", "magnitude-pruning", {"percentage": 90}),
    ("B = 4", "quantization", {"bits": 4}),
    ("B = 2", "quantization", {"bits": 2}),
    ("four more marks", "watermark-overwriting", {"marks": 4}),
)


def key_of(number: int) -> Key:
    """The same keys in every row."""
    return Key(f"benchmark of insertions {number}".encode().ljust(32, b"."))


def marked_anew(
    original: Path,
    folder: Path,
    number: int,
    insertion: str,
    positions: int | None = 512,
    strength: float | None = None,
) -> tuple[Path, Path]:
    """A copy with the mark of one key, and its record, in the place of the last ones."""
    marked, record = folder / "marked.onnx", folder / "mark.record"
    for path in (marked, record):
        path.unlink(missing_ok=True)
    embed(original, marked, record, positions, strength, key=key_of(number), insertion=insertion)
    return marked, record


def accuracy_of(path: Path, samples: Samples) -> float:
    """Top-1 in percent."""
    return 100 - measure(path, samples, find_task("classification").metrics).values["classification-error"]


def row(insertion: str, strength: float, positions: int, keys: int, samples: Samples | None, folder: Path) -> list[str]:
    """One line of the table."""
    accuracies: list[float] = []
    found: dict[str, list[float]] = {}
    with shipped_network() as original:
        for number in range(keys):
            marked, record = marked_anew(original, folder, number, insertion, positions, strength)
            changed = folder / "changed.onnx"
            kept = load_record(record)
            if samples is not None:
                accuracies.append(accuracy_of(marked, samples))
            found.setdefault("unmodified", []).append(verify(marked, [kept])[0].log10_p)
            for name, modification, settings in CHANGES:
                apply(find_modification(modification)(**settings), marked, changed)
                found.setdefault(name, []).append(verify(changed, [kept])[0].log10_p)
    top = f"{mean(accuracies):.2f} ({min(accuracies):.2f})" if accuracies else ""
    cells = [f"{mean(values):.0f} ({max(values):.0f})" for values in found.values()]
    return [insertion, f"{strength:g}", f"{positions:,}", top, *cells]


def kept_accuracy(keys: int, samples: Samples, folder: Path, insertions: Sequence[str]) -> Iterator[list[str]]:
    """Top-1 beside the unmarked network's, in points: mean over keys, limits of Student's t, and the worst key."""
    from scipy.stats import t as student

    with shipped_network() as original:
        before = accuracy_of(original, samples)
        for insertion in insertions:
            lost = []
            for number in range(keys):
                marked, record = marked_anew(original, folder, number, insertion, None)
                lost.append(accuracy_of(marked, samples) - before)
                print(f"{insertion} {number}: {lost[-1]:+.2f}", file=sys.stderr)
            half = student.ppf(0.975, keys - 1) * stdev(lost) / keys**0.5
            limits = f"{mean(lost) - half:+.2f} … {mean(lost) + half:+.2f}"
            yield [
                insertion,
                *default_of(record),
                f"{before:.2f}",
                f"{mean(lost):+.2f}",
                limits,
                f"{min(lost):+.2f}",
            ]


def prices(keys: int, networks: Sequence[Path], folder: Path) -> Iterator[list[str]]:
    """Outputs of networks beside their unmarked selves, on drawn inputs; N as ``embed`` chooses it."""
    for network in networks:
        for insertion in ("replaced", "added"):
            found = []
            try:
                for number in range(keys):
                    marked, record = marked_anew(network, folder, number, insertion, None)
                    found.append(price_of(network, marked))
            except TraceabilityError as error:
                yield [network.stem, insertion, "", "", "", str(error).replace("\n", " ")[:120]]
                continue
            psnr = [price.psnr_db for price in found]
            alike = [price.agreement for price in found if price.agreement is not None]
            same = f"{mean(alike):.2%} ({min(alike):.2%})" if alike else ""
            yield [network.stem, insertion, *default_of(record), same, f"{mean(psnr):.1f} ({min(psnr):.1f})"]


def default_of(record: Path) -> tuple[str, str]:
    """Strength and N that ``embed`` chose."""
    kept = load_record(record)
    return f"{float(kept.parameters['strength']):g}", f"{kept.number_of_positions:,}"


PRICES = ("network", "insertion", "strength", "N", "same answer", "PSNR dB")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [" | ".join(heads), "|".join("---" for _ in heads), *(" | ".join(cells) for cells in rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks insertion", description=__doc__)
    parser.add_argument("--data", type=Path, help="directory with CIFAR-10, to measure Top-1")
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--accuracy", action="store_true", help="Top-1 alone, with limits")
    parser.add_argument(
        "--insertions", nargs="+", default=["added", "replaced"], help="of which --accuracy is measured"
    )
    parser.add_argument("--prices", type=Path, nargs="+", metavar="NETWORK", help="outputs of these networks alone")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    if options.prices:
        with tempfile.TemporaryDirectory() as folder:
            print(table(PRICES, list(prices(options.keys, options.prices, Path(folder)))))
        return 0
    samples = None
    if options.data is not None:
        task = find_task("classification")
        samples = every_kth(task.samples(options.data, task.testing_split), options.images)
    if options.accuracy:
        if samples is None:
            parser.error("--accuracy needs --data")
        heads = ["insertion", "strength", "N", "unmarked, %", "difference, points", "95 % limits", "worst key"]
        with tempfile.TemporaryDirectory() as folder:
            print(table(heads, list(kept_accuracy(options.keys, samples, Path(folder), options.insertions))))
        return 0
    heads = ["insertion", "strength", "N", "Top-1 %", "unmodified", *(name for name, _, _ in CHANGES)]
    with tempfile.TemporaryDirectory() as folder, shipped_network() as original:
        rows = []
        if samples is not None:
            rows.append(["unmarked", "", "", f"{accuracy_of(original, samples):.2f}", *[""] * (len(heads) - 4)])
        for insertion, strength, positions in WRITINGS:
            rows.append(row(insertion, strength, positions, options.keys, samples, Path(folder)))
            print(" ".join(rows[-1]), file=sys.stderr)
        text = (
            table(heads, rows)
            + "\n"
            + table(
                PRICES,
                list(prices(options.keys, [MODELS / "rdn-small.onnx", MODELS / "pix2pix-small.onnx"], Path(folder))),
            )
        )
    print(text)
    if options.output:
        options.output.write_text(text)
    return 0
