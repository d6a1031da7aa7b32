"""Classify everything that is stored in a network; the account describes the classes."""

import numpy as np

from onnxnnw.accounting.account import KINDS, Account, AccountLine, Needed, Parameter
from onnxnnw.accounting.amounts import all_bytes, bytes_of, bytes_of_attribute, named
from onnxnnw.accounting.given import run_time_weights
from onnxnnw.accounting.roles import MAX_STRUCTURAL, MAX_TEXT, VOCABULARIES, Role, role_of
from onnxnnw.accounting.small_attributes import SmallAttributes
from onnxnnw.accounting.words import HANDED_OUT, words_become_numbers
from onnxnnw.constants.constants import Constant, Stored
from onnxnnw.constants.moved import Gathered, Sliced, slices_of
from onnxnnw.flow.attribute_weights import read_attributes
from onnxnnw.flow.names import key_of
from onnxnnw.flow.nodes import ABSENT, Node
from onnxnnw.flow.unread import stored_in_functions
from onnxnnw.graph.computed_tables import FormulaCheck
from onnxnnw.graph.cut_edges import SHAPE_ONLY
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["account_of"]

_COMPILED = frozenset(("EPContext", "Snpe"))
_ADVICE = "; verify the file before it is compiled for the device"
_MAX_SLICES = 1024
_FINEST_SCALES = 8
"""Weights that share a scale, at least: more numbers beside a weight are a summand of it, or what was chosen from."""

_WITH_TENSORS = frozenset(("ConstantOfShape",))

_BEFORE_BIAS = {"MoE": 1, "QMoE": 2}
"""How far before the biases of experts their weights stand."""


