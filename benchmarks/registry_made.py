"""Registries of many records that are made in minutes, and candidates of one of these records.

Records are watermarks (or fingerprints) of one network under the keys 0, 1, 2, …; positions and values come from the real key
streams, a page of records at once. ``times`` repeats the pages under new numbers; the record that candidates carry comes last,
once. Bytes of records are made when they are asked for, since only the best are read.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.database import now
from onnxnnw.registry.pages import PAGE
from onnxnnw.registry.scan_data import FINGERPRINT, STEPS, Family, Scanned, offsets_of, scanned
from onnxnnw.registry.schema import tables
from onnxnnw.registry.store import Registry

__all__ = [
    "MODEL",
    "Made",
    "changed",
    "key_of",
    "make",
    "make_fingerprints",
    "make_layouts",
    "marked",
    "network_of",
    "opened",
]

MODEL = Path(__file__).parent.parent / "models" / "resnet8.onnx"
CHANGES = ("renamed", "int8", "folded")
SUM_MEAN, SUM_STD = 16 * (2**32 - 1) / 2, float(np.sqrt(16 * (2**64 - 1) / 12))
NO_HOST = np.empty(0, np.int16)


def key_of(number: int) -> Key:
    """The key of a record of the benchmark."""
    return Key(hashlib.sha256(f"onnxnnw benchmark {number}".encode()).digest())


class Made(Registry):
    """A registry whose records are made when they are asked for.

    Attributes:
        folder: Where it was made.
        template: Record of the network of all of them.
        distinct: How many different ones there are before they repeat.
        known: Bytes of the record that came last, and its number.
        drafted: Whether the others have anchors of their own, as enrolment reads them, and so another mark than their pages
            have: of strangers that passed by chance that changes nothing. They are kept: enrolment is not what is measured.
    """

    folder: Path
    template: Record
    distinct: int
    known: tuple[int, bytes]
    drafted = False

    def content(self, commitment: str) -> bytes:
        number = int(commitment, 16)
        if number == self.known[0]:
            return self.known[1]
        record = self.template.with_key(key_of(number % self.distinct))
        if record.kind == "fingerprint":
            return _of_stranger(record, number).to_bytes()
        return self._drafted(record, number) if self.drafted else record.to_bytes()

    def _drafted(self, record: Record, number: int) -> bytes:
        kept = self.folder / "drafted" / f"{number}.record"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(_with_own_anchors(network_of(self.folder), record).to_bytes())
        return kept.read_bytes()


@cache
def _measured_once(path: Path) -> tuple[Any, Any]:
    from onnxnnw.enrolment.measure_slots import measure_slot
    from onnxnnw.graph.slots import find_slots

    view = find_slots(open_network(path, for_writing=True).__enter__())  # open until the process ends
    return view, [measure_slot(slot, True) for slot in view.slots]


def _with_own_anchors(network: Path, record: Record) -> Record:
    """The record as it were, had its network been marked under its key."""
    from onnxnnw.enrolment.record_draft import _RecordDraft

    view, measured = _measured_once(network)
    begun = replace(record, arrays={}, account=None)
    drafted = _RecordDraft(view, measured, begun, None).watermark(())
    return replace(record, arrays={**record.arrays, **drafted.arrays})


def opened(folder: Path) -> Made:
    """The registry that was made in a folder."""
    registry = Made(folder / "made.db")
    registry.folder = folder
    registry.template = load_record(folder / "template.record")
    registry.distinct = int((folder / "distinct").read_text())
    known = folder / "known.record"
    registry.known = (int((folder / "known").read_text()), known.read_bytes()) if known.exists() else (-1, b"")
    return registry


def _of_stranger(record: Record, number: int) -> Record:
    """The fingerprint of another network of the same layout."""
    rng, arrays = np.random.default_rng(number), dict(record.arrays)
    arrays["values"] = _values_of(number, record.number_of_positions)
    for name in ("controls", "gauged", "anchors", "samples"):
        arrays[name] = rng.permutation(arrays[name])
    return replace(record, arrays=arrays, enrolled_digest=f"{number:064x}")


def _values_of(number: int, count: int) -> NDArray[np.float64]:
    return np.random.default_rng([number, 1]).standard_normal(count)


def network_of(folder: Path) -> Path:
    """The network whose records a folder has."""
    return folder / "network.onnx"


def make(folder: Path, count: int, times: int, network: Path = MODEL) -> None:
    """Write a registry of so many watermarks of a network, the pages of which are repeated, and of one more."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network, network_of(folder))
    embed(network, folder / "template.onnx", folder / "template.record", insertion="replaced")
    template = load_record(folder / "template.record")
    own = folder / "candidate.onnx", folder / "candidate.record"
    known = embed(network, *own, insertion="replaced", key=key_of(count)).record
    with _emptied(folder, count, times, known) as registry:
        places = places_of(template)
        for start in range(0, count, PAGE):
            several = page_of(template, range(start, min(count, start + PAGE)), places)
            for again in range(times):
                _write(registry, 1, [(again * count + start + k, one) for k, one in enumerate(several)])
        _write(registry, 1, [(count * times, scanned(known))])


