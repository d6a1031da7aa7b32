"""onnxruntime's own format as the ONNX network that it was made of: nodes, attributes, bodies, types; tensors stay where they are.

[microsoft/onnxruntime, onnxruntime/core/flatbuffers/schema/ort.fbs; versions 1 to 6.] Numbers of fields are those of the schema.
What tells a runtime how to go on optimising, or which kernels to take, is not read.
"""

import secrets
from typing import TYPE_CHECKING

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.cutting import MAX_EMBEDDED, Extent, Skeleton
from onnxnnw.network_file.ort_format.sorting import in_order
from onnxnnw.network_file.ort_format.tables import Buffer, Table
from onnxnnw.network_file.wire import read_exactly

if TYPE_CHECKING:
    from onnxnnw.network_file.source import Source
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["SUFFIX", "ort_skeleton"]

SUFFIX = ".ort"
_MAGIC, _MAX_BODIES, _MAX_TYPES = b"ORTM", 16, 8
_VERSIONS = ("1", "2", "3", "4", "5", "6")
_TENSOR, _SEQUENCE, _MAP = 1, 2, 3
_VALUE, _PARAMETER = 1, 2


def ort_skeleton(source: "Source | RemoteSource", large: int) -> Skeleton:
    """The network that a file of this format holds.

    Args:
        source: The file.
        large: Bytes from which on a tensor stays in the file.

    Raises:
        UnreadableNetwork: It is none, damaged, or built to mislead.
    """
    if source.size >= MAX_EMBEDDED:
        raise UnreadableNetwork(f"the file has {source.size:,} bytes; onnxruntime's format has less than 2 GiB")
    if source.size < 12:
        raise UnreadableNetwork("no file of onnxruntime's format: it is shorter than its head")
    with source.opened() as descriptor:
        if read_exactly(descriptor, 8, 0)[4:] != _MAGIC:
            raise UnreadableNetwork("no file of onnxruntime's format (.ort): it does not begin like one")
        rebuilt = _Rebuilt(Buffer(descriptor, source.size), large)
        model = rebuilt.model()
    _refuse_shared(rebuilt.cuts)
    return Skeleton(model.SerializeToString(deterministic=True), rebuilt.cuts, rebuilt.key, "ort")


def _refuse_shared(cuts: list[Extent]) -> None:
    """Refuse bytes of two tensors: onnxruntime writes none, and reading them could take for ever."""
    end = 0
    for cut in sorted(cuts):
        if cut.offset < end and cut.length:
            raise UnreadableNetwork(f"two tensors share the bytes at {cut.offset:,}, which onnxruntime never writes")
        end = max(end, cut.offset + cut.length)


