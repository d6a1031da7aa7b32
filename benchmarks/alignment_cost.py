"""What an alignment of a ResNet-50's weights costs, in seconds and bytes."""

import argparse
import resource
import time
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import Report, progress
from onnxnnw.alignment import Weight, align_networks

__all__ = ["KINDS", "measure_cost"]

KINDS = ("nothing moved", "permuted", "permuted, names gone", "permuted and rescaled", "+ signs")


def measure_cost(report: Report, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    ours = {
        name: (rng.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for name, s in _resnet50().items()
    }
    rows = []
    for kind in options.kinds or KINDS:
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
