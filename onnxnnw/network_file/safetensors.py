"""safetensors: a header of JSON, then the tensors' bytes without a gap; and networks in several such files, named by an index.

The header is held to the format's rules, for other readers do so too and would otherwise see another network: its length, no name
twice, no overlap, no hole, nothing behind the last tensor [github.com/huggingface/safetensors, "Format"].
"""

import json
import math
import secrets
from typing import TYPE_CHECKING, Any

from onnx import TensorProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.cutting import Extent, Skeleton
from onnxnnw.network_file.stored import MAX_DIMENSIONS, byte_length, possible
from onnxnnw.network_file.tensor_list import MAX_TENSORS, Listed, model_of
from onnxnnw.network_file.wire import read_exactly

if TYPE_CHECKING:
    from onnxnnw.network_file.source import Source
    from onnxnnw.sources.remote import RemoteHandle, RemoteSource

__all__ = [
    "INDEX",
    "SUFFIX",
    "header_of",
    "looks_like_safetensors",
    "safetensors_skeleton",
    "sharded_skeleton",
    "shards_of",
]

SUFFIX, INDEX = ".safetensors", ".safetensors.index.json"
_MAX_HEADER = 32 * 2**20
"""The format allows 100 MB; nobody has more than a few."""

_MAX_SHARDS = 2000
_TYPES = {
    "F64": TensorProto.DOUBLE,
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "I64": TensorProto.INT64,
    "I32": TensorProto.INT32,
    "I16": TensorProto.INT16,
    "I8": TensorProto.INT8,
    "U64": TensorProto.UINT64,
    "U32": TensorProto.UINT32,
    "U16": TensorProto.UINT16,
    "U8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
    "C64": TensorProto.COMPLEX64,
    "F8_E4M3": TensorProto.FLOAT8E4M3FN,
    "F8_E4M3FNUZ": TensorProto.FLOAT8E4M3FNUZ,
    "F8_E5M2": TensorProto.FLOAT8E5M2,
    "F8_E5M2FNUZ": TensorProto.FLOAT8E5M2FNUZ,
}


def looks_like_safetensors(descriptor: "int | RemoteHandle", size: int) -> bool:
    """Whether a file begins as one of this format does."""
    if size < 10:
        return False
    head = read_exactly(descriptor, 9, 0)
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def safetensors_skeleton(source: "Source | RemoteSource") -> Skeleton:
    """The network that a file of this format holds.

    Raises:
        UnreadableNetwork: It breaks a rule of the format.
    """
    key = "onnxnnw-" + secrets.token_hex(16)
    cuts: list[Extent] = []
    listed: list[Listed] = []
    for name, data_type, shape, offset, length in header_of(source):
        listed.append(Listed(name, data_type, shape, {key: str(len(cuts))}))
        cuts.append(Extent(offset, length, "raw"))
    model = model_of(listed)
    for tensor in model.graph.initializer:  # the bytes are in the file that was opened
        tensor.ClearField("data_location")
    return Skeleton(model.SerializeToString(deterministic=True), cuts, key)


def header_of(source: "Source | RemoteSource") -> list[tuple[str, int, tuple[int, ...], int, int]]:
    """The tensors of a file: name, ONNX's element type, shape, offset and length of their bytes.

    Raises:
        UnreadableNetwork: It breaks a rule of the format.
    """
    size = source.size
    with source.opened() as descriptor:
        if size < 8:
            raise UnreadableNetwork("no safetensors file: it is shorter than the length of its header")
        length = int.from_bytes(read_exactly(descriptor, 8, 0), "little")
        if length > min(_MAX_HEADER, size - 8):
            raise UnreadableNetwork(f"the header of {length:,} bytes is longer than the file, or than {_MAX_HEADER:,}")
        text = read_exactly(descriptor, length, 8)
    if not text.startswith(b"{"):
        raise UnreadableNetwork("the header of a safetensors file begins with {")
    document = _parse(text)
    _metadata(document.pop("__metadata__", {}))
    if len(document) > MAX_TENSORS:
        raise UnreadableNetwork(f"more than {MAX_TENSORS:,} tensors")
    found = [_tensor(name, described) for name, described in document.items()]
    found.sort(key=lambda one: (one[3], one[4]))
    end = 0
    for name, _, _, start, stop in found:
        if start != end:
            what = "overlaps the one before" if start < end else "leaves a hole before it"
            raise UnreadableNetwork(f"tensor {name[:80]!r} {what}; the format allows neither")
        end = stop
    if 8 + length + end != size:
        raise UnreadableNetwork(
            f"the tensors end at byte {8 + length + end:,} of {size:,}; the format allows nothing behind"
        )
    return [(name, kind, shape, 8 + length + start, stop - start) for name, kind, shape, start, stop in found]


