"""Elements of many slots that are stored as they are: located and read together, however many slots there are."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxnnw.network_file.ahead import fetch_together
from onnxnnw.network_file.source import Source
from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.records.skeleton import SlotPlace
from onnxnnw.records.slot_table import SlotEntry

if TYPE_CHECKING:
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["SlotsInFiles"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

_AT_ONCE = 4096
"""Elements of files on this disk that are read together: what lies between them may be read too, and 4 KiB are for each."""


class SlotsInFiles:
    """Slots of which each is one whole tensor in another order of axes.

    Args:
        places: Where each lies.
        entries: What each is.
        sources: The files.
    """

    def __init__(
        self, places: Sequence[SlotPlace], entries: Sequence[SlotEntry], sources: "Sequence[Source | RemoteSource]"
    ) -> None:
        axes = max((len(entry.shape) for entry in entries), default=0)
        ones, zeros = (1,) * axes, (0,) * axes
        self._sources = sources
        self._lengths = np.array([ones[len(e.shape) :] + e.shape for e in entries], np.int64).reshape(-1, axes)
        self._strides = np.array([zeros[len(p.strides) :] + p.strides for p in places], np.int64).reshape(-1, axes)
        self._offsets = np.array([place.offset for place in places], np.int64)
        self._files = np.array([place.file for place in places], np.int64)
        names = [entry.data_type for entry in entries]
        self._types = {name: TensorProto.DataType.Value(name.upper()) for name in set(names)}
        self._type_of = np.array([self._types[name] for name in names], np.int64)

    @property
    def is_remote(self) -> bool:
        """Whether each read is a request."""
        return self._sources[0].is_remote

    def fetch(self, wanted: Sequence[tuple[Positions, Positions]]) -> None:
        """Request what ``take`` will be asked for, each time; files on this disk need nothing.

        Args:
            wanted: Numbers of slots, and flat canonical positions in them.
        """
        fetch_together((tensor, flat) for slots, places in wanted for tensor, flat, _ in self._located(slots, places))

    def take(self, slots: Positions, places: Positions) -> Floats:
        """The values at flat canonical positions of slots."""
        out = np.empty(places.size)
        step = max(1, places.size) if self.is_remote else _AT_ONCE  # what was fetched is asked for in the same pieces
        for start in range(0, places.size, step):
            part = slice(start, start + step)
            for tensor, flat, chosen in self._located(slots[part], places[part]):
                out[part][chosen] = tensor.take(flat)
        return out

    def _located(self, slots: Positions, places: Positions) -> Iterator[tuple[StoredTensor, Positions, Positions]]:
        """Where elements lie: everything of one type in one file as one long tensor, positions in it, and which they are."""
        rest, moved = places, np.zeros_like(places)
        for axis in range(self._lengths.shape[1] - 1, -1, -1):
            length = self._lengths[slots, axis]
            moved += rest % length * self._strides[slots, axis]
            rest = rest // length
        kinds = self._files[slots] * 64 + self._type_of[slots]
        for kind in sorted(set(kinds.tolist())):
            source, data_type = self._sources[kind // 64], kind % 64
            itemsize = StoredTensor("", data_type, (), "raw").itemsize
            of_kind = np.flatnonzero(kinds == kind)
            first, after = np.divmod(self._offsets[slots[of_kind]], itemsize)
            for shift in sorted(set(after.tolist())):  # in a model file tensors begin anywhere
                fits = after == shift
                chosen = of_kind[fits]
                whole = StoredTensor("", data_type, (source.size // itemsize,), "raw", source, shift)
                yield whole, first[fits] + moved[chosen], chosen
