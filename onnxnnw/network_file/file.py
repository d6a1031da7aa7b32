"""An opened network: every stored tensor has a name, a type, a shape and a place, and is read on demand."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from onnxnnw.errors import CannotLook, FileChanged, UnreadableExternalData, UnreadableNetwork
from onnxnnw.network_file import cutting
from onnxnnw.network_file.containers import SUFFIXES, contained, is_container, open_beside
from onnxnnw.network_file.foreign import named, what_it_is
from onnxnnw.network_file.source import Source
from onnxnnw.network_file.stored import MAX_DIMENSIONS, StoredTensor, byte_length, holds, inline_values, possible
from onnxnnw.network_file.tensor_files.gguf_blocks import BLOCKS, BlockTensor
from onnxnnw.network_file.wire import INT32_DATA, encode_bytes_field, read_exactly
from onnxnnw.notices import tell

if TYPE_CHECKING:
    from onnxnnw.sources.addresses import Address
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["Network", "open_network", "open_source"]

_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
_VALUE_FIELDS = frozenset(
    ("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
)


class Network:
    """An opened ONNX file; a context manager. Nothing but its skeleton is in memory.

    Attributes:
        path: The model file, or its address.
        model: The skeleton as a ModelProto: everything but large payloads.
        skeleton_size: Bytes outside large tensors.
        has_graph: Whether the file says what its tensors are for.
        format: ``onnx``, ``ort`` (onnxruntime's own), or ``tensors`` where there is no graph.
    """

    def __init__(
        self,
        path: "Path | Address",
        source: "Source | RemoteSource",
        skeleton: cutting.Skeleton,
        opened: "dict[str, Source | RemoteSource] | None" = None,
    ) -> None:
        self.path = path
        self.has_graph = opened is None
        self.format = skeleton.format if self.has_graph else "tensors"
        self._source = source
        self._external: dict[str, Source | RemoteSource] = opened or {}
        self._cuts, self._key = skeleton.cuts, skeleton.key
        self.skeleton_size = len(skeleton.data)
        self.model = onnx.ModelProto()
        try:
            self.model.ParseFromString(skeleton.data)
        except DecodeError as error:
            raise UnreadableNetwork(f"{path}: not a readable ONNX file (damaged, or not ONNX at all)") from error
        if not self.model.HasField("graph"):
            raise UnreadableNetwork(f"{path}: holds no graph, so it is not an ONNX network")
        if self.model.ByteSize() != len(skeleton.data):  # something was merged or overwritten: look at every message
            with source.opened() as descriptor:
                cutting.cut(descriptor, source.size, large=1)

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; reading tensors is no longer possible."""
        for source in self.sources:
            source.close()
        self._external = {}

    @property
    def sources(self) -> "list[Source | RemoteSource]":
        """The model file, then the external files that were opened so far."""
        return [self._source, *self._external.values()]

    @property
    def external(self) -> "dict[str, Source | RemoteSource]":
        """The external files that were opened so far, by location."""
        return dict(self._external)

    @property
    def file(self) -> Path:
        """The model file on this disk, for what cannot do with parts of it.

        Raises:
            CannotLook: It is behind an address.
        """
        if not isinstance(self.path, Path):
            raise CannotLook(f"{self.path}: this takes the whole file on this disk; download it first")
        return self.path

    @property
    def files(self) -> list[Source]:
        """``sources``, all of them on this disk.

        Raises:
            CannotLook: They are behind an address.
        """
        self.file  # noqa: B018 - raises
        return [source for source in self.sources if isinstance(source, Source)]

    def check_unchanged(self) -> None:
        """Make sure that what was read is what is still there.

        Raises:
            FileChanged: Size, modification time or inode of a file differ from when it was opened.
        """
        for source in self.sources:
            if not source.unchanged():
                raise FileChanged(f"{str(source.path)!r}: the file changed while it was read")

    def tensor(self, proto: TensorProto, name: str | None = None) -> StoredTensor:
        """A TensorProto of the skeleton as a stored tensor.

        Raises:
            UnreadableNetwork: Its type, shape and values contradict each other.
        """
        name = proto.name if name is None else name
        try:
            return self._tensor(proto, name)
        except UnreadableNetwork as error:
            raise type(error)(f"{self.path}: tensor {name[:80]!r}: {error}") from None

    def _tensor(self, proto: TensorProto, name: str) -> StoredTensor:
        if len(proto.dims) > MAX_DIMENSIONS:
            raise UnreadableNetwork(f"more than {MAX_DIMENSIONS} dimensions")
        shape = tuple(proto.dims[:])
        size = math.prod(shape)
        if (shape and min(shape) < 0) or (not size and not possible(shape)):
            raise UnreadableNetwork(f"impossible shape {list(shape)[:8]}")
        if proto.data_type not in _TYPES:
            raise UnreadableNetwork(f"unknown element type {proto.data_type}")
        if type(name) is not str:
            raise UnreadableNetwork("its name is no readable text")
        if proto.HasField("segment"):
            raise UnreadableNetwork("segmented tensors are not supported by any runtime")
        expected = byte_length(proto.data_type, size)
        cuts, entries = self._split_entries(proto)
        present = [field.name for field, _ in proto.ListFields() if field.name in _VALUE_FIELDS]
        external = proto.data_location == TensorProto.EXTERNAL
        if len(present) + len(cuts) > 1 or (external and (present or cuts)):
            raise UnreadableNetwork("its values are stored twice; readers would disagree")
        if external:
            return self._external_tensor(proto, name, shape, expected, entries)
        if cuts and cuts[0].kind in BLOCKS:
            return BlockTensor.of(cuts[0].kind, name, shape, self._source, cuts[0].offset)
        if cuts and (cuts[0].kind == "raw" or holds(cuts[0].kind + "_data", proto.data_type)):
            kind = cuts[0]
            if kind.kind == "int32":
                return self._varints(proto, name, expected, kind)
            if kind.length != expected:
                raise UnreadableNetwork(f"shape {list(shape)} needs {expected} bytes, but {kind.length} are stored")
            return StoredTensor(name, proto.data_type, shape, kind.kind, self._source, kind.offset)
        if cuts:
            raise UnreadableNetwork("its values are in a field of another element type")
        inline = inline_values(proto, size, expected, present[0] if present else "")
        return StoredTensor(name, proto.data_type, shape, "inline", inline=inline)

    def _varints(self, proto: TensorProto, name: str, expected: int, cut: cutting.Extent) -> StoredTensor:
        """A tensor whose elements are stored one by one as integers of any length, with the place where they begin."""
        with self._source.opened() as descriptor:
            payload = read_exactly(descriptor, cut.length, cut.offset)
        alone = TensorProto(data_type=proto.data_type, dims=proto.dims)
        try:
            alone.MergeFromString(encode_bytes_field(INT32_DATA, payload))
        except DecodeError:
            raise UnreadableNetwork("its values are no integers") from None
        shape = tuple(proto.dims)
        inline = inline_values(alone, math.prod(shape), expected, "int32_data" if alone.int32_data else "")
        return StoredTensor(name, proto.data_type, shape, "inline", inline=inline, varints=cut.offset)

    def _split_entries(self, proto: TensorProto) -> tuple[list[cutting.Extent], dict[str, str]]:
        cuts, entries = [], {}
        for entry in proto.external_data[:]:
            if entry.key == self._key:
                cuts.append(self._cuts[int(entry.value)])
            elif entry.key in entries:
                raise UnreadableNetwork(f"external data has {entry.key[:80]!r} twice; readers would disagree")
            else:
                entries[entry.key] = entry.value
        return cuts, entries

    def _external_tensor(
        self, proto: TensorProto, name: str, shape: tuple[int, ...], expected: int, entries: dict[str, str]
    ) -> StoredTensor:
        if expected < 0:
            raise UnreadableExternalData("strings cannot be external")
        source = self._open_external(entries.get("location", ""))
        numbers = []
        for key in ("offset", "length"):
            text = entries.get(key, "") or ("0" if key == "offset" else str(expected))
            if not (text.isascii() and text.isdigit() and len(text) < 20):
                raise UnreadableExternalData(f"external {key} {text[:40]!r} is no non-negative integer")
            numbers.append(int(text))
        offset, length = numbers
        if length != expected:
            raise UnreadableExternalData(
                f"shape {list(shape)} needs {expected} bytes, but its external length is {length}"
            )
        if offset + length > source.size:
            raise UnreadableExternalData(
                f"ends at byte {offset + length} of {source.path.name!r}, which has {source.size}"
            )
        return StoredTensor(name, proto.data_type, shape, "external", source, offset)

    def _open_external(self, location: str) -> "Source | RemoteSource":
        if location not in self._external:
            source = open_beside(self.path, self._source, location)
            if source.identity == self._source.identity:
                source.close()
                raise UnreadableExternalData("the model file itself is given as its external data")
            self._external[location] = source
        return self._external[location]


def open_network(path: "Path | str | Address", *, for_writing: bool = False) -> Network:
    """Open an ONNX file, one of onnxruntime's own format, or one with tensors alone such as safetensors, without its weights.

    Args:
        path: The model file, or its address; external data is looked for beside it.
        for_writing: Locate the bytes of every tensor, however small, so that ``patch`` can change them.

    Raises:
        UnreadableNetwork: Not an ONNX file, damaged, or one of the refused constructions of docs/reference/security.md.
    """
    place, source = open_source(path)
    tell(f"reading {Path(str(place)).name}")
    try:
        if str(place).endswith(SUFFIXES):
            return _container(place, source, for_writing)
        with source.opened() as descriptor:
            skeleton = cutting.cut(descriptor, source.size, 1 if for_writing else cutting.LARGE)
        return Network(place, source, skeleton)
    except BaseException as error:
        known = ""
        if isinstance(error, UnreadableNetwork) and not str(place).endswith(SUFFIXES):
            if is_container(source):
                return _container(place, source, for_writing)
            known = _known(source)
        source.close()
        if known:
            raise UnreadableNetwork(f"{place}: is {known}") from None
        if isinstance(error, UnreadableNetwork) and not str(error).startswith(str(place)):
            raise type(error)(f"{place}: {error}") from None
        raise


def open_source(path: "Path | str | Address") -> "tuple[Path | Address, Source | RemoteSource]":
    """Open a file or an address as a place that bytes are read from; what is there is not looked at.

    Raises:
        UnreadableNetwork: It cannot be opened, or is no regular file.
    """
    if not isinstance(path, Path) and (not isinstance(path, str) or "://" in path):
        from onnxnnw.sources.addresses import is_address
        from onnxnnw.sources.remote import open_remote

        if is_address(path):
            remote = open_remote(path)
            return remote.path, remote
    path = Path(str(path))
    try:
        return path, Source(path, path, UnreadableNetwork, str(path))
    except UnreadableNetwork:
        known = named(path)
        if not known:
            raise
        raise UnreadableNetwork(f"{path}: is not a regular file but {known}") from None


def _container(place: "Path | Address", source: "Source | RemoteSource", for_writing: bool) -> Network:
    """A file of another format, most of them tensors and no graph, as a network."""
    try:
        return Network(place, source, *contained(place, source, 1 if for_writing else cutting.LARGE))
    except BaseException as error:
        source.close()
        if isinstance(error, UnreadableNetwork) and not str(error).startswith(str(place)):
            raise type(error)(f"{place}: {error}") from None
        raise


def _known(source: "Source | RemoteSource") -> str:
    """What a file is that could not be read as a network; empty where nobody knows."""
    try:
        with source.opened() as descriptor:
            return what_it_is(descriptor, source.size, source.path)
    except UnreadableNetwork:
        return ""