def _tensor(name: str, described: Any) -> tuple[str, int, tuple[int, ...], int, int]:
    shown = f"tensor {name[:80]!r}"
    if not name or (not name.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in name)):
        raise UnreadableNetwork("a tensor without a readable name")
    if not isinstance(described, dict) or set(described) != {"dtype", "shape", "data_offsets"}:
        raise UnreadableNetwork(f"{shown} has other fields than dtype, shape and data_offsets")
    data_type = _TYPES.get(described["dtype"]) if isinstance(described["dtype"], str) else None
    if data_type is None:
        raise UnreadableNetwork(f"{shown} has the unknown element type {str(described['dtype'])[:20]!r}")
    shape, places = described["shape"], described["data_offsets"]
    if not _integers(shape) or len(shape) > MAX_DIMENSIONS or not possible(shape):
        raise UnreadableNetwork(f"{shown} has an impossible shape")
    if not _integers(places) or len(places) != 2 or places[0] > places[1]:
        raise UnreadableNetwork(f"{shown} has impossible offsets")
    expected = byte_length(data_type, math.prod(shape))
    if places[1] - places[0] != expected:
        raise UnreadableNetwork(
            f"{shown} of shape {shape} needs {expected} bytes, but {places[1] - places[0]} are stored"
        )
    return name, data_type, tuple(shape), places[0], places[1]


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**62 for n in value)


def _metadata(value: Any) -> None:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise UnreadableNetwork("__metadata__ of a safetensors file holds texts and nothing else")


def _parse(text: bytes) -> dict[str, Any]:
    """An object of JSON in which no name stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) != len(pairs):
            raise UnreadableNetwork("a name stands twice in the header; readers would disagree")
        return out

    def refused(_: str) -> Any:
        raise UnreadableNetwork("the header holds a number that is no JSON")

    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=refused)
    except (ValueError, RecursionError):
        raise UnreadableNetwork("the header is no JSON (damaged, or no safetensors file)") from None
    if not isinstance(document, dict):
        raise UnreadableNetwork("the header is no JSON object")
    return document


def shards_of(source: "Source | RemoteSource") -> dict[str, str]:
    """An index: name of each tensor -> file beside the index that has it.

    Raises:
        UnreadableNetwork: It is none.
    """
    if source.size > _MAX_HEADER:
        raise UnreadableNetwork(f"an index of more than {_MAX_HEADER:,} bytes")
    with source.opened() as descriptor:
        document = _parse(read_exactly(descriptor, source.size, 0))
    files = document.get("weight_map")
    if not isinstance(files, dict) or not all(
        isinstance(file, str) and file.endswith(SUFFIX) for file in files.values()
    ):
        raise UnreadableNetwork("no index of safetensors files: its weight_map names no such files")
    if len(set(files.values())) > _MAX_SHARDS:
        raise UnreadableNetwork(f"an index of more than {_MAX_SHARDS:,} files")
    return files


def sharded_skeleton(files: dict[str, str], shards: "dict[str, Source | RemoteSource]") -> Skeleton:
    """The network of several files.

    Args:
        files: Tensor -> file, from the index.
        shards: File -> where it is read.

    Raises:
        UnreadableNetwork: The index and the files contradict each other, or one breaks a rule of the format.
    """
    listed = []
    for file, source in shards.items():
        for name, data_type, shape, offset, length in header_of(source):
            if files.get(name) != file:
                raise UnreadableNetwork(f"tensor {name[:80]!r} is in {file[:80]!r}, which the index does not say")
            places = {"location": file, "offset": str(offset), "length": str(length)}
            listed.append(Listed(name, data_type, shape, places))
    missing = files.keys() - {tensor.name for tensor in listed}
    if missing:
        raise UnreadableNetwork(f"tensor {min(missing)[:80]!r} of the index is in no file")
    return Skeleton(model_of(listed).SerializeToString(deterministic=True), [], secrets.token_hex(16))
