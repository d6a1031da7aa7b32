"""Regularization Term Watermarking: bits in the signs of one layer's secret projections [NNW-TEC 7.3; Uchida et al. 2017].

The mean over the layer's out-rows, a vector of M values, is projected on T secret vectors, the RTW-Key X. Training adds
lambda times the cross entropy between b and the sigmoid of the projections. The network carries b = payload XOR pad, so
that without the key each bit is a fair coin, whatever X and the candidate are. Anchors, by which the layer may have
been found, count as zero in the projection: nothing that aligns is tested.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.methods.base import (
    Candidate,
    Decoded,
    Floats,
    Hooks,
    Insertion,
    InsertionDraft,
    Judgement,
    Method,
    Positions,
    Standard,
    Subject,
)
from onnxnnw.methods.payload import decode_text, encode_text
from onnxnnw.parameters import between, parameter
from onnxnnw.records.key import Stream
from onnxnnw.records.positions import anchors_of
from onnxnnw.records.record import Record
from onnxnnw.standard.grids import BOLD
from onnxnnw.statistics import Association, log10_binomial_tail, log10_of_either, required_symbols

__all__ = ["FORMS", "MATRICES", "RTW", "RtwInsertion", "choose_layer", "project"]

DEFAULT_BITS = 64  # [R: notes]
DEFAULT_WEIGHT = BOLD["rtw"]["lambda"]
MAX_BITS = 4096
SAFE_SHARE = 4
"""T up to M / 4 was inserted reliably; beyond, projections constrain each other (measured, docs/guide/networks.md)."""

_VIEWS = 2  # raw, and every row in units of its own root mean square
_DAMAGED = 0.9
"""Share of right bits that a mark is expected to keep wherever it is still worth speaking of."""


def _normal(stream: Stream, count: int) -> Floats:
    return stream.normals(count)


def _plus_minus(stream: Stream, count: int) -> Floats:
    return stream.bits(count).astype(np.float64) * 2 - 1


def _zero_one(stream: Stream, count: int) -> Floats:
    return stream.bits(count).astype(np.float64)


MATRICES: Mapping[str, Callable[[Stream, int], Floats]] = {
    "normal": _normal,
    "plus-minus": _plus_minus,
    "zero-one": _zero_one,
}
"""The distributions of X that the standard allows [NNW-TEC 7.3.2]."""

FORMS: Mapping[str, Callable[[int], float]] = {
    "sum-ln": lambda bits: 1.0,  # Uchida et al.
    "mean-log2": lambda bits: 1 / (bits * math.log(2)),  # [R: notes]; what Table 12 shows
}
"""Forms of the Regularization Term: the factor on the sum of natural-log cross entropies, given T."""


# --- the mark ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mark:
    """What a record says, checked.

    Attributes:
        slot: Number of the layer's slot.
        payload: (T,) bits.
        wanted: (T,) bits that the network carries: payload XOR pad.
        matrix: X, (M, T).
        anchors: Flat canonical positions that count as zero.
    """

    slot: int
    payload: NDArray[np.uint8]
    wanted: NDArray[np.uint8]
    matrix: Floats
    anchors: Positions


def mark_of(record: Record) -> _Mark:
    """The mark of a record.

    Raises:
        UnreadableRecord: The record does not hold one.
    """
    layer, kind = record.parameters.get("layer"), record.parameters.get("matrix")
    slots = [number for number, entry in enumerate(record.slots) if entry.name == layer]
    bits = record.integer("bits")
    if len(slots) != 1 or not isinstance(kind, str) or kind not in MATRICES or not 1 <= bits <= MAX_BITS:
        raise UnreadableRecord("the record's layer, matrix or number of bits is missing or impossible")
    payload = record.array("payload", bits).astype(np.uint8)
    if (payload > 1).any():
        raise UnreadableRecord("the record's payload holds something else than bits")
    size = record.slots[slots[0]].row_size
    if size * bits > _MAX_MATRIX:
        raise UnreadableRecord("the record's layer is impossibly large")
    context = record.values_context
    matrix = MATRICES[kind](record.key.stream("rtw/matrix", context), size * bits).reshape(size, bits)
    pad = record.key.stream("rtw/pad", context).bits(bits)
    return _Mark(slots[0], payload, payload ^ pad, matrix, anchors_of(record)[slots[0]])


_MAX_MATRIX = 2**28


def project(rows: NDArray[Any], mark: _Mark, scales: Floats | None = None) -> Floats:
    """The T projections of a layer.

    Args:
        rows: (rows, M); values that are not finite count as zero.
        mark: The mark.
        scales: What to divide each row by; None takes rows as they are.
    """
    total = np.zeros(rows.shape[1])
    scale = np.ones(len(rows)) if scales is None else np.where(scales > 0, 1 / np.where(scales > 0, scales, 1), 0)
    step = max(1, 2**20 // rows.shape[1])
    for start in range(0, len(rows), step):
        block = np.nan_to_num(rows[start : start + step].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        total += scale[start : start + step] @ block
    row, column = np.divmod(mark.anchors, rows.shape[1])
    held = np.nan_to_num(rows[row, column].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0) * scale[row]
    np.subtract.at(total, column, held)
    with np.errstate(all="ignore"):
        largest = np.abs(total).max()  # a candidate may hold numbers whose sums overflow; signs do not need their size
        total = np.nan_to_num(total / largest) * min(largest, 1e30) if largest > 0 else total
        projected: Floats = total / len(rows) @ mark.matrix
    return projected


class RTW(Method):
    """Judges RTW watermarks."""

    name: ClassVar[str] = "rtw"

    def judge(self, record: Record, candidate: Candidate, log10_rate: float) -> Judgement:
        if record.kind != "watermark":
            raise UnreadableRecord(f"RTW knows no {record.kind!r} records")
        mark, weights = mark_of(record), candidate.weights
        bits = mark.wanted.size
        rows = weights.array(mark.slot)
        reads = candidate.anchors()
        if rows is None:
            nothing = Standard(False, {"ber": 1.0}, "not retrieved: the marked layer was not found")
            return Judgement(Association(0.0, 0.0, 0), False, nothing, reads, "bits", bits, 0, bits)
        views = [project(rows, mark)]
        scales = weights.row_scales(mark.slot)
        if scales is not None:
            views.append(project(rows, mark, scales))
        right = [(2.0 * mark.wanted - 1) * view > 0 for view in views]  # a tie is an error
        best = max(right, key=np.count_nonzero)
        matches = int(best.sum())
        log10_p = log10_of_either(log10_binomial_tail(matches, bits, 0.5), _VIEWS)
        errors = bits - matches
        decoded = np.where(best, mark.payload, 1 - mark.payload)
        payload = Decoded(decode_text(decoded), decode_text(mark.payload), errors, bits)
        decision = "retrieved" if not errors else "not retrieved"
        standard = Standard(
            not errors, {"ber": errors / bits}, f"{decision}: BER {errors / bits:.3f} (BER = 0 decides)"
        )
        association = Association(log10_p, 2 * matches / bits - 1, bits)
        return Judgement(association, log10_p <= log10_rate, standard, reads, "bits", bits, bits, 0, payload)

    def required(self, record: Record, false_positive_rate: float) -> int:
        return required_symbols(false_positive_rate / _VIEWS, 0.5, _DAMAGED)


# --- in training ------------------------------------------------------------------------------------------------------


def choose_layer(subject: Subject) -> str:
    """The default layer: the first of those with the longest out-rows, where the mark has the most room.

    VGG16's ``features.19.weight``, which the standard's authors used [R: notes]; ResNet8's ``block3.conv2.weight``.
    """
    return max(_layers(subject).items(), key=lambda item: item[1])[0]


def _layers(subject: Subject) -> dict[str, int]:
    """Markable layers in the order of the network, with M."""
    return {slot.name: slot.row_size for slot in subject.view.slots if not slot.read_only and not slot.shared}


@dataclass(frozen=True)
class RtwInsertion(Insertion):
    """A Regularization Term on one layer while the network trains."""

    method: ClassVar[str] = RTW.name
    bits: int = parameter("T: number of bits", DEFAULT_BITS)
    payload: str = parameter("text that the mark carries, at most T bits of UTF-8", "")
    layer: str = parameter("name of the layer's weight; empty takes the first with the longest rows", "")
    matrix: str = parameter("distribution of the RTW-Key: normal, plus-minus or zero-one", "normal")
    weight: float = parameter("lambda: weight of the Regularization Term", DEFAULT_WEIGHT)
    form: str = parameter("form of the term: sum-ln or mean-log2", "sum-ln")

    def __post_init__(self) -> None:
        between("the number of bits T", self.bits, 1, MAX_BITS)
        between("the weight lambda", self.weight, 1e-9, 1e6)
        for what, name, known in (("matrix", self.matrix, MATRICES), ("form", self.form, FORMS)):
            if name not in known:
                raise UsageError(f"no {what} named {name!r}; there are {', '.join(known)}")

    def draft(self, subject: Subject) -> InsertionDraft:
        layers = _layers(subject)
        if not layers:
            raise UsageError("the network has no layer that could carry the mark")
        layer = self.layer or choose_layer(subject)
        if layer not in layers:
            raise UsageError(f"no layer named {layer!r} can carry the mark; there are {', '.join(layers)}")
        room = layers[layer]
        if self.bits > room:
            raise UsageError(
                f"{self.bits} bits do not fit into {layer}, whose out-rows have {room} weights; "
                f"about {room // SAFE_SHARE} do reliably"
            )
        warnings = []
        if self.bits > room // SAFE_SHARE:
            warnings.append(
                f"{self.bits} bits in out-rows of {room} weights may not all be inserted; {room // SAFE_SHARE} are safe"
            )
        if self.matrix == "zero-one":
            warnings.append(
                "a key of {0,1} reads the layer's mean weight in every bit: in a trained network bits are inserted slowly"
            )
        parameters: dict[str, int | str] = {
            "bits": self.bits,
            "layer": layer,
            "matrix": self.matrix,
            "weight": repr(float(self.weight)),
            "form": self.form,
        }
        return InsertionDraft(parameters, {"payload": encode_text(self.payload, self.bits)}, tuple(warnings))

    def hooks(self, record: Record, subject: Subject) -> Hooks:
        term = _Term(record, subject)
        return Hooks(penalty=term, correct=term.correct)


class _Term:
    """The Regularization Term of a running module: a scalar tensor, differentiable in the layer's weights."""

    def __init__(self, record: Record, subject: Subject) -> None:
        import torch

        mark = mark_of(record)
        slot = subject.view.by_name()[record.slots[mark.slot].name]
        place = slot.constant.locate(np.arange(slot.size, dtype=np.int64))
        assert place is not None, f"{slot.name} was drafted as a layer whose values can be changed"
        self.name, self.shape = place[0].name, (slot.rows, slot.row_size)
        straight = np.array_equal(place[1], np.arange(slot.size))
        self.order = None if straight else torch.from_numpy(place[1])  # canonical -> stored
        row, column = np.divmod(mark.anchors, slot.row_size)
        self.anchors = torch.from_numpy(row), torch.from_numpy(column)
        self.matrix = torch.from_numpy(mark.matrix.astype(np.float32))
        self.signs = torch.from_numpy(mark.wanted.astype(np.float32) * 2 - 1)
        form = FORMS[str(record.parameters["form"])]
        self.factor = float(record.parameters["weight"]) * form(mark.wanted.size)

    def __call__(self, module: Any) -> Any:
        import torch.nn.functional as F

        return F.softplus(-self.signs_on(module) * self._projections(module)).sum() * self.factor

    def correct(self, module: Any) -> float:
        """Share of the bits that are right at this moment."""
        import torch

        with torch.no_grad():
            return float((self.signs_on(module) * self._projections(module) > 0).float().mean())

    def signs_on(self, module: Any) -> Any:
        """What is wanted, on the module's device."""
        device = dict(module.named_parameters())[self.name].device
        if self.signs.device != device:
            self.signs, self.matrix = self.signs.to(device), self.matrix.to(device)
            self.anchors = tuple(index.to(device) for index in self.anchors)
            self.order = None if self.order is None else self.order.to(device)
        return self.signs

    def _projections(self, module: Any) -> Any:
        weight = dict(module.named_parameters())[self.name]
        if self.order is not None:
            weight = weight.reshape(-1)[self.order]
        rows = weight.reshape(self.shape)
        held = rows[self.anchors]
        mean = rows.sum(0).index_add(0, self.anchors[1], -held) / self.shape[0]  # (rows, M) -> (M,)
        return mean @ self.matrix
