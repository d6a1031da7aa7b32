"""Sign bits: one Symbol in the sign of each of T secret weights of one layer.

Training adds lambda times a hinge: each weight is pulled to its side of zero until it is ``margin`` deviations of the layer
away. The network carries b = payload XOR pad, and the pad follows from the key, so that without the key each sign is
right with probability 1/2, whatever the candidate is. Anchors, by which the layer may have been found, never carry a
Symbol: nothing that aligns is tested.

A finished network is marked without training: weights on the wrong side of zero change their sign, and those nearer than
``margin`` move away from zero.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.methods.base import (
    Candidate,
    Decoded,
    FileInsertion,
    Hooks,
    Insertion,
    InsertionDraft,
    Judgement,
    Method,
    Standard,
    Subject,
)
from onnxnnw.methods.payload import decode_text, encode_text
from onnxnnw.parameters import between, parameter
from onnxnnw.records.positions import anchors_of
from onnxnnw.records.record import Record
from onnxnnw.statistics import Association, log10_binomial_tail, required_symbols

__all__ = ["SignBits", "SignBitsInFile", "SignBitsInsertion"]

MAX_BITS = 4096
SAFE_SHARE = 8
"""Up to an eighth of a layer's weights may carry a Symbol: more leaves training too little room."""

_DAMAGED = 0.9
"""Share of right signs that a mark is expected to keep wherever it is still worth speaking of."""


@dataclass(frozen=True)
class _Mark:
    """What a record says, checked.

    Attributes:
        slot: Number of the layer's slot.
        positions: (T,) flat canonical positions in it.
        payload: (T,) bits.
        wanted: (T,) bits that the network carries: payload XOR pad; 1 is a positive weight.
    """

    slot: int
    positions: NDArray[np.int64]
    payload: NDArray[np.uint8]
    wanted: NDArray[np.uint8]

    @property
    def signs(self) -> NDArray[np.float64]:
        """(T,) of -1 and 1."""
        return self.wanted.astype(np.float64) * 2 - 1


def mark_of(record: Record) -> _Mark:
    """The mark of a record.

    Raises:
        UnreadableRecord: The record does not hold one.
    """
    slots = [number for number, entry in enumerate(record.slots) if entry.name == record.parameters.get("layer")]
    bits = record.integer("bits")
    if record.kind != "watermark" or len(slots) != 1 or not 1 <= bits <= MAX_BITS:
        raise UnreadableRecord("the record's kind, layer or number of bits is missing or impossible")
    payload = record.array("payload", bits).astype(np.uint8)
    if (payload > 1).any():
        raise UnreadableRecord("the record's payload holds something else than bits")
    (slot,) = slots
    size, anchors = math.prod(record.slots[slot].shape), anchors_of(record)[slot]
    if bits + anchors.size > size:
        raise UnreadableRecord("the record's layer has no room for its bits")
    positions = record.key.stream("sign_bits/positions", record.positions_context).indices(bits, size, anchors.tolist())
    pad = record.key.stream("sign_bits/pad", record.values_context).bits(bits)
    return _Mark(slot, positions, payload, payload ^ pad)


class SignBits(Method):
    """Judges sign bits."""

    name: ClassVar[str] = "sign_bits_package"

    def judge(self, record: Record, candidate: Candidate, log10_rate: float) -> Judgement:
        mark, reads = mark_of(record), candidate.anchors()
        bits = mark.wanted.size
        values = candidate.weights.values(mark.slot, mark.positions)
        if values is None:
            nothing = Standard(False, {"ber": 1.0}, "not retrieved: the marked layer was not found")
            return Judgement(Association(0.0, 0.0, 0), False, nothing, reads, "bits", bits, 0, bits)
        right = mark.signs * values > 0  # zero and NaN are errors
        errors = bits - int(right.sum())
        log10_p = log10_binomial_tail(bits - errors, bits, 0.5)
        decoded = np.where(right, mark.payload, 1 - mark.payload)
        payload = Decoded(decode_text(decoded), decode_text(mark.payload), errors, bits)
        decision = "retrieved" if not errors else "not retrieved"
        sentence = f"{decision}: BER {errors / bits:.3f} (BER = 0 decides)"
        standard = Standard(not errors, {"ber": errors / bits}, sentence)
        association = Association(log10_p, 1 - 2 * errors / bits, bits)
        return Judgement(association, log10_p <= log10_rate, standard, reads, "bits", bits, bits, 0, payload)

    def required(self, record: Record, false_positive_rate: float) -> int:
        return required_symbols(false_positive_rate, 0.5, _DAMAGED)


