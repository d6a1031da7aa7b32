"""Alignment with a reference network: is it calibrated, does it see through disguises, and what does it cost?

    python -m benchmarks alignment calibration [--keys 2000] [--workers 2] [--output FILE]
    python -m benchmarks alignment disguises NETWORK… [--output FILE]
    python -m benchmarks alignment strangers --data DIRECTORY [--networks 21] [--output FILE]
    python -m benchmarks alignment cost [--output FILE]

``calibration`` draws wrong keys, brings candidates into the reference's order, and counts how often the strict test is small.
Candidates are related (made from the unmarked original or from another key's copy) and unrelated. Its last rows leave the wrong
key's mark in the reference, which is what must not be done. ``disguises`` marks networks, disguises the copies weight by weight and
verifies them with and without the original. ``strangers`` trains networks of one architecture on the same images from other initial
values, and holds each pair together. ``cost`` aligns weights of ResNet-50's shapes.
"""

import argparse
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.alignment_disguises import KINDS, Disguise, Truth, disguised
from benchmarks.tables import Report, progress
from onnxnnw.alignment import Weight, align_networks
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.methods.base import Judgement
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.ordered import examiner as with_reference
from onnxnnw.verification.ordered.fingerprint import judge_fingerprint
from onnxnnw.verification.ordered.reference import Aligned, Reference
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.alignment_draws import CANDIDATES, WAYS, Draws, saved, wrong_keys
from tests.support.null_draws import LEVELS, limits, share

__all__ = ["main"]

_CHUNK, _VALUES = 10, 50
"""Keys that draw positions in one task, and keys that draw values for each of them."""


