"""Prefetching: pieces of remote tensors that will be read one after the other are requested together."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxnnw.network_file.formats import PACKED_BITS
from onnxnnw.network_file.source import ONE_PIECE, Source, groups, will_need
from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.network_file.tensor_files.gguf_blocks import BlockTensor

if TYPE_CHECKING:
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["extents", "fetch_together"]


def extents(tensor: StoredTensor, flat: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Where ``tensor.take`` reads for these positions: byte offsets in its source, and lengths."""
    if isinstance(tensor, BlockTensor):
        return tensor.extents(flat)
    bits = PACKED_BITS.get(tensor.type_name.upper())
    itemsize = 1 if bits else tensor.itemsize
    ascending = np.sort(flat // (8 // bits) if bits else flat, axis=None)
    if (ascending[-1] - ascending[0]) * itemsize < ONE_PIECE:
        first, last = ascending[:1], ascending[-1:]
    else:
        starts, stops = groups(ascending, itemsize)
        first, last = ascending[starts], ascending[stops - 1]
    return (tensor.offset + first * itemsize).tolist(), ((last - first + 1) * itemsize).tolist()


def fetch_together(wanted: Iterable[tuple[StoredTensor, NDArray[np.int64]]]) -> None:
    """Fetch what stands at positions of many tensors at once, where that is remote; files on this disk need nothing."""
    remote: dict[int, tuple[Source | RemoteSource, list[int], list[int]]] = {}
    for tensor, flat in wanted:
        source = tensor.source
        if source is None or not source.is_remote or not flat.size:
            continue
        _, places, lengths = remote.setdefault(id(source), (source, [], []))
        for all_of_them, some in zip((places, lengths), extents(tensor, flat), strict=True):
            all_of_them += some
    for source, places, lengths in remote.values():
        with source.opened() as handle:
            will_need(handle, places, lengths)
