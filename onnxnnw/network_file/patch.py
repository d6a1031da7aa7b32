"""Changed bytes into a copy, atomically: everything else stays as it is, byte for byte.

External data is written beside the output first, the model last: *the rename of the model is the commit*. A process that is
killed may leave a ``.partial`` file, never a torn network.
"""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnsupportedNetwork, UsageError
from onnxnnw.network_file import wire
from onnxnnw.network_file.cutting import MAX_EMBEDDED
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.relocation import Layout, laid_out, with_raw_data
from onnxnnw.network_file.source import Source, identity_of
from onnxnnw.network_file.stored import Array, StoredTensor
from onnxnnw.network_file.writing import COPIED_AT_ONCE, atomic_file, refuse_place, write_at
from onnxnnw.notices import tell

__all__ = [
    "Edit",
    "external_name",
    "joined_edits",
    "layout_of",
    "refuse_own_files",
    "rewritten",
    "write_patched",
]


class Edit(NamedTuple):
    """New stored values at flat stored positions, in this order; neighbours, given as a range, are written at once."""

    tensor: StoredTensor
    positions: NDArray[np.int64] | range
    content: bytes


def joined_edits(edits: Iterable[Edit]) -> list[Edit]:
    """One edit for each tensor, where several parts of one are changed; positions must not occur twice."""
    parts: dict[int, list[Edit]] = {}
    for edit in edits:
        parts.setdefault(id(edit.tensor), []).append(edit)
    return [
        same[0]
        if len(same) == 1
        else Edit(
            same[0].tensor,
            np.concatenate([np.asarray(edit.positions) for edit in same]),
            b"".join(edit.content for edit in same),
        )
        for same in parts.values()
    ]


def rewritten(tensor: StoredTensor, blocks: Iterable[Array]) -> Iterator[Edit]:
    """New values of a whole tensor: flat, in order, in blocks of any length."""
    start = 0
    for block in blocks:
        yield Edit(tensor, range(start, start + block.size), tensor.encode(block))
        start += block.size
    assert start == tensor.size


def write_patched(
    network: Network,
    out: Path | str,
    edits: Iterable[Edit],
    before_commit: Callable[[], object] = lambda: None,
    layout: Layout | None = None,
) -> None:
    """Write a copy of a network with changed weights.

    Args:
        network: Opened with ``for_writing=True``.
        out: Where to write; an existing file is replaced when everything is on the disk.
        edits: Consumed one at a time, so a generator can stream a network larger than memory.
        before_commit: Called when all is written and nothing is visible yet; what it raises leaves no output.
        layout: Where everything will lie, where somebody relies on it; see ``layout_of``.

    Raises:
        UsageError: The output is a folder, the input, or its external data; or the layout's place was taken meanwhile.
        UnsupportedNetwork: A tensor cannot be changed in place.
        FileChanged: The input changed meanwhile; nothing is left behind.
    """
    out = Path(out)
    refuse_own_files(network, out)
    tell(f"writing {out.name}")
    model, *external = _all_sources(network)
    if layout is not None and out.with_name(layout.location).exists():
        raise UsageError(f"{out.with_name(layout.location)}: appeared meanwhile; run the command again")
    layout = layout or layout_of(network, out)
    with atomic_file(out) as target:
        if layout is None:
            _copy(model, target, 0)
            _apply(edits, model, {model.path: _Target(target, [(0, model.size, 0)])}, out.parent)
            network.check_unchanged()
            before_commit()
            return
        mine = {source.identity for source in external}
        stale = [p for p in _own_external_files(out) if identity_of(p.stat()) not in mine] if out.exists() else []
        with atomic_file(out.with_name(layout.location)) as data:
            targets = {model.path: _Target(target, _write_relocated(model, target, layout))}
            for source, base in layout.external:
                _copy(source, data, base)
                targets[source.path] = _Target(data, [(0, source.size, base)])
            _apply(edits, model, targets, out.parent)
            network.check_unchanged()
            before_commit()
    for path in stale:
        path.unlink(missing_ok=True)


def refuse_own_files(network: Network, out: Path) -> None:
    """Refuse an output that would destroy what it is made from, before hours of work and not after them.

    Raises:
        UsageError: It is the network or holds its external data, or nothing may be written there; see ``refuse_place``.
    """
    refuse_place(out)
    if not out.exists():
        return
    model, *external = _all_sources(network)
    if out.samefile(model.path):
        raise UsageError(f"{out}: input and output are the same file; give another place for the output")
    if any(out.samefile(source.path) for source in external):
        raise UsageError(f"{out}: holds weights of the input {network.path}; give another place for the output")


class _Target(NamedTuple):
    """Where the bytes of one input file went: descriptor, and ranges (start, stop, new start)."""

    descriptor: int
    ranges: list[tuple[int, int, int]]

    def place(self, offset: int) -> int:
        """The new offset of what lay at ``offset``."""
        return next(new + offset - start for start, stop, new in self.ranges if start <= offset < stop)


def _all_sources(network: Network) -> list[Source]:
    """The model file and every external file that it refers to."""
    for proto in _tensors(network):
        if proto.data_location == 1:
            network.tensor(proto)
    return network.files


