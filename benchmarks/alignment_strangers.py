"""Pairs of networks of one architecture, trained on the same images from other initial values: nothing may call them related."""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import Report, progress
from onnxnnw.comparison import compare
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.methods.base import Judgement
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.ordered import examiner as with_reference
from onnxnnw.verification.ordered.fingerprint import MIN_EFFECT, judge_fingerprint
from onnxnnw.verification.ordered.reference import Aligned
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.alignment_draws import saved

__all__ = ["images_of", "measure_strangers"]

_SHAPES = {"a": (32, 3, 3, 3), "b": (32, 32, 3, 3), "c": (48, 32, 3, 3), "d": (48, 48, 3, 3), "fc": (10, 48)}
_LEVELS = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
_HINT = "other-channel-order"
_PER_CLASS = 200


class _Seen:
    """What is known of the pairs so far."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.values: dict[str, list[float]] = {
            "score of the alignment": [],
            "log10 p of the mark (of 256 positions), in the reference's order": [],
            "effect of the fingerprint in the reference's order": [],
            "agreements in a hidden width, by compare": [],
        }

    def add(self, name: str, value: float) -> None:
        """Another pair's value."""
        self.values[next(key for key in self.values if key.startswith(name))].append(value)


def measure_strangers(report: Report, options: argparse.Namespace) -> None:
    """Train, hold every pair together, and count what was said."""
    images, labels = images_of(options.data, _PER_CLASS)
    seen = _Seen()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if options.folder is None else options.folder
        for seed in range(options.networks):
            if not (folder / f"{seed}.print").exists():
                weights, right = _trained(seed, images, labels, options.epochs)
                plain = saved(weights, folder / f"{seed}.onnx")
                embed(plain, folder / f"{seed}.marked.onnx", folder / f"{seed}.mark", positions=256)
                fingerprint(plain, folder / f"{seed}.print", positions=256)
                progress(f"network {seed}: {right:.0%}")
        pairs = list(combinations(range(options.networks), 2))
        np.random.default_rng(0).shuffle(pairs)  # so that those that are held together in time are of all networks
        end = time.monotonic() + 60 * options.minutes
        for done, (one, other) in enumerate(pairs, 1):
            _hold(folder, int(one), int(other), seen)
            progress(f"{done} of {len(pairs)} pairs: {dict(seen.decisions)}")
            if time.monotonic() > end:
                break
    report.say(
        f"{options.networks} networks of one architecture ({', '.join(str(s) for s in _SHAPES.values())}), trained for "
        f"{options.epochs} epochs on the same {len(images):,} images of CIFAR-10, at 16 × 16, from other initial values; {done} of "
        f"{len(pairs)} pairs, in an order that was drawn. Each is judged with the reference of its record and without one, and "
        "compared without a record."
    )
    rows = [[asked, answer, str(count)] for (asked, answer), count in sorted(seen.decisions.items())]
    report.table("Strangers of one architecture", ["asked", "answer", "pairs"], rows)
    table = [[name, *(f"{q:.2f}" for q in np.quantile(values, _LEVELS))] for name, values in seen.values.items()]
    report.table("Quantiles over the pairs", ["", *(f"{level:.0%}" for level in _LEVELS)], table)
    if options.figure is not None:
        _draw(seen.values, options.figure)


def _hold(folder: Path, one: int, other: int, seen: _Seen) -> None:
    """One pair: the mark and the fingerprint of the one in the other."""
    candidate, owner = folder / f"{other}.onnx", folder / f"{one}.onnx"
    records = [load_record(folder / f"{one}.{kind}") for kind in ("mark", "print")]
    verdicts, effect = _with_effect(candidate, records, owner)
    seen.add("effect", effect)
    for verdict in verdicts:
        seen.decisions[f"verify --reference, {verdict.kind}", verdict.decision] += 1
        assert verdict.reference is not None
        if verdict.kind == "watermark":
            seen.add("score", verdict.reference.score)
            seen.add("log10 p", verdict.log10_p)
    for verdict in verify(candidate, records):
        seen.decisions[f"verify, {verdict.kind}", verdict.decision] += 1
        hint = any(finding.id == _HINT for finding in verdict.findings)
        seen.decisions[f"hint, {verdict.kind}", "given" if hint else "none"] += 1
    found = compare(owner, candidate)
    seen.decisions["compare", found.relation] += 1
    if found.orders is not None:  # no width: nothing corresponds at all
        seen.add("agreements", found.orders.agreeing / max(1, found.orders.widths))


def _with_effect(candidate: Path, records: list[Record], reference: Path) -> tuple[list[Verdict], float]:
    """The verdicts, and the effect of the fingerprint in the reference's order, whatever became of its verdict."""
    effects = [0.0]

    def watched(record: Record, aligned: Aligned) -> Judgement:
        judgement = judge_fingerprint(record, aligned)
        effects.append(judgement.association.effect)
        return judgement

    with mock.patch.object(with_reference, "judge_fingerprint", watched):
        return list(verify(candidate, records, reference=reference)), effects[-1]


def images_of(data: Path, per_class: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first training images of each class, (n, 3, 32, 32), and their classes."""
    from PIL import Image

    classes = sorted(path for path in (data / "train").iterdir() if path.is_dir())
    files = [(path, number) for number, folder in enumerate(classes) for path in sorted(folder.iterdir())[:per_class]]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32) for path, _ in files])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), np.array([number for _, number in files])


def _trained(
    seed: int, images: NDArray[np.float32], labels: NDArray[np.int64], epochs: int
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """A small network after some epochs, and the share of its training images that it knows."""
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    weights = {
        name: (torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5).requires_grad_() for name, shape in _SHAPES.items()
    }
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    inputs = functional.avg_pool2d(inputs, 2)  # (n, 3, 16, 16): a quarter of the work
    inputs = (inputs - inputs.mean((0, 2, 3), keepdim=True)) / inputs.std((0, 2, 3), keepdim=True)

    def answer(batch: Any) -> Any:
        for name in list(weights)[:-1]:
            batch = functional.relu(functional.conv2d(batch, weights[name], padding=1))
            batch = functional.max_pool2d(batch, 2) if name != "d" else batch
        return batch.mean((2, 3)) @ weights["fc"].T

    adam = torch.optim.Adam(weights.values(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(100):
            adam.zero_grad()
            functional.cross_entropy(answer(inputs[batch]), targets[batch]).backward()
            adam.step()
    with torch.no_grad():
        parts = torch.arange(len(inputs)).split(500)
        right = float(np.mean([(answer(inputs[b]).argmax(1) == targets[b]).float().mean() for b in parts]))
    return {name: weight.detach().numpy() for name, weight in weights.items()}, right


def _draw(values: Mapping[str, list[float]], path: Path) -> None:
    """One quantile plot for each measured number: where the pairs lie, and what would have been called related."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    limits = {"log10 p": (-6.6, "traced below"), "effect": (MIN_EFFECT, "traced above")}
    figure, places = pyplot.subplots(1, len(values), figsize=(3.1 * len(values), 2.7), dpi=90)
    for axes, (name, several) in zip(places, values.items(), strict=True):
        ordered = np.sort(several)
        axes.plot((np.arange(ordered.size) + 0.5) / max(1, ordered.size), ordered, ".", markersize=3)
        for key, (limit, words) in limits.items():
            if name.startswith(key):
                axes.axhline(limit, color="tab:red", linewidth=1)
                axes.annotate(words, (0.02, limit), fontsize=7, color="tab:red", va="bottom")
        axes.set_title(name.partition(" (")[0].partition(",")[0], fontsize=8)
        axes.set_xlabel("share of the pairs", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