def main(arguments: Sequence[str]) -> int:
    """Measure one of the parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks alignment", description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    calibration = parts.add_parser("calibration", help="wrong keys after alignment")
    calibration.add_argument("--keys", type=int, default=2000)
    calibration.add_argument("--control", type=int, default=200, help="wrong keys whose mark is left in the reference")
    calibration.add_argument("--workers", type=int, default=2)
    disguises = parts.add_parser("disguises", help="decisions with and without a reference")
    disguises.add_argument("networks", nargs="+", type=Path)
    strangers = parts.add_parser("strangers", help="pairs of networks of one architecture and one data set")
    strangers.add_argument("--data", type=Path, required=True, help="a directory of CIFAR-10 with train/CLASS/*.jpg")
    strangers.add_argument("--networks", type=int, default=21)
    cost = parts.add_parser("cost", help="seconds and bytes for the weights of a ResNet-50")
    for part in (calibration, disguises, strangers, cost):
        part.add_argument("--output", type=Path, help="a page that gets the report")
    options = parser.parse_args(arguments)
    report = Report("alignment", list(arguments), section=f"alignment {options.part}")
    {"calibration": _calibration, "disguises": _disguises, "strangers": _strangers, "cost": _cost}[options.part](
        report, options
    )
    report.publish(options.output)
    return 0


# --- wrong keys -------------------------------------------------------------------------------------------------------


def _calibration(report: Report, options: argparse.Namespace) -> None:
    counts = {
        (way, name): (options.keys // _VALUES if way != WAYS[2] else options.control)
        for way in WAYS
        for name in CANDIDATES
        if way != WAYS[2] or "stranger" in name
    }
    tasks = [
        (way, name, first, min(_CHUNK, count - first), _VALUES if way != WAYS[2] else 1)
        for (way, name), count in counts.items()
        for first in range(0, count, _CHUNK)
    ]
    found: dict[tuple[str, str], list[Draws]] = {}
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for (way, name, *_), draws in zip(tasks, pool.map(_some, tasks), strict=True):
            found.setdefault((way, name), []).append(draws)
            all_p = np.concatenate([d.raw for d in found[way, name]])
            progress(f"{way}, {name}: {all_p.size} keys, {[round(share(all_p, level), 4) for level in LEVELS]}")
    bounds = [limits(options.keys, level) for level in LEVELS]
    within = (f"{low:.2%} … {high:.2%} (p ≤ {a:g})" for a, (low, high) in zip(LEVELS, bounds, strict=True))
    report.say(
        f"{options.keys:,} wrong keys each: {_VALUES} that draw values for each of {options.keys // _VALUES} that draw "
        f"positions, and for each of these the candidate is aligned anew; {options.control} in the last rows. An exact test "
        f"stays within {', '.join(within)} with probability .999. *Raw* is the test of values alone; *printed* pays for both views "
        "and is what a verdict has before it is multiplied by two readings and the number of records. A candidate that differs "
        "from the host by rounding alone has p = 1."
    )
    rows = []
    for (way, name), several in found.items():
        for view, values in (
            ("raw", np.concatenate([d.raw for d in several])),
            ("printed", np.concatenate([d.log10_p for d in several])),
        ):
            shares = [f"{share(values, level):.2%}" for level in LEVELS]
            rows.append([way, name, view, *shares, f"{values.min():.1f}", str(sum(d.traced for d in several))])
    headers = [
        "mark",
        "candidate",
        "view",
        *(f"p ≤ {level:g}" for level in LEVELS),
        "smallest log10 p",
        "traced at 1e-6",
    ]
    report.table("Wrong keys after alignment", headers, rows)


def _some(task: tuple[str, str, int, int, int]) -> Draws:
    way, name, first, keys, values = task
    with tempfile.TemporaryDirectory() as folder:
        (draws,) = wrong_keys(Path(folder), way, [name], keys, values, 10_000 + first)
    return draws


# --- disguises --------------------------------------------------------------------------------------------------------


def _disguises(report: Report, options: argparse.Namespace) -> None:
    report.say(
        "Each weight has rows and channels of an order of its own (and scales, signs, dummies … of both). *Right* is the share of "
        "rows and channels that are found where they are, over all weights; decisions are of the added mark and the fingerprint, "
        "with the unmarked original (the marked copy) as reference, and without one."
    )
    rows = []
    for path in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            for kind, how in KINDS.items():
                rows.append([path.stem, kind, *_disguise(Path(folder), path, how)])
                progress(" | ".join(rows[-1]))
    headers = [
        "network",
        "disguise",
        "right",
        "mark, with",
        "effect",
        "mark, without",
        "fingerprint, with",
        "effect",
        "seconds",
    ]
    report.table("Disguises", headers, rows)
    for column, name in ((3, "mark with reference"), (5, "mark without"), (6, "fingerprint with reference")):
        traced = sum(row[column] == "traced" for row in rows)
        report.say(f"Traced, {name}: {traced} of {len(rows)}.")


def _disguise(folder: Path, path: Path, how: Disguise) -> list[str]:
    marked = folder / "marked.onnx"
    if not marked.exists():
        embed(path, marked, folder / "mark.record", key=Key(b"alignment".ljust(32, b".")))
        fingerprint(marked, folder / "print.record", key=Key(b"fingerprint".ljust(32, b".")))
    truth = disguised(marked, folder / "candidate.onnx", how, np.random.default_rng(0))
    mark, kept = (load_record(folder / f"{name}.record") for name in ("mark", "print"))
    seen: list[Aligned] = []
    whole = Reference.aligned

    def watched(self: Reference, *arguments: Any) -> Aligned | None:
        found = whole(self, *arguments)
        seen.extend([found] if found is not None else [])
        return found

    start = time.process_time()
    with mock.patch.object(Reference, "aligned", watched):
        (with_reference,) = verify(folder / "candidate.onnx", [mark], reference=path)
    seconds = time.process_time() - start
    (without,) = verify(folder / "candidate.onnx", [mark])
    (of_print,) = verify(folder / "candidate.onnx", [kept], reference=marked)
    right = _right(mark, seen[0], truth) if seen else float("nan")
    return [
        "not aligned: traced as it stands" if not seen else f"{right:.1%}",
        with_reference.decision,
        f"{with_reference.effect:.2f}",
        without.decision,
        of_print.decision,
        f"{of_print.effect:.2f}",
        f"{seconds:.1f}",
    ]


def _right(record: Record, aligned: Aligned, truth: Truth) -> float:
    """Share of rows and channels that were found where they are."""
    good = count = 0
    for number, entry in enumerate(record.slots):
        if entry.name not in truth:
            continue
        rows, channels = truth[entry.name]
        order = aligned.orders.get(number)
        count += rows.size + channels.size
        if order is not None and (len(order.rows), order.channels.shape) == (rows.size, (1, channels.size)):
            good += int((order.rows == rows).sum() + (order.channels[0] == channels).sum())
    return good / max(1, count)


# --- strangers --------------------------------------------------------------------------------------------------------

_STRANGER_SHAPES = {"a": (32, 3, 3, 3), "b": (32, 32, 3, 3), "c": (48, 32, 3, 3), "d": (48, 48, 3, 3), "fc": (10, 48)}


def _strangers(report: Report, options: argparse.Namespace) -> None:
    images, labels = _images(options.data)
    decisions: Counter[tuple[str, str]] = Counter()
    effects: list[float] = []
    scores: list[float] = []
    log10_p: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        accuracy = []
        for seed in range(options.networks):
            weights, right = _trained(seed, images, labels)
            accuracy.append(right)
            saved(weights, folder / f"{seed}.onnx")
            plain = folder / f"{seed}.onnx"
            embed(plain, folder / f"{seed}.marked.onnx", folder / f"{seed}.mark", positions=256)
            fingerprint(plain, folder / f"{seed}.print", positions=256)
            progress(f"network {seed}: {right:.0%}")
        pairs = list(combinations(range(options.networks), 2))
        for one, other in pairs:
            records = [load_record(folder / f"{one}.{kind}") for kind in ("mark", "print")]
            verdicts, effect = _with_effect(folder / f"{other}.onnx", records, folder / f"{one}.onnx")
            effects.append(effect)
            for verdict in verdicts:
                decisions[verdict.kind, verdict.decision] += 1
                assert verdict.reference is not None
                if verdict.kind == "watermark":
                    scores.append(verdict.reference.score)
                    log10_p.append(verdict.log10_p)
            progress(f"{one} and {other}: {dict(decisions)}")
    report.say(
        f"{options.networks} networks of one architecture ({', '.join(str(s) for s in _STRANGER_SHAPES.values())}), trained on the "
        f"same {len(images):,} images of CIFAR-10 from other initial values to {min(accuracy):.0%} … {max(accuracy):.0%} of these; "
        f"{len(pairs)} pairs, each judged with the reference of its record."
    )
    rows = [[kind, decision, str(count)] for (kind, decision), count in sorted(decisions.items())]
    report.table("Strangers of one architecture", ["record", "decision", "pairs"], rows)
    levels = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
    table = [
        ["score of the alignment", *(f"{q:.2f}" for q in np.quantile(scores, levels))],
        ["log10 p of the mark (of 256 positions)", *(f"{q:.2f}" for q in np.quantile(log10_p, levels))],
        [
            "effect of the fingerprint in the reference's order",
            *(f"{q:.2f}" for q in np.quantile(effects, levels)),
        ],
    ]
    report.table("Quantiles over the pairs", ["", *(f"{level:.0%}" for level in levels)], table)


def _with_effect(candidate: Path, records: list[Record], reference: Path) -> tuple[list[Verdict], float]:
    """The verdicts, and the effect of the fingerprint in the reference's order, whatever became of its verdict."""
    effects = [0.0]

    def watched(record: Record, aligned: Aligned) -> Judgement:
        judgement = judge_fingerprint(record, aligned)
        effects.append(judgement.association.effect)
        return judgement

    with mock.patch.object(with_reference, "judge_fingerprint", watched):
        return verify(candidate, records, reference=reference), effects[-1]