def make_fingerprints(folder: Path, count: int, times: int, network: Path = MODEL) -> None:
    """Write a registry of so many fingerprints of drawn networks of one layout, and of the network itself."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network, network_of(folder))
    shutil.copyfile(network, folder / "candidate.onnx")
    known = fingerprint(network, folder / "template.record", key=key_of(count)).record
    with _emptied(folder, count, times, known) as registry:
        places = places_of(known)
        for start in range(0, count, PAGE):
            several = page_of(known, range(start, min(count, start + PAGE)), places)
            for again in range(times):
                _write(registry, 1, [(again * count + start + k, one) for k, one in enumerate(several)])
        _write(registry, 1, [(count * times, scanned(known))])


def make_layouts(folder: Path, layouts: int, each: int, network: Path = MODEL) -> None:
    """Write a registry of fingerprints of so many layouts: all but the first slot differ. Their pages hold the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network, network_of(folder))
    shutil.copyfile(network, folder / "candidate.onnx")
    known = fingerprint(network, folder / "template.record", key=key_of(each)).record
    with _emptied(folder, each, layouts, known) as registry:
        several = page_of(known, range(each), places_of(known))
        for layout in range(1, layouts):
            slots = tuple(_wider(entry, layout if k else 0) for k, entry in enumerate(known.slots))
            own = [replace(one, family=Family(FINGERPRINT, one.family.positions, slots)) for one in several]
            with registry.database.writing() as connection:
                group = registry._group(connection, own[0])
            _write(registry, group, [((layout - 1) * each + k, one) for k, one in enumerate(own)])
        _write(registry, 1, [((layouts - 1) * each + k, one) for k, one in enumerate(several[:-1])])
        _write(registry, 1, [(layouts * each, scanned(known))])


def _wider(entry: Any, rows: int) -> Any:
    return replace(entry, shape=(entry.shape[0] + rows, *entry.shape[1:]))


def _emptied(folder: Path, distinct: int, times: int, known: Record) -> Registry:
    """A registry with the group of one record and no records; what ``opened`` reads lies beside it."""
    (folder / "distinct").write_text(str(distinct))
    (folder / "known").write_text(str(distinct * times))
    (folder / "known.record").write_bytes(known.to_bytes())
    registry = Registry(folder / "made.db", create=True)
    registry.add([known.to_bytes()])
    with registry.database.writing() as connection:
        for table in (tables().screens, tables().wholes, tables().records):
            connection.execute(table.delete())
    return registry


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
    family = scanned(template).family
    out = []
    for row, (_, values) in enumerate(streams):
        summands = np.frombuffer(values, "<u4").reshape(count, 16).sum(axis=1, dtype=np.uint64).astype(np.float64)
        z = (summands - SUM_MEAN) / SUM_STD
        if family.name == FINGERPRINT:
            z = _values_of(numbers[row], count)
        out.append(Scanned(family, positions[row], np.clip(np.rint(z * STEPS), -127, 127).astype(np.int8), NO_HOST))
    record = template.with_key(key_of(numbers[0]))
    vars(record).update(positions_context=contexts[0], values_context=contexts[1])
    assert (scanned(record).positions == out[0].positions).all()
    assert family.name == FINGERPRINT or scanned(record).to_bytes(count) == out[0].to_bytes(count)
    return out


def _write(registry: Registry, group: int, several: list[tuple[int, Scanned]]) -> None:
    row: dict[str, Any] = {
        "group_id": group,
        "method": "nct",
        "kind": "watermark",
        "added_at": now(),
        "content": b"",
        "digest": "",
    }
    row |= dict.fromkeys(("actor", "role", "source_id", "destination_id", "network"), "")
    with registry.database.writing() as connection:
        rows = [{**row, "id": number + 1, "commitment": f"{number:064x}"} for number, _ in several]
        connection.execute(tables().records.insert(), rows)
        registry.pages.write(connection, group, [(number + 1, one) for number, one in several])


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


def changed(path: Path, out: Path, form: str) -> Path:
    """A candidate with other names; with ``int8``, weights per row behind DequantizeLinear; ``folded``, with other row scales."""
    import onnx
    from onnx import helper, numpy_helper

    model, nodes, rng = onnx.load(path), [], np.random.default_rng(0)
    graph = model.graph
    for number, tensor in enumerate(list(graph.initializer)):
        new, uses = f"onnx::Weight_{number}", list(_uses(graph, tensor.name))
        for node, place in uses:
            node.input[place] = new
        old, tensor.name = tensor.name, new
        if form == "renamed" or len(tensor.dims) < 2 or tensor.data_type != onnx.TensorProto.FLOAT or not uses:
            continue
        values, axis = numpy_helper.to_array(tensor), _row_axis(uses[0][0], len(tensor.dims))
        broadcast = [-1 if k == axis else 1 for k in range(values.ndim)]
        if form == "folded":
            values = values * rng.uniform(0.3, 3, values.shape[axis]).astype(np.float32).reshape(broadcast)
            tensor.CopyFrom(numpy_helper.from_array(values, new))
            continue
        others = tuple(k for k in range(values.ndim) if k != axis)
        scales = np.maximum(np.abs(values).max(axis=others), 1e-12) / np.float32(127)
        whole = np.rint(values / scales.reshape(broadcast)).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(whole, f"{new}_int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{new}_scale"))
        graph.initializer.append(numpy_helper.from_array(np.zeros(scales.size, np.int8), f"{new}_zero"))
        inputs = [f"{new}_int8", f"{new}_scale", f"{new}_zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [new], name=f"dequantise {old}"[:40], axis=axis))
    kept = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(kept)
    onnx.save(model, out)
    return out


def _uses(graph: Any, name: str) -> Iterator[tuple[Any, int]]:
    for node in graph.node:
        for place, given in enumerate(node.input):
            if given == name:
                yield node, place


def _row_axis(node: Any, dimensions: int) -> int:
    """The axis of the rows of a weight."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else dimensions - 1