@dataclass(frozen=True)
class SignBitsInsertion(Insertion):
    """A hinge on the signs of secret weights while the network trains."""

    method: ClassVar[str] = SignBits.name
    bits: int = parameter("T: number of bits, one weight each", 64)
    payload: str = parameter("text that the mark carries, at most T bits of UTF-8", "")
    layer: str = parameter("name of the layer's weight; empty takes the largest", "")
    weight: float = parameter("lambda: weight of the hinge", 0.01)
    margin: float = parameter("how far from zero, in deviations of the layer's weights", 1.0)

    def __post_init__(self) -> None:
        between("the number of bits T", self.bits, 1, MAX_BITS)
        between("the weight lambda", self.weight, 1e-9, 1e6)
        between("the margin", self.margin, 1e-3, 10)

    def draft(self, subject: Subject) -> InsertionDraft:
        drafted = _draft(subject.view, self.bits, self.payload, self.layer, self.margin)
        return replace(drafted, parameters={**drafted.parameters, "weight": repr(float(self.weight))})

    def hooks(self, record: Record, subject: Subject) -> Hooks:
        hinge = _Hinge(record, subject)
        return Hooks(penalty=hinge, correct=hinge.correct)


@dataclass(frozen=True)
class SignBitsInFile(FileInsertion):
    """Signs of secret weights of a finished network, and the margin from zero that keeps them."""

    method: ClassVar[str] = SignBits.name
    bits: int = parameter("T: number of bits, one weight each", 64)
    payload: str = parameter("text that the mark carries, at most T bits of UTF-8", "")
    layer: str = parameter("name of the layer's weight; empty takes the largest", "")
    margin: float = parameter("how far from zero at least, in deviations of the layer's weights", 0.5)

    def __post_init__(self) -> None:
        between("the number of bits T", self.bits, 1, MAX_BITS)
        between("the margin", self.margin, 1e-3, 10)

    def draft(self, view: SlotView) -> InsertionDraft:
        return _draft(view, self.bits, self.payload, self.layer, self.margin)

    def values(self, record: Record, view: SlotView) -> Mapping[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        mark, slot = mark_of(record), view.slots[mark_of(record).slot]
        least = float(record.parameters["margin"]) * float(slot.array().std())
        return {mark.slot: (mark.positions, mark.signs * np.maximum(np.abs(slot.values(mark.positions)), least))}


def _draft(view: SlotView, bits: int, payload: str, layer: str, margin: float) -> InsertionDraft:
    """What both ways of marking settle beforehand.

    Raises:
        UsageError: The layer cannot carry the mark, or has no room for it.
    """
    layers = {slot.name: slot.size for slot in view.slots if not slot.read_only and not slot.shared}
    layer = layer or max(layers, key=layers.__getitem__, default="")
    if layer not in layers:
        raise UsageError(f"no layer named {layer!r} can carry the mark; there are {', '.join(layers) or 'none'}")
    room = layers[layer] // SAFE_SHARE
    if bits > room:
        raise UsageError(f"{bits} bits do not fit into {layer}: it has room for {room}")
    parameters: dict[str, int | str] = {"bits": bits, "layer": layer, "margin": repr(float(margin))}
    return InsertionDraft(parameters, {"payload": encode_text(payload, bits)})


class _Hinge:
    """The hinge of a running module: a scalar tensor, differentiable in the layer's weights."""

    def __init__(self, record: Record, subject: Subject) -> None:
        import torch

        mark = mark_of(record)
        slot = subject.view.by_name()[record.slots[mark.slot].name]
        place = slot.constant.locate(mark.positions)  # canonical -> as the module stores it
        assert place is not None, f"{slot.name} was drafted as a layer whose values can be changed"
        self.name, self.where = place[0].name, torch.from_numpy(place[1])
        self.signs = torch.from_numpy(mark.signs.astype(np.float32))
        self.weight, self.margin = float(record.parameters["weight"]), float(record.parameters["margin"])

    def __call__(self, module: Any) -> Any:
        weights = self._layer(module)
        missing = self.margin * weights.detach().std() - self.signs * weights[self.where]
        return missing.relu().sum() / weights.detach().std() * self.weight

    def correct(self, module: Any) -> float:
        """Share of the signs that are right at this moment."""
        return float((self.signs * self._layer(module)[self.where] > 0).float().mean())

    def _layer(self, module: Any) -> Any:
        """The layer's weights, flat; what is wanted follows them to their device."""
        weights = dict(module.named_parameters())[self.name].reshape(-1)
        self.signs, self.where = self.signs.to(weights.device), self.where.to(weights.device)
        return weights
