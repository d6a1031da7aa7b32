"""A registry of many records: making it, and how often the first positions or a stranger lead the scan astray.

    python -m benchmarks registry --make FOLDER --records 102400 --times 10 [--network FILE]
    python -m benchmarks registry --make-fingerprints FOLDER --records 102400 --times 10
    python -m benchmarks registry --make-layouts FOLDER --layouts 10000 --records 100
    python -m benchmarks registry --strangers FOLDER [--count 200]
    python -m benchmarks registry --screen FOLDER [--count 2000]

What a candidate costs is measured by ``registry_cost``, known copies are counted by ``registry_recall``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.registry_made import MODEL, key_of, make, make_fingerprints, make_layouts, network_of, opened
from benchmarks.tables import progress
from onnxnnw.network_file.file import open_network
from onnxnnw.registry.scan import PASSES
from onnxnnw.registry.scan_data import LONGER, scanned
from onnxnnw.registry.search import search_registry

__all__ = ["main", "z_of"]


def screen(folder: Path, count: int, effects: tuple[float, ...] = (1.0, 0.5, 0.3)) -> None:
    """How many of so many known candidates the first 64 and 128 positions lose, by effect, in their own statistic."""
    registry = opened(folder)
    template = registry.template
    contexts = {"positions_context": template.positions_context, "values_context": template.values_context}
    rng = np.random.default_rng(0)
    for effect in effects:
        lost = [0, 0]
        for number in range(count):
            record = template.with_key(key_of(number))
            vars(record).update(contexts)
            wanted = scanned(record).expected[:LONGER] / 16
            found = effect * wanted + np.sqrt(1 - effect**2) * rng.standard_normal(LONGER)
            steps = [z_of(found[:n], wanted[:n]) > least for n, least in PASSES]
            lost[0] += not steps[0]
            lost[1] += steps[0] and not steps[1]
        print(f"| {effect:g} | {lost[0]} | {lost[1]} | {count} |")


def z_of(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The scan's statistic of some positions of one record."""
    return float(found @ wanted / np.sqrt((found @ found) * (wanted @ wanted)) * np.sqrt(found.size))


def strangers(folder: Path, count: int, kept: Path | None) -> int:
    """Networks with other weights of the same layout: none may be traced; how many were."""
    from onnxnnw.graph.slots import find_slots
    from onnxnnw.network_file.patch import Edit, write_patched

    registry = opened(folder)
    done = [] if kept is None or not kept.exists() else [json.loads(line) for line in kept.read_text().splitlines()]
    for seed in range(len(done), count):
        rng = np.random.default_rng(seed)
        out = folder / "stranger.onnx"
        with open_network(network_of(folder), for_writing=True) as network:
            edits = []
            for slot in find_slots(network).slots:
                values = slot.array().reshape(-1)
                drawn = rng.permutation(values) if seed % 2 else rng.standard_normal(values.size) * values.std()
                edits.append(Edit(*slot.edits(np.arange(values.size), drawn.astype(np.float64))))
            write_patched(network, out, edits)
        found = search_registry(out, registry)
        done.append({"traced": found.search.best.decision == "traced", "log10_p": found.search.best.log10_p})
        if kept is not None:
            with kept.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
        progress(f"{len(done)} strangers")
    traced, least = sum(one["traced"] for one in done), min(one["log10_p"] for one in done)
    print(f"{len(done)} strangers against {len(registry):,} records: {traced} traced; least log10 p {least:.2f}")
    return traced


def main(arguments: list[str]) -> int:
    """Make a registry, or count with it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks registry", description=__doc__)
    for name in ("make", "make-fingerprints", "make-layouts", "strangers", "screen"):
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    parser.add_argument("--records", type=int, default=102_400, help="different records, or records of a layout")
    parser.add_argument("--times", type=int, default=1, help="so often pages are repeated under new numbers")
    parser.add_argument("--layouts", type=int, default=10_000)
    parser.add_argument("--count", type=int, default=200, help="candidates")
    parser.add_argument("--kept", type=Path, help="a file of what was found of strangers, to go on with")
    parser.add_argument("--network", type=Path, default=MODEL)
    chosen = parser.parse_args(arguments)
    if chosen.make:
        make(chosen.make, chosen.records, chosen.times, chosen.network)
    if chosen.make_fingerprints:
        make_fingerprints(chosen.make_fingerprints, chosen.records, chosen.times, chosen.network)
    if chosen.make_layouts:
        make_layouts(chosen.make_layouts, chosen.layouts, chosen.records, chosen.network)
    if chosen.screen:
        screen(chosen.screen, chosen.count)
    return strangers(chosen.strangers, chosen.count, chosen.kept) if chosen.strangers else 0
