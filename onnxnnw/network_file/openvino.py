"""OpenVINO's intermediate representation: a graph of XML, constants in a file beside it. These are read, and not the graph.

The XML is streamed: no document type, no entities, bounded depth, size and numbers.
"""

import math
import secrets
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from xml.parsers import expat

from onnx import TensorProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.cutting import Skeleton
from onnxnnw.network_file.stored import MAX_DIMENSIONS, byte_length, possible
from onnxnnw.network_file.tensor_list import MAX_TENSORS, Listed, model_of
from onnxnnw.network_file.wire import read_exactly

if TYPE_CHECKING:
    from onnxnnw.network_file.source import Source
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["SUFFIX", "constants_of", "openvino_skeleton", "weights_beside"]

SUFFIX = ".xml"
_MAX_XML, _PIECE, _MAX_DEPTH = 64 * 2**20, 2**18, 100
_TYPES = {
    "f64": TensorProto.DOUBLE,
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "f8e4m3": TensorProto.FLOAT8E4M3FN,
    "f8e5m2": TensorProto.FLOAT8E5M2,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
    "i16": TensorProto.INT16,
    "i8": TensorProto.INT8,
    "i4": TensorProto.INT4,
    "u64": TensorProto.UINT64,
    "u32": TensorProto.UINT32,
    "u16": TensorProto.UINT16,
    "u8": TensorProto.UINT8,
    "u4": TensorProto.UINT4,
    "boolean": TensorProto.BOOL,
}


def weights_beside(name: str) -> str:
    """The file that holds a network's constants: ``net.xml`` -> ``net.bin``."""
    return PurePosixPath(name).stem + ".bin"


def openvino_skeleton(source: "Source | RemoteSource", location: str, size: int) -> Skeleton:
    """The network that a graph's constants are.

    Args:
        source: The XML.
        location: The file with the constants.
        size: Its bytes.

    Raises:
        UnreadableNetwork: It is no such network, damaged, or built to mislead.
    """
    listed = []
    for name, data_type, shape, offset, length in constants_of(source):
        if offset + length > size:
            raise UnreadableNetwork(
                f"constant {name[:80]!r} ends at byte {offset + length:,} of {location!r}, which has {size:,}"
            )
        places = {"location": location, "offset": str(offset), "length": str(length)}
        listed.append(Listed(name, data_type, shape, places))
    return Skeleton(model_of(listed).SerializeToString(deterministic=True), [], secrets.token_hex(16))


def constants_of(source: "Source | RemoteSource") -> list[tuple[str, int, tuple[int, ...], int, int]]:
    """The constants of a graph: name, ONNX's element type, shape, offset and length of their bytes.

    Raises:
        UnreadableNetwork: It is no such graph.
    """
    if source.size > _MAX_XML:
        raise UnreadableNetwork(f"a graph of more than {_MAX_XML:,} bytes")
    reading = _Reading()
    with source.opened() as descriptor:
        try:
            for at in range(0, source.size, _PIECE):
                reading.parser.Parse(read_exactly(descriptor, min(_PIECE, source.size - at), at), False)
            reading.parser.Parse(b"", True)
        except (expat.ExpatError, ValueError):
            raise UnreadableNetwork("not a readable XML document (damaged, or no OpenVINO network)") from None
    return reading.found


class _Reading:
    """What was seen so far."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.found: list[tuple[str, int, tuple[int, ...], int, int]] = []
        self._names: set[str] = set()
        self._open: list[tuple[str, str, str]] = []

    def _refuse(self, *_: object) -> None:
        raise UnreadableNetwork("an XML document with a document type or entities, which no OpenVINO network has")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open and tag != "net":
            raise UnreadableNetwork("an XML document, but no OpenVINO network")
        if len(self._open) >= _MAX_DEPTH:
            raise UnreadableNetwork(f"elements are nested deeper than {_MAX_DEPTH}")
        if tag == "data" and self._open and self._open[-1][0] == "layer" and self._open[-1][1] == "Const":
            self._constant(attributes)
        self._open.append((tag, attributes.get("type", ""), attributes.get("name", "")))

    def _end(self, _tag: str) -> None:
        self._open.pop()

    def _constant(self, attributes: dict[str, str]) -> None:
        name = "/".join(name for tag, _, name in self._open if tag == "layer")  # within the bodies that it is in
        shown = f"constant {name[:80]!r}"
        if not name or name in self._names or len(self.found) >= MAX_TENSORS:
            raise UnreadableNetwork(f"{shown} has no name, stands twice, or is one of too many")
        data_type = _TYPES.get(attributes.get("element_type", ""))
        if data_type is None:
            raise UnreadableNetwork(f"{shown} has the unknown element type {attributes.get('element_type', '')[:20]!r}")
        shape = _numbers(attributes.get("shape", ""), shown)
        places = _numbers(f"{attributes.get('offset', '')},{attributes.get('size', '')}", shown)
        if len(shape) > MAX_DIMENSIONS or not possible(shape) or len(places) != 2:
            raise UnreadableNetwork(f"{shown} has an impossible shape or place")
        expected = byte_length(data_type, math.prod(shape))
        if places[1] != expected:
            raise UnreadableNetwork(
                f"{shown} of shape {list(shape)} needs {expected} bytes, but {places[1]} are stored"
            )
        self._names.add(name)
        self.found.append((name, data_type, shape, places[0], places[1]))


def _numbers(text: str, shown: str) -> tuple[int, ...]:
    """``64, 3, 7, 7`` as numbers; empty for a scalar."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        raise UnreadableNetwork(f"{shown} has an impossible shape or place")
    return tuple(map(int, parts))