_RECURRENT = frozenset(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"))


_LARGE_NODE = 512
"""Bytes of a node up to which its attributes are taken for what they are: axes, paddings, names of activations."""

_MAX_ENTRIES = 10_000
_FORMULAS_TOGETHER = 2**26
"""Elements of a file's tables that are held against a formula: seconds. What is beyond counts as not understood."""

_Place = tuple[object, ...]


def account_of(network: Network, view: SlotView) -> Account:
    """Classify everything that is stored in a network.

    Raises:
        UnreadableNetwork: An attribute's tensor contradicts itself.
    """
    return _Accountant(network, view).account()


class _Accountant:
    def __init__(self, network: Network, view: SlotView) -> None:
        self.network, self.view, self.flow = network, view, view.flow
        self.amounts = dict.fromkeys(KINDS, 0)
        self.entries: list[AccountLine] = []
        self.parameters: list[Parameter] = []
        self.done: set[int] = set()  # ids of stored tensors that are classed
        self.live = set(map(id, view.live)) if view.live is not view.possible else None
        self.channels: set[int] = set()
        self.opaque_done: set[int] = set()
        self.partial: dict[int, tuple[StoredTensor, int]] = {}
        self.formulas = FormulaCheck(_FORMULAS_TOGETHER)
        self.small = SmallAttributes()
        self.words_become_numbers = words_become_numbers(view.possible)
        self.beside = {"parameter": 0, "structural": 0}
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
                rest = bytes_of(tensor, tensor.size - used)
                self._add("not understood", tensor.name, "", "only a part of it, or what was made of it, is read", rest)
        self._outputs()
        self._steps()
        self._rest()
        for node in self.view.possible:
            if node.domain or node.op in _WITH_TENSORS or node.proto.ByteSize() > _LARGE_NODE:
                self._attributes(node)
            else:
                self.small.add_node(node)
        for name, operator, reason, amount in self.small.too_many():
            self._add("not understood", name, operator, reason, amount)
        self._functions()
        running = run_time_weights(self.network, self.view)
        for name, operator, amount in running.inputs:
            self._add("given", name, operator, "given at run time", amount)
        channels = sum(slot.row_size if slot.layout == "gather" else slot.rows for slot in self.view.slots)
        beside, nodes = self.beside, len(self.view.possible)
        needed = Needed(beside["parameter"], beside["structural"], channels, nodes, running.tables)
        return Account(self.amounts, self.entries, self.parameters, needed)

    def _add(self, kind: str, name: str, operator: str, reason: str, amount: int) -> None:
        self.amounts[kind] += amount
        if kind not in ("weight", "parameter", "structural") and amount and len(self.entries) < _MAX_ENTRIES:
            self.entries.append(AccountLine(kind, name, operator, reason, amount))

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
                "not understood", main.name, slot.use, "only a part of it is read", bytes_of(main, main.size - read)
            )
        for tensor in stored:
            if id(tensor) not in self.done and tensor is not main:
                self._add("parameter" if kind == "weight" else kind, tensor.name, slot.use, reason, tensor.size)
                if kind == "weight" and tensor.size > slot.covered / _FINEST_SCALES:
                    self._beside("parameter", tensor.size)
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
            self._add("doubtful", main.name, operator, "multiplied by (nearly) nothing", sum(map(all_bytes, stored)))
            return
        if node.inputs[place] in self.flow.slices:
            kind, reason = self._class_of_stack(node, place, known)
        else:
            kind, reason = self._class_of(node, place, known)
        if kind == "not understood":
            size = sum(map(all_bytes, stored))
        elif kind == "parameter" and known.size > 1:
            self.parameters.append(Parameter(main.name, known, operator, value))
        self._beside(kind, size)
        self._add(kind, main.name, operator, reason, size)

    def _beside(self, kind: str, size: int) -> None:
        """Count what stands beside weights: parameters, and what steers operators; tables were held against a formula."""
        if kind == "parameter" or (kind == "structural" and size <= MAX_STRUCTURAL):
            self.beside[kind] += size

    def _part(self, node: Node, place: int, constant: Constant, tensor: StoredTensor) -> None:
        """Some elements of a larger tensor, or a few numbers computed from it; the others are classified at the end."""
        kind, reason = self._class_of(node, place, constant)
        _, used = self.partial.get(id(tensor), (tensor, 0))
        amount = min(constant.size, tensor.size - used)
        self.partial[id(tensor)] = tensor, used + amount
        if kind == "parameter" and constant.size > 1:
            self.parameters.append(
                Parameter(f"{tensor.name}[{used}]", constant, f"{node.op}.{place}", node.inputs[place])
            )
        operator = f"{node.op}.{place}"
        self._beside(kind, amount)
        self._add(kind, tensor.name, operator, reason, bytes_of(tensor, amount) if kind == "not understood" else amount)

    def _class_of_stack(self, node: Node, place: int, stack: Constant) -> tuple[str, str]:
        """The class of the slices that a Scan hands to its body; not understood if the slices differ in class."""
        rank = len(stack.shape)
        axis = self.flow.slices[node.inputs[place]][1]
        if not -rank <= axis < rank or not 0 < stack.shape[axis] <= _MAX_SLICES:
            return "not understood", "slices of a stack that are not read"
        found = [self._class_of(node, place, each) for each in slices_of(stack, axis % rank)]
        kinds = {kind for kind, _ in found}
        return found[0] if len(kinds) == 1 else ("not understood", "slices of different kinds")

    def _class_of(self, node: Node, place: int, constant: Constant) -> tuple[str, str]:
        role: Role | None = role_of(node, place, constant.size)
        if role is None:
            return "not understood", f"nothing is known of what {named(node)} does with it"
        size = constant.size
        if role.kind == "structural":
            if size <= MAX_STRUCTURAL or self._follows_a_formula(constant):
                return "structural", role.reason
            return "not understood", f"{size:,} elements where {role.reason} would stand"
        if size < MAX_STRUCTURAL:
            return "parameter", role.reason
        lengths = [length for length in constant.shape if length > 1]
        several = len(lengths) == 2 and node.op in _RECURRENT and constant.shape[0] <= 2
        if len(lengths) <= 1 or several or self._are_of_experts(node, place, constant):
            length = lengths[-1] if lengths else 1
            if length <= MAX_STRUCTURAL or length in self.channels or length // 2 in self.channels:
                return "parameter", role.reason
        if self._follows_a_formula(constant):
            return "structural", "a table that follows a formula"
        return "not understood", f"{size:,} elements where {role.reason} would stand"

    def _are_of_experts(self, node: Node, place: int, constant: Constant) -> bool:
        """Whether there is one number for each output of each expert; the weight beside it says how many there are."""
        before = _BEFORE_BIAS.get(node.op)
        if before is None or place < before or node.inputs[place - before] == ABSENT:
            return False
        weight = self.view.constants.of(node.inputs[place - before])
        return weight is not None and len(weight.shape) == 3 and weight.shape[:2] == constant.shape

    def _roots(self, value: int, kind: str, operator: str, reason: str) -> None:
        """Everything stored from which a value is computed."""
        for root in self.flow.roots(value, set()):
            tensor = self.flow.tensors.get(root)
            if tensor is None and root not in self.opaque_done:
                self.opaque_done.add(root)
                self._add(kind, self.flow.names[root], operator, reason, self._opaque(root))
            elif tensor is not None and id(tensor) not in self.done:
                self.done.add(id(tensor))
                self._add(kind, tensor.name, operator, reason, all_bytes(tensor))

    def _opaque(self, value: int) -> int:
        """Bytes of a constant that is not a stored tensor."""
        if value in self.flow.sparse:
            return sum(map(all_bytes, self.flow.sparse[value][:2]))
        proto = self.flow.opaque[value]
        return int(proto.ByteSize())

    def _outputs(self) -> None:
        """Constants that are outputs of the network or of a body."""
        values = [*self.flow.outputs]
        for node in self.view.possible:
            for body in node.bodies:
                values += body.computed()
        values += [self.flow.slices[value][0] for value in values if value in self.flow.slices]
        for value in values:
            if self.view.constants.status(value) is not None:
                constant = self.view.constants.of(value)
                small = constant is not None and (constant.size <= MAX_STRUCTURAL or self.formulas.holds(constant))
                kind = "structural" if small else "not understood"
                self._roots(value, kind, "output", "handed out as it is stored")

    def _steps(self) -> None:
        """Constants that are only steps on the way to other constants: the result was classified already."""
        flow, done = self.flow, self.done
        for node in self.view.possible:
            for place, value in enumerate(node.inputs):
                tensor = flow.tensors.get(value)
                if tensor is None or id(tensor) in done:
                    continue
                done.add(id(tensor))
                role = role_of(node, place)
                if (node.op, place) in SHAPE_ONLY and not node.domain and tensor.size > MAX_STRUCTURAL:
                    self._add("dead", tensor.name, f"{node.op}.{place}", "only its shape or type is read", tensor.size)
                elif (
                    tensor.size <= MAX_STRUCTURAL or role is not None or self.view.constants.of(node.result) is not None
                ):
                    self._add("structural", tensor.name, f"{node.op}.{place}", "evaluated", tensor.size)
                else:
                    reason = "a step that is not understood"
                    self._add("not understood", tensor.name, f"{node.op}.{place}", reason, all_bytes(tensor))

    def _rest(self) -> None:
        """Everything that no node reads."""
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
        read = read_attributes(node)
        for name, attribute in node.attributes().items():
            if name in read:  # looked at as an input
                continue
            amount = bytes_of_attribute(self.network, node, name, attribute)
            limit = _LARGE_NODE if known else MAX_STRUCTURAL
            if self._are_words(node, name) and max(map(len, attribute.strings[:]), default=0) <= MAX_TEXT:
                self._add("structural", name, node.op, "words of a vocabulary", amount)
            elif amount > limit:
                kind = "doubtful" if doubtful else "not understood"
                compiled = not known or node.op in _COMPILED
                reason = f"an attribute of {named(node)} that is not read" + _ADVICE * compiled
                self._add(kind, name, named(node), reason, amount)
            else:
                self.small.add(node, name, attribute)
                self._add("structural", name, node.op, "attribute", len(attribute.ints) + len(attribute.floats) or 1)

    def _are_words(self, node: Node, name: str) -> bool:
        """Whether an attribute is a vocabulary, and none that is cast to numbers."""
        key = node.op, name
        return key in VOCABULARIES and not (key in HANDED_OUT and self.words_become_numbers)

    def _follows_a_formula(self, constant: Constant) -> bool:
        """Whether a table does, and what it is made of too: of weights that were made into nothing but zeros, nothing is known."""
        if constant.size > MAX_STRUCTURAL and not self.formulas.holds(constant):
            return False
        if constant.locate(np.zeros(1, np.int64)) is not None:
            return True
        stored = [tensor for tensor in constant.stored() if tensor.size > MAX_STRUCTURAL]
        return all(self.formulas.holds(Stored(tensor)) for tensor in stored)

    def _functions(self) -> None:
        called = {key_of(node.function): node.function for node in self.view.possible if node.function is not None}
        places: set[object] = set()
        for tensor in stored_in_functions(self.network, called.values()) if called else ():
            if tensor.place in places:
                continue
            places.add(tensor.place)
            reason = "in a local function that a runtime may not run"
            self._add("not understood", tensor.name, "local function", reason, all_bytes(tensor))


def _leaves_out(constant: Constant) -> bool:
    """Whether elements are dropped on the way to a constant."""
    kept = all(constant.size >= part.size for part in constant.parts) or not isinstance(constant, Sliced | Gathered)
    return not kept or any(map(_leaves_out, constant.parts))