class _Rebuilt:
    """What was made so far.

    Attributes:
        cuts: Where tensors lie that stay in the file.
        key: Random key of this opening, as of ``Skeleton``.
    """

    def __init__(self, buffer: Buffer, large: int) -> None:
        self.buffer, self.large = buffer, large
        self.cuts: list[Extent] = []
        self.key = "onnxnnw-" + secrets.token_hex(16)
        self._imports: dict[str, int] = {}

    def model(self) -> ModelProto:
        """The whole network."""
        session = self.buffer.root()
        version, described = session.text(0), session.table(1)
        if version not in _VERSIONS:
            raise UnreadableNetwork(
                f"onnxruntime's format of version {version[:20]!r}; {_VERSIONS[0]} to {_VERSIONS[-1]} are read"
            )
        graph = None if described is None else described.table(7)
        if described is None or graph is None:
            raise UnreadableNetwork("it holds no graph, so it is no network")
        model = ModelProto(
            ir_version=described.number(0, "q"),
            producer_name=described.text(2),
            producer_version=described.text(3),
            domain=described.text(4),
            model_version=described.number(5, "q"),
            doc_string=described.text(6),
        )
        for imported in described.tables(1):
            domain, number = imported.text(0), imported.number(1, "q")
            if domain in self._imports:
                raise UnreadableNetwork(f"the operators of {domain[:80]!r} are imported twice")
            self._imports[domain] = number
            model.opset_import.add(domain=domain, version=number)
        for entry in described.tables(9):
            model.metadata_props.add(key=entry.text(0), value=entry.text(1))
        self._graph(graph, model.graph, 0)
        model.graph.doc_string = described.text(8)
        return model

    def _graph(self, table: Table, graph: GraphProto, depth: int) -> None:
        if depth > _MAX_BODIES:
            raise UnreadableNetwork(f"graphs are nested deeper than {_MAX_BODIES}")
        graph.name = "graph"  # the format keeps no name, and ONNX wants one
        for initializer in table.tables(0):
            self._tensor(initializer, graph.initializer.add())
        for sparse in table.tables(7):
            out = graph.sparse_initializer.add(dims=sparse.numbers(2, "<i8").tolist())
            for part, place in ((out.values, sparse.table(0)), (out.indices, sparse.table(1))):
                if place is None:
                    raise UnreadableNetwork("a sparse tensor without values or indices")
                self._tensor(place, part)
        infos: dict[str, ValueInfoProto] = {}
        for described in table.tables(1):
            info = self._value(described)
            if info.name in infos:
                raise UnreadableNetwork(f"value {info.name[:80]!r} is described twice")
            infos[info.name] = info
        for names, ports in ((table.texts(5), graph.input), (table.texts(6), graph.output)):
            ports.extend([infos.get(name) or ValueInfoProto(name=name) for name in names])
        shown = {port.name for port in (*graph.input, *graph.output)}
        graph.value_info.extend([info for name, info in infos.items() if name and name not in shown])
        nodes = []
        for described in table.tables(2):
            self._node(described, node := NodeProto(), depth)
            nodes.append(node)
        graph.node.extend(in_order(nodes))

    def _node(self, table: Table, node: NodeProto, depth: int) -> None:
        node.name, node.doc_string, node.domain = table.text(0), table.text(1), table.text(2)
        node.op_type = table.text(5)
        since, imported = table.number(3), self._imports.get(node.domain)
        if imported is not None and since > imported:
            raise UnreadableNetwork(
                f"node {node.name[:80]!r} is of version {since} of its operators, of which {imported} is imported"
            )
        node.input.extend(table.texts(8))
        node.output.extend(table.texts(9))
        seen: set[str] = set()
        for described in table.tables(10):
            attribute = self._attribute(described, depth)
            if attribute.name in seen:
                raise UnreadableNetwork(f"a node has the attribute {attribute.name[:80]!r} twice")
            seen.add(attribute.name)
            node.attribute.append(attribute)

    def _attribute(self, table: Table, depth: int) -> AttributeProto:
        kind = table.number(2)
        out = AttributeProto(name=table.text(0), doc_string=table.text(1))
        if kind == AttributeProto.FLOAT:
            out.f = table.number(3, "f")
        elif kind == AttributeProto.INT:
            out.i = table.number(4, "q")
        elif kind == AttributeProto.STRING:
            out.s = table.raw_text(5)
        elif kind in (AttributeProto.TENSOR, AttributeProto.GRAPH):
            body = table.table(6 if kind == AttributeProto.TENSOR else 7)
            if body is None:
                raise UnreadableNetwork(f"the attribute {out.name[:80]!r} is empty")
            if kind == AttributeProto.TENSOR:
                self._tensor(body, out.t)
            else:
                out.g.SetInParent()
                self._graph(body, out.g, depth + 1)
        elif kind == AttributeProto.FLOATS:
            out.floats.extend(table.numbers(8, "<f4").tolist())
        elif kind == AttributeProto.INTS:
            out.ints.extend(table.numbers(9, "<i8").tolist())
        elif kind == AttributeProto.STRINGS:
            out.strings.extend(table.raw_texts(10))
        elif kind == AttributeProto.TENSORS:
            for each in table.tables(11):
                self._tensor(each, out.tensors.add())
        elif kind == AttributeProto.GRAPHS:
            for each in table.tables(12):
                self._graph(each, out.graphs.add(), depth + 1)
        else:
            raise UnreadableNetwork(f"the attribute {out.name[:80]!r} is of the unknown kind {kind}")
        out.type = kind
        return out

    def _tensor(self, table: Table, out: TensorProto) -> None:
        out.name, out.data_type = table.text(0), table.number(3)
        out.dims.extend(table.numbers(2, "<i8").tolist())
        if table.has(6) and table.number(6, "q") != -1:
            raise UnreadableNetwork(f"tensor {out.name[:80]!r} lies in another file, which only trainings have")
        at, length = table.extent(4)
        texts = table.raw_texts(5)
        if length and texts:
            raise UnreadableNetwork(f"tensor {out.name[:80]!r} is stored twice; readers would disagree")
        if out.data_type == TensorProto.STRING:
            if length:
                raise UnreadableNetwork(f"tensor {out.name[:80]!r} holds texts in a field of numbers")
            out.string_data.extend(texts)
        elif texts:
            raise UnreadableNetwork(f"tensor {out.name[:80]!r} holds numbers in a field of texts")
        elif length >= self.large:
            out.external_data.add(key=self.key, value=str(len(self.cuts)))
            self.cuts.append(Extent(at, length, "raw"))
        else:
            self.buffer.charge(length)
            out.raw_data = self.buffer.take(at, length) if length else b""

    def _value(self, table: Table) -> ValueInfoProto:
        out, described = ValueInfoProto(name=table.text(0), doc_string=table.text(1)), table.table(2)
        if described is not None:
            _type(described, out.type, 0)
        return out


def _type(table: Table, out: TypeProto, depth: int) -> None:
    """What a value is."""
    if depth > _MAX_TYPES:
        raise UnreadableNetwork(f"types are nested deeper than {_MAX_TYPES}")
    out.denotation = table.text(0)
    kind, value = table.number(1, "B"), table.table(2)
    if value is None:
        return
    if kind == _TENSOR:
        out.tensor_type.elem_type = value.number(0)
        shape = value.table(1)
        if shape is not None:
            out.tensor_type.shape.SetInParent()
            for dimension in shape.tables(0):
                _dimension(dimension, out.tensor_type.shape.dim.add())
        return
    inner = value.table(0) if kind == _SEQUENCE else value.table(1) if kind == _MAP else None
    if inner is None:
        raise UnreadableNetwork(f"a value of the unknown type {kind}")
    if kind == _SEQUENCE:
        _type(inner, out.sequence_type.elem_type, depth + 1)
    else:
        out.map_type.key_type = value.number(0)
        _type(inner, out.map_type.value_type, depth + 1)


def _dimension(table: Table, out: object) -> None:
    assert isinstance(out, type(TypeProto().tensor_type.shape).Dimension)
    out.denotation = table.text(1)
    value = table.table(0)
    kind = 0 if value is None else value.number(0, "b")
    if value is not None and kind == _VALUE:
        out.dim_value = value.number(1, "q")
    elif value is not None and kind == _PARAMETER:
        out.dim_param = value.text(2)
