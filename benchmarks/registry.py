"""A registry of many records: what the scan of a candidate costs, and how often it loses the record.

    python -m benchmarks registry --make FOLDER --records 100000 --times 10 [--network FILE]
    python -m benchmarks registry --measure FOLDER

Records are watermarks of one network under the keys 0, 1, 2, …; positions and values come from the real key streams, a page
of records at once. ``--times`` repeats the pages under new numbers. Bytes of records are made when they are asked for, since
only the best are read.
"""

import argparse
import hashlib
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxnnw.enrolment.enrol import embed
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.database import now
from onnxnnw.registry.pages import PAGE
from onnxnnw.registry.scan import scan
from onnxnnw.registry.scan_data import SCREEN, STEPS, Family, Scanned, offsets_of, scanned
from onnxnnw.registry.schema import tables
from onnxnnw.registry.search import search_registry
from onnxnnw.registry.store import Registry
from onnxnnw.verification.looking import Looking

__all__ = ["main"]

MODEL = Path(__file__).parent.parent / "models" / "resnet8.onnx"
ROUNDS = 5
SUM_MEAN, SUM_STD = 16 * (2**32 - 1) / 2, float(np.sqrt(16 * (2**64 - 1) / 12))
NO_HOST = np.empty(0, np.int16)


def key_of(number: int) -> Key:
    """The key of a record of the benchmark."""
    return Key(hashlib.sha256(f"onnxnnw benchmark {number}".encode()).digest())


class Made(Registry):
    """A registry whose records are made when they are asked for."""

    template: Record
    distinct: int

    def content(self, commitment: str) -> bytes:
        return self.template.with_key(key_of(int(commitment, 16) % self.distinct)).to_bytes()


def opened(folder: Path) -> Made:
    """The registry that ``make`` made."""
    registry = Made(folder / "made.db")
    registry.template = load_record(folder / "template.record")
    registry.distinct = int((folder / "distinct").read_text())
    return registry


def network_of(folder: Path) -> Path:
    """The network whose records a folder has."""
    return folder / "network.onnx"