def _images(data: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first 200 training images of each class, (n, 3, 32, 32), and their classes."""
    from PIL import Image

    classes = sorted(path for path in (data / "train").iterdir() if path.is_dir())
    files = [(path, number) for number, folder in enumerate(classes) for path in sorted(folder.iterdir())[:200]]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32) for path, _ in files])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), np.array([number for _, number in files])


def _trained(
    seed: int, images: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """A small network after three epochs, and the share of its training images that it knows."""
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    weights = {
        name: (torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5).requires_grad_()
        for name, shape in _STRANGER_SHAPES.items()
    }
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    inputs = (inputs - inputs.mean((0, 2, 3), keepdim=True)) / inputs.std((0, 2, 3), keepdim=True)

    def answer(batch: Any) -> Any:
        for name in list(weights)[:-1]:
            batch = functional.relu(functional.conv2d(batch, weights[name], padding=1))
            batch = functional.max_pool2d(batch, 2) if name != "d" else batch
        return batch.mean((2, 3)) @ weights["fc"].T

    adam = torch.optim.Adam(weights.values(), 2e-3)
    for _ in range(3):
        for batch in torch.randperm(len(inputs)).split(100):
            adam.zero_grad()
            functional.cross_entropy(answer(inputs[batch]), targets[batch]).backward()
            adam.step()
    with torch.no_grad():
        right = float(
            np.mean(
                [
                    (answer(inputs[b]).argmax(1) == targets[b]).float().mean()
                    for b in torch.arange(len(inputs)).split(500)
                ]
            )
        )
    return {name: weight.detach().numpy() for name, weight in weights.items()}, right


# --- cost -------------------------------------------------------------------------------------------------------------


def _cost(report: Report, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    ours = {
        name: (rng.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for name, s in _resnet50().items()
    }
    rows = []
    for kind in ("nothing moved", "permuted", "permuted, names gone", "permuted and rescaled", "+ signs"):
        theirs: dict[str, NDArray[np.float32]] = {}
        truth = {}
        for number, (name, array) in enumerate(ours.items()):
            lines = len(array), array.shape[1]
            orders = [np.arange(n) if kind == "nothing moved" else rng.permutation(n) for n in lines]
            factors = [
                np.exp(0.8 * rng.standard_normal(n)) if "rescaled" in kind or "signs" in kind else np.ones(n)
                for n in lines
            ]
            if "signs" in kind:
                factors = [each * rng.choice([-1, 1], each.size) for each in factors]
            moved = array * np.multiply.outer(*factors).reshape(*lines, *[1] * (array.ndim - 2))
            theirs[f"x{number}" if "gone" in kind else name] = moved[orders[0]][:, orders[1]].astype(np.float32)
            truth[name] = [np.argsort(order) for order in orders]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, busy = time.perf_counter(), time.process_time()
        found = align_networks(_weights(ours), _weights(theirs))
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        right = np.mean([
            np.mean([np.mean(one.matrix.rows == truth[name][0]), np.mean(one.matrix.channels[0] == truth[name][1])]) if one else 0.0
            for name, one in zip(ours, found.slots, strict=True)
        ])  # fmt: skip
        rows.append([kind, f"{wall:.1f}", f"{busy:.1f}", f"{more:.0f}", f"{right:.2%}", f"{found.score:.3f}"])
        progress(" | ".join(rows[-1]))
    report.say(
        f"{len(ours)} drawn weights of ResNet-50's shapes, {sum(a.size for a in ours.values()):,} elements, each in its "
        "own order. Seconds of processor time are what a quiet core takes; memory is what the peak rose by."
    )
    report.table(
        "A ResNet-50", ["disguise", "seconds", "seconds of processor time", "MB", "channels right", "score"], rows
    )


def _weights(arrays: dict[str, NDArray[np.float32]]) -> list[Weight]:
    return [
        Weight(name, len(a), a[0].size, int(np.prod(a.shape[2:])), 1, "product", partial(a.reshape, len(a), -1))
        for name, a in arrays.items()
    ]


def _resnet50() -> dict[str, tuple[int, ...]]:
    """Shapes of all weights [He et al. 2016, table 1]."""
    out: dict[str, tuple[int, ...]] = {"stem": (64, 3, 7, 7)}
    inputs = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            name = f"{stage}.{block}"
            out[f"{name}.1"], out[f"{name}.2"], out[f"{name}.3"] = (
                (width, inputs, 1, 1),
                (width, width, 3, 3),
                (4 * width, width, 1, 1),
            )
            if block == 0:
                out[f"{name}.shortcut"] = (4 * width, inputs, 1, 1)
            inputs = 4 * width
    out["fc"] = (1000, 2048)
    return out
