"""What is stored in a network, and what of it is seen: the account that every command speaks from.

Everything stored is exactly one of

- **weight**: a slot reads it;
- **parameter**: a bias, a normalisation's numbers, slopes, scales of a quantisation: one number per channel;
- **structural**: shapes, axes, places, numbers that steer operators, tables that follow a formula, words of a vocabulary;
- **not understood**: an operator, input or attribute of which nothing is known, or a constant that is too large for its place;
- **doubtful**: an output depends on it only through factors of (nearly) nothing;
- **dead**: no output can depend on it;

and beside it stands what is **given** at run time where a weight would stand. What is read counts by element, what is not read in
bytes, each byte an element: a whole layer fits into one string.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import AttributeProto, SparseTensorProto, TensorProto

from onnxnnw.graph.arrays import Gathered, Sliced
from onnxnnw.graph.computed_tables import is_computed
from onnxnnw.graph.constants import Constant, Stored
from onnxnnw.graph.file import Network
from onnxnnw.graph.flow import ABSENT, UNREAD, Node
from onnxnnw.graph.roles import MAX_STRUCTURAL, MAX_TEXT, Role, role_of
from onnxnnw.graph.slots import Slot, SlotView
from onnxnnw.graph.stored import StoredTensor, byte_length
from onnxnnw.graph.tracing import key_of
from onnxnnw.graph.unread import stored_in_functions
from onnxnnw.graph.uses import uses_of

__all__ = ["KINDS", "Account", "Entry", "Parameter", "account_of"]

KINDS = ("weight", "parameter", "structural", "not understood", "doubtful", "dead", "given")
_LARGE_NODE = 512
"""Bytes of a node up to which its attributes are taken for what they are: axes, paddings, names of activations."""

_UNKNOWN = 2**40
"""Elements of something without bounds."""


@dataclass(frozen=True)
class Entry:
    """Something stored that is worth a line: all that is not understood, doubtful, dead or given.

    Attributes:
        kind: One of ``KINDS``.
        name: Of the stored tensor, or of the attribute.
        operator: That reads it, with the number of the input.
        reason: Why it is of this kind.
        amount: Elements, or bytes where it is not read.
    """

    kind: str
    name: str
    operator: str
    reason: str
    amount: int


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter as it reaches an operator.

    Attributes:
        name: Of the stored tensor at its root.
        constant: Its numbers.
        role: ``BatchNormalization.1``: the operator, and the number of the input.
        value: Its value in the flow.
    """

    name: str
    constant: Constant
    role: str
    value: int


@dataclass(frozen=True)
class Account:
    """What is stored in a network, by kind.

    Attributes:
        amounts: Elements (bytes of what is not read) of each kind.
        entries: See ``Entry``; at most 10,000.
        parameters: Parameters of two elements and more, in the order of the nodes.
    """

    amounts: dict[str, int]
    entries: list[Entry] = field(repr=False)
    parameters: list[Parameter] = field(repr=False)

    @property
    def weight(self) -> int:
        """Elements of weights."""
        return self.amounts["weight"]

    @property
    def parameter(self) -> int:
        """Elements of parameters."""
        return self.amounts["parameter"]

    @property
    def structural(self) -> int:
        """Elements that shape and steer."""
        return self.amounts["structural"]

    @property
    def not_understood(self) -> int:
        """Bytes of what is not understood."""
        return self.amounts["not understood"]

    @property
    def doubtful(self) -> int:
        """Elements (bytes) of what is doubtful."""
        return self.amounts["doubtful"]

    @property
    def dead(self) -> int:
        """Elements of what no output can depend on."""
        return self.amounts["dead"]

    @property
    def given(self) -> int:
        """Elements that are given at run time where weights would stand."""
        return self.amounts["given"]

    @property
    def stored(self) -> int:
        """Everything stored."""
        return sum(self.amounts.values()) - self.given

    @property
    def total(self) -> int:
        """What a record has to explain: all but structure and what is dead."""
        return self.stored + min(self.given, _UNKNOWN) - self.structural - self.dead

    @property
    def hidden(self) -> int:
        """Bytes that could hold a weight that was not read."""
        return self.not_understood + self.doubtful + self.given

    def unread(self) -> list[Entry]:
        """What is not understood, or given at run time; largest first."""
        return sorted(
            (e for e in self.entries if e.kind in ("not understood", "given")), key=lambda entry: -entry.amount
        )

    @property
    def unseen(self) -> float:
        """Share of what has to be explained that is not understood."""
        return self.not_understood / max(1, self.total)