def _tensors(network: Network) -> Iterator[Any]:
    """Every TensorProto of the skeleton, wherever it stands."""
    stack: list[Any] = [network.model]
    while stack:
        message = stack.pop()
        if message.DESCRIPTOR.name == "TensorProto":
            yield message
            continue
        schema = wire.schema_of(message.DESCRIPTOR)
        for descriptor, value in message.ListFields():
            field = schema.fields[descriptor.number]
            if field.child is not None:
                stack += value if field.repeated else [value]


def _copy(source: Source, target: int, offset: int) -> None:
    """Copy a file's bytes, in the kernel where it can."""
    position = 0
    os.lseek(target, offset, os.SEEK_SET)
    with source.opened() as descriptor:
        while position < source.size:
            count = min(COPIED_AT_ONCE, source.size - position)
            try:
                done = os.copy_file_range(descriptor, target, count, position, offset + position)
            except (OSError, AttributeError):
                _copy_through_memory(descriptor, target, (position, source.size), offset + position)
                return
            if done == 0:
                wire.read_exactly(descriptor, 1, position)  # raises: the file became shorter
            position += done


def _copy_through_memory(descriptor: int, target: int, extent: tuple[int, int], position: int) -> None:
    start, stop = extent
    for at in range(start, stop, COPIED_AT_ONCE):
        content = wire.read_exactly(descriptor, min(COPIED_AT_ONCE, stop - at), at)
        write_at(target, content, position + at - start)


def _apply(edits: Iterable[Edit], model: Source, targets: dict[Path, _Target], folder: Path) -> None:
    contents: dict[int, bytearray] = {}
    for edit in edits:
        _write_edit(edit, targets, contents)
        del (
            edit
        )  # its bytes would stand where the next edit is computed: in the middle of the memory that was just freed
    if contents:
        target = targets[model.path]
        _give_one_width(target.descriptor, {target.place(start): bytes(raw) for start, raw in contents.items()}, folder)


def _give_one_width(descriptor: int, contents: Mapping[int, bytes], folder: Path) -> None:
    """Values of any length each become ``raw_data`` in a model that is being written; all else stays as it is."""
    with tempfile.TemporaryFile(dir=folder) as new:
        position = 0
        for piece in with_raw_data(wire.Reader(descriptor, os.fstat(descriptor).st_size), contents):
            if isinstance(piece, bytes):
                write_at(new.fileno(), piece, position)
                position += len(piece)
            else:
                _copy_through_memory(descriptor, new.fileno(), piece, position)
                position += piece[1] - piece[0]
        if position >= MAX_EMBEDDED:
            raise UnsupportedNetwork("with its values in one width, the model file would be too large for any runtime")
        os.ftruncate(descriptor, 0)
        _copy_through_memory(new.fileno(), descriptor, (0, position), 0)


def _write_edit(edit: Edit, targets: dict[Path, _Target], contents: dict[int, bytearray]) -> None:
    tensor, positions, content = edit
    if tensor.read_only or (tensor.source is None and tensor.varints is None):
        raise UnsupportedNetwork(f"cannot be changed in place: {tensor.read_only}")
    width = tensor.itemsize
    if tensor.source is None:
        assert tensor.varints is not None
        raw = contents.setdefault(tensor.varints, bytearray(b"".join(tensor.raw_chunks())))
        values = np.frombuffer(raw, f"V{width}")
        values[np.asarray(positions)] = np.frombuffer(content, f"V{width}")
        return
    target = targets[tensor.source.path]  # type: ignore[index]  # no address: all sources are files
    start = target.place(tensor.offset)
    if isinstance(positions, range):
        assert positions.step == 1
        assert len(content) == len(positions) * width
        write_at(target.descriptor, content, start + positions.start * width)
        return
    for index, position in enumerate(positions.tolist()):
        write_at(target.descriptor, content[index * width : (index + 1) * width], start + position * width)


def external_name(out: Path) -> str:
    """``OUT.onnx.data``, or a new name where that is taken: an older network may still need it."""
    name = f"{out.name}.data"
    return name if not out.with_name(name).exists() else f"{out.name}.{secrets.token_hex(4)}.data"


def _own_external_files(out: Path) -> list[Path]:
    """The external files that an earlier output of this name refers to and that carry its name."""
    try:
        with open_network(out) as old:
            names = {s.path.name for s in _all_sources(old)[1:] if s.path.parent == out.parent}
    except Exception:  # whatever stands there, it is about to be replaced
        return []
    return [out.with_name(name) for name in names if name.startswith(f"{out.name}.") and name.endswith(".data")]


def _write_relocated(model: Source, target: int, layout: Layout) -> list[tuple[int, int, int]]:
    """Write the model file with external tensors pointing to the new file, all else byte for byte; where ranges went."""
    position = 0
    ranges = []
    with model.opened() as descriptor:
        for piece in layout.pieces:
            if isinstance(piece, bytes):
                write_at(target, piece, position)
                position += len(piece)
                continue
            start, stop = piece
            ranges.append((start, stop, position))
            _copy_through_memory(descriptor, target, piece, position)
            position += stop - start
    return ranges


def layout_of(network: Network, out: Path) -> Layout | None:
    """Where everything will lie in a patched copy of a network with external data; None without any."""
    model, *external = _all_sources(network)
    return laid_out(model, external, network.file.parent, external_name(out)) if external else None