def make(folder: Path, count: int, times: int, network: Path = MODEL) -> None:
    """Write a registry of so many records of a network, the pages of which are repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network, network_of(folder))
    embed(network, folder / "template.onnx", folder / "template.record", insertion="replaced")
    (folder / "distinct").write_text(str(count))
    template = load_record(folder / "template.record")
    with Registry(folder / "made.db", create=True) as registry:
        registry.add([(folder / "template.record").read_bytes()])
        with registry.database.writing() as connection:
            for table in (tables().screens, tables().wholes, tables().records):
                connection.execute(table.delete())
        places = places_of(template)
        for start in range(0, count, PAGE):
            several = page_of(template, range(start, min(count, start + PAGE)), places)
            for again in range(times):
                _write(registry, [(again * count + start + k, one) for k, one in enumerate(several)])


def places_of(template: Record) -> NDArray[np.int64]:
    """Where in the layout each element lies that a position may be drawn from."""
    starts = offsets_of(template.slots)
    out = []
    for start, entry in zip(starts.tolist(), template.slots, strict=False):
        if entry.eligible:
            rows = np.delete(np.arange(entry.live_rows + len(entry.dead_rows)), entry.dead_rows)
            out.append(start + (rows[:, None] * entry.row_size + np.arange(entry.row_size)).reshape(-1))
    return np.concatenate(out)


def page_of(template: Record, numbers: Sequence[int], places: NDArray[np.int64]) -> list[Scanned]:
    """What ``scanned`` makes of the template under many keys: all their streams side by side; one is held against it."""
    count, contexts = template.number_of_positions, (template.positions_context, template.values_context)
    words = count + count // 4 + 16
    streams = [
        (
            key.stream("nct/positions", contexts[0]).take(8 * words),
            key.stream("nct/values", contexts[1]).take(64 * count),
        )
        for key in map(key_of, numbers)
    ]
    drawn = np.frombuffer(b"".join(one for one, _ in streams), "<u8").reshape(-1, words)
    assert drawn.max() < 2**64 // places.size * places.size
    index = (drawn % np.uint64(places.size)).astype(np.int64)
    order = np.argsort(index, axis=1, kind="stable")
    ascending = np.take_along_axis(index, order, 1)
    first = np.ones(index.shape, bool)
    np.put_along_axis(first, order[:, 1:], ascending[:, 1:] != ascending[:, :-1], 1)
    chosen = np.argsort(~first, axis=1, kind="stable")[:, :count]  # the first of each, in the order of the stream
    assert np.take_along_axis(first, chosen, 1).all()
    positions = places[np.take_along_axis(index, chosen, 1)]
    family = Family("replaced", count, template.slots)
    out = []
    for row, (_, values) in enumerate(streams):
        summands = np.frombuffer(values, "<u4").reshape(count, 16).sum(axis=1, dtype=np.uint64).astype(np.float64)
        z = (summands - SUM_MEAN) / SUM_STD
        out.append(Scanned(family, positions[row], np.clip(np.rint(z * STEPS), -127, 127).astype(np.int8), NO_HOST))
    record = template.with_key(key_of(numbers[0]))
    vars(record).update(positions_context=contexts[0], values_context=contexts[1])
    assert scanned(record).to_bytes(count) == out[0].to_bytes(count)
    return out


def _write(registry: Registry, several: list) -> None:
    row = {"group_id": 1, "method": "nct", "kind": "watermark", "added_at": now(), "content": b"", "digest": ""}
    row |= dict.fromkeys(("actor", "role", "source_id", "destination_id", "network"), "")
    with registry.database.writing() as connection:
        rows = [{**row, "id": number + 1, "commitment": f"{number:064x}"} for number, _ in several]
        connection.execute(tables().records.insert(), rows)
        registry.pages.write(connection, 1, [(number + 1, one) for number, one in several])


def marked(folder: Path, number: int, strength: float = 1.0) -> Path:
    """The network with the mark of one record; a part of its strength is left, as noise leaves it."""
    from onnxnnw.graph.slots import find_slots
    from onnxnnw.methods.nct import mark
    from onnxnnw.network_file.patch import Edit, write_patched

    record = load_record(folder / "template.record").with_key(key_of(number))
    out = folder / f"marked-{number}-{strength:g}.onnx"
    rng = np.random.default_rng(number)
    with open_network(network_of(folder), for_writing=True) as network:
        slots, edits = find_slots(network).by_name(), []
        for name, (places, values) in mark(record).items():
            noise = rng.standard_normal(values.size) * values.std() * np.sqrt(max(0.0, 1 / strength**2 - 1))
            edits.append(Edit(*slots[name].edits(places, values + noise)))
        write_patched(network, out, edits)
    return out


def recall(folder: Path, effects: tuple[float, ...] = (1.0, 0.5, 0.3), known: int = 2000) -> None:
    """How many of so many known candidates the first 64 positions lose, by effect, and what the normal distribution expects."""
    registry = opened(folder)
    template = registry.template
    contexts = {"positions_context": template.positions_context, "values_context": template.values_context}
    rng = np.random.default_rng(0)
    for effect in effects:
        lost = 0
        for number in range(known):
            record = template.with_key(key_of(number))
            vars(record).update(contexts)
            z = scanned(record).expected[:SCREEN] / 16
            x = effect * z + np.sqrt(1 - effect**2) * rng.standard_normal(SCREEN)
            lost += float(x @ z) / float(np.sqrt((x @ x) * (z @ z))) * np.sqrt(SCREEN) <= 1.0
        print(f"| {effect:g} | {lost} of {known} |")


def measure(folder: Path) -> None:
    """Time the scan and the whole search, and count strangers that are found."""
    registry = opened(folder)
    number = 1234
    copy = marked(folder, number)
    screens, wholes = [], []
    for _ in range(ROUNDS):
        start = _now()
        found = search_registry(copy, registry)
        wholes.append(_now() - start)
        assert found.search.best.decision == "traced", found.search.best
        with open_network(copy) as network:
            looking = Looking(network, [], 1e-6, False)
            start = _now()
            scan(registry, looking)
            screens.append(_now() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{found.tried:,} records, {found.passed:,} passed, best log10 p {found.search.best.log10_p:.1f}")
    for name, times in (("scan", screens), ("whole search", wholes)):
        wall, processor = np.median(times, axis=0)
        print(f"{name}: {wall:.2f} s, {processor:.2f} s of processor time")
    print(f"peak {peak:.0f} MB")


def _now() -> NDArray[np.float64]:
    """Time of the clock and of the processor, of all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def strangers(folder: Path, count: int = 200) -> None:
    """Networks with other weights of the same layout: none may be traced."""
    from onnxnnw.graph.slots import find_slots
    from onnxnnw.network_file.patch import Edit, write_patched

    registry, traced = opened(folder), 0
    for seed in range(count):
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
        traced += found.search.best.decision == "traced"
    print(f"{count} strangers against {found.tried:,} records: {traced} traced")


def main(arguments: list[str]) -> int:
    """Make a registry, or measure with it."""
    parser = argparse.ArgumentParser(prog="benchmarks registry")
    parser.add_argument("--make", type=Path)
    parser.add_argument("--measure", type=Path)
    parser.add_argument("--strangers", type=Path)
    parser.add_argument("--recall", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--network", type=Path, default=MODEL)
    chosen = parser.parse_args(arguments)
    if chosen.make:
        make(chosen.make, chosen.records, chosen.times, chosen.network)
    for folder, run in ((chosen.measure, measure), (chosen.strangers, strangers), (chosen.recall, recall)):
        if folder:
            run(folder)
    return 0