def account_of(network: Network, view: SlotView) -> Account:
    """Class everything that is stored in a network.

    Raises:
        UnreadableNetwork: An attribute's tensor contradicts itself.
    """
    return _Accountant(network, view).account()


_MAX_ENTRIES = 10_000
_Place = tuple[object, ...]


class _Accountant:
    def __init__(self, network: Network, view: SlotView) -> None:
        self.network, self.view, self.flow = network, view, view.flow
        self.amounts = dict.fromkeys(KINDS, 0)
        self.entries: list[Entry] = []
        self.parameters: list[Parameter] = []
        self.done: set[int] = set()  # ids of stored tensors that are classed
        self.live = set(map(id, view.live)) if view.live is not view.possible else None
        self.channels: set[int] = set()
        self.opaque_done: set[int] = set()
        self.partial: dict[int, tuple[StoredTensor, int]] = {}
        self.of_tensor: dict[int, list[Slot]] = {}
        for slot in (*view.slots, *view.doubtful):
            self.of_tensor.setdefault(id(slot.tensor), []).append(slot)

    def account(self) -> Account:
        for slots, kind in ((self.view.slots, "weight"), (self.view.doubtful, "doubtful")):
            for slot in slots:
                self._slot(slot, kind)
        for node, place, value in self.view.other_constants():
            self._edge(node, place, value)
        for tensor, used in self.partial.values():
            if id(tensor) not in self.done:
                self.done.add(id(tensor))
                rest = _bytes(tensor, tensor.size - used)
                self._add("not understood", tensor.name, "", "only a part of it, or what was made of it, is read", rest)
        self._outputs()
        self._steps()
        self._rest()
        for node in self.view.possible:
            if node.domain or node.op in _WITH_TENSORS or node.proto.ByteSize() > _LARGE_NODE:
                self._attributes(node)
        self._functions()
        self._given()
        return Account(self.amounts, self.entries, self.parameters)

    def _add(self, kind: str, name: str, operator: str, reason: str, amount: int) -> None:
        self.amounts[kind] += amount
        if kind not in ("weight", "parameter", "structural") and amount and len(self.entries) < _MAX_ENTRIES:
            self.entries.append(Entry(kind, name, operator, reason, amount))

    # --- weights

    def _slot(self, slot: Slot, kind: str) -> None:
        shape = slot.shape
        self.channels.update((*shape, slot.rows, slot.row_size))
        reason = "multiplied by (nearly) nothing before it reaches an output" if kind == "doubtful" else ""
        self._add(kind, slot.name, slot.use, reason, slot.covered)
        stored = slot.constant.stored()
        main = slot.tensor
        read = sum(other.covered for other in self.of_tensor[id(main)]) if id(main) not in self.done else None
        part = read is not None and main.readable and read < main.size and slot.constant.extent == main.size
        if part and read is not None and _leaves_out(slot.constant):
            self._add(
                "not understood", main.name, slot.use, "only a part of it is read", _bytes(main, main.size - read)
            )
        for tensor in stored:
            if id(tensor) not in self.done and tensor is not main:
                self._add("parameter" if kind == "weight" else kind, tensor.name, slot.use, reason, tensor.size)
            self.done.add(id(tensor))

    # --- what else reaches an operator

    def _edge(self, node: Node, place: int, value: int) -> None:
        known = self.view.constants.of(value)
        doubtful = self.live is not None and id(node) not in self.live
        if known is None:
            reason = "a constant by operations that are not understood"
            self._roots(value, "doubtful" if doubtful else "not understood", f"{node.op}.{place}", reason)
            return
        stored = [tensor for tensor in known.stored() if id(tensor) not in self.done]
        if not stored:
            return
        operator = f"{node.op}.{place}"
        if len(stored) == 1 and known.size < stored[0].size > MAX_STRUCTURAL and not doubtful:
            self._part(node, place, known, stored[0])
            return
        self.done.update(map(id, stored))
        main = max(stored, key=lambda tensor: tensor.size)
        size = sum(tensor.size for tensor in stored)
        if doubtful:
            self._add("doubtful", main.name, operator, "multiplied by (nearly) nothing", sum(map(_all_bytes, stored)))
            return
        kind, reason = self._class_of(node, place, known)
        if kind == "not understood":
            size = sum(map(_all_bytes, stored))
        elif kind == "parameter" and known.size > 1:
            self.parameters.append(Parameter(main.name, known, operator, value))
        self._add(kind, main.name, operator, reason, size)

    def _part(self, node: Node, place: int, constant: Constant, tensor: StoredTensor) -> None:
        """Some elements of a larger tensor, or a few numbers that were made of it; the rest is looked at in the end."""
        kind, reason = self._class_of(node, place, constant)
        _, used = self.partial.get(id(tensor), (tensor, 0))
        amount = min(constant.size, tensor.size - used)
        self.partial[id(tensor)] = tensor, used + amount
        if kind == "parameter" and constant.size > 1:
            self.parameters.append(
                Parameter(f"{tensor.name}[{used}]", constant, f"{node.op}.{place}", node.inputs[place])
            )
        operator = f"{node.op}.{place}"
        self._add(kind, tensor.name, operator, reason, _bytes(tensor, amount) if kind == "not understood" else amount)

    def _class_of(self, node: Node, place: int, constant: Constant) -> tuple[str, str]:
        role: Role | None = role_of(node, place, constant.size)
        if role is None:
            return "not understood", f"nothing is known of what {_named(node)} does with it"
        size = constant.size
        if role.kind == "structural":
            if size <= MAX_STRUCTURAL or _follows_a_formula(constant):
                return "structural", role.reason
            return "not understood", f"{size:,} elements where {role.reason} would stand"
        if size < MAX_STRUCTURAL:
            return "parameter", role.reason
        lengths = [length for length in constant.shape if length > 1]
        if len(lengths) <= 1 or (node.op in _RECURRENT and constant.shape[0] <= 2 and len(lengths) == 2):
            length = lengths[-1] if lengths else 1
            if length <= MAX_STRUCTURAL or length in self.channels or length // 2 in self.channels:
                return "parameter", role.reason
        if _follows_a_formula(constant):
            return "structural", "a table that follows a formula"
        return "not understood", f"{size:,} elements where {role.reason} would stand"

    def _roots(self, value: int, kind: str, operator: str, reason: str) -> None:
        """Everything stored from which a value is computed."""
        stack, seen = [value], set()
        while stack:
            current = stack.pop()
            if current in seen or current == ABSENT:
                continue
            seen.add(current)
            if current in self.flow.tensors:
                tensor = self.flow.tensors[current]
                if id(tensor) not in self.done:
                    self.done.add(id(tensor))
                    self._add(kind, tensor.name, operator, reason, _all_bytes(tensor))
            elif current in self.flow.opaque:
                if current not in self.opaque_done:
                    self.opaque_done.add(current)
                    amount = self._opaque(current)
                    self._add(kind, self.flow.names[current], operator, reason, amount)
            elif current in self.flow.producer:
                producer = self.flow.producer[current]
                stack += producer.inputs
                stack += [output for body in producer.bodies for output in body.outputs]

    def _opaque(self, value: int) -> int:
        """Bytes of a constant that is no stored tensor."""
        if value in self.flow.sparse:
            return sum(map(_all_bytes, self.flow.sparse[value][:2]))
        proto = self.flow.opaque[value]
        return int(proto.ByteSize())

    def _outputs(self) -> None:
        """Constants that are answers, or that a body hands out."""
        values = [*self.flow.outputs]
        for node in self.view.possible:
            for body in node.bodies:
                values += body.outputs
        for value in values:
            if self.view.constants.status(value) is not None:
                constant = self.view.constants.of(value)
                small = constant is not None and constant.size <= MAX_STRUCTURAL
                kind = "structural" if small else "not understood"
                self._roots(value, kind, "output", "handed out as it is stored")

    def _steps(self) -> None:
        """Constants that only steer steps on the way to other constants: whatever they do, its result was looked at."""
        flow, done = self.flow, self.done
        for node in self.view.possible:
            for place, value in enumerate(node.inputs):
                tensor = flow.tensors.get(value)
                if tensor is None or id(tensor) in done:
                    continue
                done.add(id(tensor))
                role = role_of(node, place)
                if (node.op, place) in _SHAPE_ONLY and not node.domain and tensor.size > MAX_STRUCTURAL:
                    self._add("dead", tensor.name, f"{node.op}.{place}", "only its shape or type is read", tensor.size)
                elif (
                    tensor.size <= MAX_STRUCTURAL or role is not None or self.view.constants.of(node.result) is not None
                ):
                    self._add("structural", tensor.name, f"{node.op}.{place}", "evaluated", tensor.size)
                else:
                    reason = "a step that is not understood"
                    self._add("not understood", tensor.name, f"{node.op}.{place}", reason, _all_bytes(tensor))

    def _rest(self) -> None:
        """What nothing reads."""
        places = {tensor.place for tensor in self.flow.tensors.values() if id(tensor) in self.done}
        for tensor in self.flow.tensors.values():
            if id(tensor) not in self.done and tensor.place not in places:
                places.add(tensor.place)
                self._add("dead", tensor.name, "", "no output can depend on it", tensor.size)
        if not self.flow.opaque:
            return
        used = {value for node in self.view.possible for value in node.inputs}
        for value in self.flow.opaque:
            if value in self.opaque_done:
                continue
            amount = self._opaque(value)
            if value not in used:
                self._add("dead", self.flow.names[value], "", "no output can depend on it", amount)
            elif value in self.flow.sparse and self.view.constants.of(value) is not None:
                continue  # its values were read as those of a slot, or classed where they are used
            elif amount > _LARGE_NODE:
                self._add("not understood", self.flow.names[value], "", "a text, or a tensor that is not read", amount)

    # --- attributes, functions, inputs

    def _attributes(self, node: Node) -> None:
        doubtful = self.live is not None and id(node) not in self.live
        known = node.domain in ("", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
        for name, attribute in node.attributes().items():
            amount = self._attribute(node, name, attribute)
            limit = _LARGE_NODE if known else MAX_STRUCTURAL
            if (node.op, name) in _VOCABULARIES and max(map(len, attribute.strings[:]), default=0) <= MAX_TEXT:
                self._add("structural", name, node.op, "words of a vocabulary", amount)
            elif amount > limit:
                kind = "doubtful" if doubtful else "not understood"
                self._add(kind, name, _named(node), f"an attribute of {_named(node)} that is not read", amount)
            else:
                self._add("structural", name, node.op, "attribute", len(attribute.ints) + len(attribute.floats) or 1)

    def _attribute(self, node: Node, name: str, attribute: AttributeProto) -> int:
        """Bytes that an attribute holds, wherever they lie."""
        amount = int(attribute.ByteSize())
        if attribute.HasField("g") or attribute.graphs:
            amount = sum(len(text) for text in attribute.strings[:]) + len(attribute.s)
        amount += sum(_all_bytes(self.network.tensor(t, name)) for t in self._tensors(attribute))
        if node.op == "EPContext" and name == "ep_cache_context" and not node.integer("embed_mode", 1):
            amount += _beside(self.network, attribute.s)
        return amount

    @staticmethod
    def _tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse: list[SparseTensorProto] = [*attribute.sparse_tensors]
        if attribute.HasField("sparse_tensor"):
            sparse.append(attribute.sparse_tensor)
        for each in sparse:
            if each.HasField("values"):
                yield from (each.values, each.indices)

    def _functions(self) -> None:
        called = {key_of(node.function): node.function for node in self.view.possible if node.function is not None}
        places: set[object] = set()
        for tensor in stored_in_functions(self.network, called.values()) if called else ():
            if tensor.place in places:
                continue
            places.add(tensor.place)
            reason = "in a local function that a runtime may not run"
            self._add("not understood", tensor.name, "local function", reason, _all_bytes(tensor))

    def _given(self) -> None:
        """Graph inputs that stand where a weight would."""
        inputs: dict[int, int] | None = None  # made where it is needed: there may be very many
        seen: set[int] = set()
        for node in self.view.possible:
            for use in uses_of(node):
                place = use.weight
                if place >= len(node.inputs) or not _stands_for_a_weight(node, place):
                    continue
                value = self._source(node.inputs[place])
                if value in self.flow.producer or value in self.flow.tensors or value in seen:
                    continue
                if inputs is None:
                    given = set(self.flow.inputs)
                    inputs = {port: number for number, port in enumerate(self.flow.ports) if port in given}
                if value not in inputs or self._source(node.inputs[0]) == value:  # a product of an input with itself
                    continue
                seen.add(value)
                port = self.network.model.graph.input[inputs[value]]
                amount = _elements(port.type.tensor_type)
                self._add("given", port.name, f"{node.op}.{place}", "given at run time", amount)

    def _source(self, value: int) -> int:
        """Where a value comes from that is only moved."""
        for _ in range(_MAX_MOVES):
            node = self.flow.producer.get(value)
            if node is None or node.op not in _HANDED_ON or node.domain or not node.inputs:
                break
            value = node.inputs[0]
        return value


_MAX_MOVES = 32
_SHAPE_ONLY = frozenset((("Shape", 0), ("Size", 0), ("EyeLike", 0), ("CastLike", 1)))
_WITH_TENSORS = frozenset(("ConstantOfShape",))
_RECURRENT = frozenset(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"))
_HANDED_ON = frozenset(
    ("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "DequantizeLinear", "Slice")
)
_VOCABULARIES = frozenset(
    (
        ("LabelEncoder", "keys_strings"),
        ("LabelEncoder", "classes_strings"),
        ("CategoryMapper", "cats_strings"),
        ("OneHotEncoder", "cats_strings"),
        ("StringNormalizer", "stopwords"),
        ("TfIdfVectorizer", "pool_strings"),
        ("DictVectorizer", "string_vocabulary"),
        ("ZipMap", "classlabels_strings"),
        ("LinearClassifier", "classlabels_strings"),
        ("SVMClassifier", "classlabels_strings"),
        ("TreeEnsembleClassifier", "classlabels_strings"),
    )
)


def _stands_for_a_weight(node: Node, place: int) -> bool:
    """Whether this input holds a weight in other networks, and not what is computed."""
    if node.op in ("Gather", "Add", "QLinearAdd", "EmbedLayerNormalization") or node.op in _HANDED_ON:
        return False
    return place > 0 and node.op not in _ELEMENTWISE


_ELEMENTWISE = frozenset(
    "Mul Sub Div Pow QLinearMul Max Min Sum Mean Concat Einsum Where PRelu ScatterND Attention".split()
)


def _leaves_out(constant: Constant) -> bool:
    """Whether elements are left out on the way to a constant."""
    kept = all(constant.size >= part.size for part in constant.parts) or not isinstance(constant, Sliced | Gathered)
    return not kept or any(map(_leaves_out, constant.parts))


def _follows_a_formula(constant: Constant) -> bool:
    """Whether a table does, and what it is made of too: of weights that were made into nothing but zeros, nothing is known."""
    if constant.size > MAX_STRUCTURAL and not is_computed(constant):
        return False
    stored = [tensor for tensor in constant.stored() if tensor.size > MAX_STRUCTURAL]
    return constant.locate(np.zeros(1, np.int64)) is not None or all(is_computed(Stored(tensor)) for tensor in stored)


def _named(node: Node) -> str:
    """An operator as people call it."""
    domain = node.domain.removeprefix(UNREAD)
    return f"{domain}.{node.op}".removeprefix(".")[:100]


def _bytes(tensor: StoredTensor, elements: int) -> int:
    return max(0, byte_length(tensor.data_type, elements))


def _all_bytes(tensor: StoredTensor) -> int:
    """Bytes of a tensor as it is stored, texts included."""
    length = byte_length(tensor.data_type, tensor.size)
    if length >= 0:
        return length
    content: Any = tensor.inline
    return sum(len(text) for text in content.tolist()) if content is not None else 0


def _elements(tensor_type: Any) -> int:
    """Elements of an input; without bounds where its shape says nothing."""
    if not tensor_type.HasField("shape"):
        return _UNKNOWN
    amount = 1
    for dim in tensor_type.shape.dim:
        if not dim.HasField("dim_value"):
            return _UNKNOWN
        amount *= max(0, dim.dim_value)
    return min(amount, _UNKNOWN)


def _beside(network: Network, location: bytes) -> int:
    """Bytes of a compiled file that stands beside the network; without bounds where it is not there."""
    try:
        return (network.path.parent / os.fsdecode(location)).stat().st_size
    except (OSError, ValueError):
        return _UNKNOWN
