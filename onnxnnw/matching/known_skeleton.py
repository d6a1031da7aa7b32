"""The skeleton of a network (all but its slots): its hash at enrolment, and slots located by an unchanged skeleton.

Left out of the hash are the bytes of slots that are stored as they are, each a whole tensor; every other byte of the model and of
its external files is in it. So where it is the same, the graph, all other tensors and all places are those of enrolment.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from onnx import TensorProto

from onnxnnw.accounting.account import Account
from onnxnnw.constants.arrays import Stored
from onnxnnw.constants.moved import Transposed
from onnxnnw.errors import FileChanged, UnreadableNetwork, UnreadableRecord
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.read_together import SlotsInFiles
from onnxnnw.network_file.containers import open_beside
from onnxnnw.network_file.file import Network, open_network, open_source
from onnxnnw.network_file.relocation import Layout, PlannedFile
from onnxnnw.network_file.source import Source, will_need
from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.network_file.wire import read_exactly
from onnxnnw.records.record import Record
from onnxnnw.records.skeleton import MAX_HASHED, SkeletonIndex, SlotPlace, begun_hash
from onnxnnw.records.slot_table import SlotEntry

if TYPE_CHECKING:
    from onnxnnw.sources.addresses import Address
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["KnownSlots", "index_of", "known_slots", "refuse_other_index"]

_PIECE = 2**20
_CHECKED = 256


# --- at enrolment -----------------------------------------------------------------------------------------------------


def index_of(
    network: Network,
    view: SlotView,
    entries: Sequence[SlotEntry],
    account: Account,
    layout: Layout | None = None,
) -> SkeletonIndex | None:
    """The skeleton of a network around the slots of a record; None where something about it cannot be told from that alone.

    Args:
        network: The opened network.
        view: All of its slots.
        entries: The record's slot table.
        account: What is stored in it.
        layout: Where everything will lie in a copy of it, if it is that copy's index which is wanted.
    """
    if not _is_plain(network, view, entries, account):
        return None
    sources: dict[str, Source | RemoteSource | PlannedFile] = {**_all_sources(network)}
    names = {id(source): name for name, source in sources.items()}
    slots = view.by_name()
    with contextlib.ExitStack() as opened:
        exact: dict[str, StoredTensor] | None = None
        places = []
        for entry in entries:
            slot = slots[entry.name]
            if slot.tensor.source is None and exact is None:  # small ones are in memory: open it as one does to write
                exact = _exact(opened.enter_context(open_network(network.path, for_writing=True)))
            tensor = slot.tensor if slot.tensor.source is not None else (exact or {}).get(slot.tensor.name)
            place = None if tensor is None or tensor.source is None else _place(slot, tensor)
            if place is None or tensor is None:
                return None
            name = names.get(id(tensor.source), "" if slot.tensor.source is None else None)
            if name is None:
                return None
            at: tuple[int, int] | None = list(sources).index(name), place.offset
            if layout is not None:
                source = sources[name]
                at = layout.place(source, place.offset) if isinstance(source, Source) else None
            if at is None:
                return None
            places.append(replace(place, file=at[0], offset=at[1]))
    if layout is not None:
        sources = dict(zip(("", layout.location), layout.files, strict=True))
    files = tuple((name, source.size) for name, source in sources.items())
    index = SkeletonIndex("0" * 64, files, tuple(places))
    try:
        index = replace(index, digest=_digest(index, entries, list(sources.values())))
        return SkeletonIndex.from_json(index.to_json(), entries)
    except UnreadableRecord:  # slots share bytes, there is too much beside them, or it lies in too many files
        return None


def _is_plain(network: Network, view: SlotView, entries: Sequence[SlotEntry], account: Account) -> bool:
    """Whether an unchanged copy has no findings but that it is one."""
    if len(entries) != len(view.slots) or len({entry.name for entry in entries}) != len(entries):
        return False
    if (
        any(slot.conditional or slot.replaceable for slot in view.slots)
        or view.flow.calls
        or view.flow.unread_functions
    ):
        return False
    if any(node.bodies for node in view.flow.nodes):
        return False
    amounts = account.amounts
    return network.format == "onnx" and not (
        view.doubtful or view.not_understood or view.dead or account.hidden or amounts["dead"] or view.flow.replaceable
    )


def _all_sources(network: Network) -> "dict[str, Source | RemoteSource]":
    """The model file under an empty name, and every external file under its location."""
    for proto in network.model.graph.initializer:
        if proto.data_location == TensorProto.EXTERNAL:
            network.tensor(proto)
    model, *_ = network.sources
    return {"": model, **network.external}


def _exact(network: Network) -> dict[str, StoredTensor]:
    return {proto.name: network.tensor(proto) for proto in network.model.graph.initializer}


def _place(slot: Slot, tensor: StoredTensor) -> SlotPlace | None:
    """Where a slot lies whose elements are those of one tensor in another order of axes; None for any other slot."""
    if slot.size != tensor.size or not tensor.is_float or tensor.source is None:
        return None
    ends = np.ones(len(slot.shape), np.int64)
    ends[:-1] = np.cumprod(slot.shape[::-1])[::-1][1:]
    units = np.where(np.array(slot.shape) > 1, ends, 0)
    rng = np.random.default_rng(slot.size)
    flat = np.concatenate([[0], units, rng.integers(0, slot.size, _CHECKED)])
    located = slot.constant.locate(flat)
    if located is None or located[0] is not slot.tensor or located[1][0] != 0:
        return None
    strides = located[1][1 : 1 + len(slot.shape)]
    axes = np.array(np.unravel_index(flat, slot.shape))
    if not np.array_equal(strides @ axes, located[1]):
        return None
    return SlotPlace(0, tensor.offset, tuple(strides.tolist()))


# --- in a candidate ---------------------------------------------------------------------------------------------------


def refuse_other_index(record: Record, network: Network, view: SlotView, account: Account) -> None:
    """Make sure that a record's places are those at which the slots of the network lie, if its skeleton is this one.

    Raises:
        UnreadableRecord: They are not: somebody made the record say so.
    """
    if record.skeleton is None:
        return
    with known_slots(network.path, record.skeleton, record.slots) as known:
        if known is not None and index_of(network, view, record.slots, account) != record.skeleton:
            raise UnreadableRecord("the record's index of the file is not that of the network")


class KnownSlots(Sequence[Slot]):
    """Slots of a candidate whose skeleton is that of a record; each is made when it is asked for.

    Attributes:
        sources: The files they are read from.
    """

    def __init__(
        self,
        places: Sequence[SlotPlace],
        entries: Sequence[SlotEntry],
        sources: "list[Source | RemoteSource]",
    ) -> None:
        self._places, self._entries, self.sources = places, entries, sources
        self._slots: dict[int, Slot] = {}

    @cached_property
    def in_files(self) -> SlotsInFiles:
        """The same slots, to be read together."""
        return SlotsInFiles(self._places, self._entries, self.sources)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, number: int) -> Slot: ...

    @overload
    def __getitem__(self, number: slice) -> list[Slot]: ...

    def __getitem__(self, number: int | slice) -> Slot | list[Slot]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        if number not in self._slots:
            place = self._places[number]
            self._slots[number] = _slot(self._entries[number], place, self.sources[place.file])
        return self._slots[number]

    @property
    def is_remote(self) -> bool:
        """Whether each read is a request."""
        return self.sources[0].is_remote

    def check_unchanged(self) -> None:
        """Check that the bytes that were read have not changed since.

        Raises:
            FileChanged: It is not.
        """
        for source in self.sources:
            if not source.unchanged():
                raise FileChanged(f"{str(source.path)!r}: the file changed while it was read")


@contextlib.contextmanager
def known_slots(
    path: "Path | str | Address", index: SkeletonIndex, entries: Sequence[SlotEntry]
) -> "Iterator[KnownSlots | None]":
    """The slots of a candidate, if everything around them is as it was at enrolment; else None.

    Raises:
        CannotLook: The server does not answer, or not as much as is needed may be read.
    """
    sources: list[Source | RemoteSource] = []
    try:
        yield _known(path, index, entries, sources)
    finally:
        for source in sources:
            source.close()


def _known(
    path: "Path | str | Address",
    index: SkeletonIndex,
    entries: Sequence[SlotEntry],
    sources: "list[Source | RemoteSource]",
) -> KnownSlots | None:
    try:
        place, model = open_source(path)
        sources.append(model)
        for number, (name, size) in enumerate(index.files):
            if number:
                sources.append(open_beside(place, model, name))
            if sources[number].size != size:
                return None
        if len({source.identity for source in sources}) != len(sources):
            return None
        if _digest(index, entries, sources) != index.digest:
            return None
    except (UnreadableNetwork, UnreadableRecord) as error:
        if sources and sources[0].is_remote and not isinstance(error, UnreadableRecord):
            raise
        return None  # whoever looks thoroughly says what is wrong
    return KnownSlots(index.slots, entries, sources)


def _slot(entry: SlotEntry, place: SlotPlace, source: "Source | RemoteSource") -> Slot:
    order = sorted(range(len(entry.shape)), key=lambda axis: -place.strides[axis])
    stored = tuple(entry.shape[axis] for axis in order)
    data_type = TensorProto.DataType.Value(entry.data_type.upper())
    tensor = StoredTensor(entry.name, data_type, stored, "raw", source, place.offset)
    axes = tuple(order.index(axis) for axis in range(len(order)))
    constant = Stored(tensor) if axes == tuple(range(len(axes))) else Transposed(Stored(tensor), axes)
    return Slot(entry.name, entry.use, constant, tensor, entry.bias, entry.layout, False, False, False)


def _digest(
    index: SkeletonIndex, entries: Sequence[SlotEntry], sources: "Sequence[Source | RemoteSource | PlannedFile]"
) -> str:
    """The hash of everything outside the slots.

    Raises:
        UnreadableRecord: That is too much, or slots overlap.
    """
    gaps = [list(index.gaps(number, entries)) for number in range(len(index.files))]
    if sum(stop - start for some in gaps for start, stop in some) > MAX_HASHED:
        raise UnreadableRecord("a skeleton that is too large")
    out = begun_hash(index, entries)
    for source, some in zip(sources, gaps, strict=True):
        with source.opened() as descriptor:
            if source.is_remote:
                will_need(descriptor, [start for start, _ in some], [stop - start for start, stop in some])
            for start, stop in some:
                for at in range(start, stop, _PIECE):
                    out.update(read_exactly(descriptor, min(_PIECE, stop - at), at))
    return str(out.hexdigest())
