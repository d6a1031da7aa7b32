"""Reference and candidate -> what they share: one line first, then layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxnnw.accounting.account import Account
from onnxnnw.accounting.classing import account_of
from onnxnnw.alignment.matrices import MatrixAlignment
from onnxnnw.alignment.networks import NetworkAlignment, align_networks
from onnxnnw.alignment.weights import Weight, weights_of
from onnxnnw.comparison.layers import Layer, aligned_layer, places_in
from onnxnnw.comparison.orders import Orders, Width, orders_in, some_of, widths_of
from onnxnnw.comparison.pairing import RATE, Holder, Pairing, pair
from onnxnnw.enrolment.copies import without_copies
from onnxnnw.graph.digest import network_digests
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.verification.visible import visible

__all__ = ["FORMAT", "RELATIONS", "Comparison", "Extra", "aligned_weights", "compare"]

FORMAT = "onnxnnw/comparison/1"

RELATIONS = ("identical", "same weights, other form", "derived", "shares parts", "unrelated", "could not tell")

_ALL, _HALF = 0.99, 0.5
_LARGE = 1024
"""A layer of so many elements that agrees to one half in place is no chance: of 157 unrelated public pairs none had one."""
_LARGEST_ALIGNED = 60_000_000
_KEPT_SCORE = 0.2
_PARAMETERS_CHANGED = "parameters-changed"
_OF_ANOTHER = (
    "values-changed",
    "unchanged",
    "identical",
    "disguise-not-excluded",
    "other-channel-order",
    "missing",
    "added",
)
"""Findings that speak of a record, or that the layers say better."""


@dataclass(frozen=True)
class Extra:
    """A weight of the candidate that is none of the reference's."""

    name: str
    shape: tuple[int, ...]
    elements: int

    def to_json(self) -> dict[str, Any]:
        """As documented."""
        return {"name": self.name, "shape": list(self.shape), "elements": self.elements}


@dataclass(frozen=True)
class Comparison:
    """What two networks share.

    Attributes:
        relation: One of ``RELATIONS``.
        sentence: Why, in one line.
        reference, candidate: Their names.
        found: Share of the reference's weights, and of what of it cannot be read, that stands in the candidate.
        covered: Share of the candidate's that is the reference's. Parameters and structural constants count where there are
            more of them than channels, operators and the reference need.
        layers: Of the reference.
        extras: Of the candidate, what is none of them.
        findings: What was done to the network as a whole.
        unread: What could not be read, of either.
        effect, log10_p: Likeness at the places that were looked at, and its nominal p-value; None where none was made.
        orders: What both sides of hidden widths say; None where no other order was looked for.
    """

    relation: str
    sentence: str
    reference: str
    candidate: str
    found: float
    covered: float
    layers: tuple[Layer, ...]
    extras: tuple[Extra, ...]
    findings: tuple[str, ...]
    unread: tuple[str, ...]
    effect: float | None = None
    log10_p: float | None = None
    orders: Orders | None = None

    @property
    def exit_code(self) -> int:
        """0 for anything shared, 1 for strangers, 3 where it could not be told."""
        return {"unrelated": 1, "could not tell": 3}.get(self.relation, 0)

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/json-formats.md."""
        orders = None
        if self.orders is not None:
            orders = {name: getattr(self.orders, name) for name in ("widths", "channels", "agreeing")}
        return {
            "format": FORMAT,
            "relation": self.relation,
            "sentence": self.sentence,
            "reference": self.reference,
            "candidate": self.candidate,
            "found": round(self.found, 6),
            "covered": round(self.covered, 6),
            "effect": None if self.effect is None else round(self.effect, 6),
            "nominal_log10_p": None if self.log10_p is None else max(-9999.0, round(self.log10_p, 3)),
            "layers": [layer.to_json() for layer in self.layers],
            "extras": [extra.to_json() for extra in self.extras],
            "findings": list(self.findings),
            "unread": list(self.unread),
            "orders": orders,
        }


def compare(reference: Path | str, candidate: Path | str) -> Comparison:
    """Hold one network against another: no record, no secret.

    Args:
        reference, candidate: Files or their addresses; the digests read all weights of both.

    Raises:
        CannotLook: One of them cannot be read.
    """
    with open_network(reference) as ours, open_network(candidate) as theirs:
        view = find_slots(ours)
        account = account_of(ours, view)
        examiner = Holder(theirs, (), RATE, full=True)
        digests = network_digests(ours, view)
        assert examiner.digests is not None
        same = digests.network == examiner.digests.network and not (digests.doubts or examiner.digests.doubts)
        pairing = pair(view, account, (digests.network, examiner.digests.network), examiner)
        made = _Made(reference, str(ours.path), view, account, examiner, pairing, same)
        result = made.comparison(str(theirs.path))
        ours.check_unchanged()
        theirs.check_unchanged()
    return result


@dataclass
class _Made:
    """Everything at hand while two networks are open."""

    place: Path | str
    reference: str
    view: SlotView
    account: Account
    examiner: Holder
    pairing: Pairing
    same: bool

    def comparison(self, candidate: str) -> Comparison:
        pairing, orders = self.pairing, None
        layers, used = pairing.layers, pairing.used
        traced = self.same or (pairing.verdict is not None and pairing.verdict.decision in ("traced", "identical"))
        lost = sum(layer.elements for layer in layers if not layer.found_as)
        if not self.same and lost > 0.05 * sum(layer.elements for layer in layers):
            layers, used, orders = self._reordered(layers, used, traced)
        found = sum(layer.elements for layer in layers if layer.found_as)
        known = {id(t) for slot in self.examiner.view.slots for t in slot.constant.stored() if id(t) in used}
        extras = [slot for slot in self.examiner.view.slots if not any(id(t) in known for t in slot.constant.stored())]
        ours, theirs = self.account, self.examiner.account
        beyond = theirs.hidden + theirs.surplus(ours.amounts)
        more = sum(slot.covered for slot in extras) + sum(layer.more for layer in layers) + beyond
        covered = max(0.0, 1 - more / max(1, self.examiner.live + beyond)) if self.examiner.live else 0.0
        share = found / max(1, sum(layer.elements for layer in layers) + ours.hidden)
        relation, sentence = self._relation(layers, share, covered, traced, orders)
        verdict = pairing.verdict
        findings = () if verdict is None or relation in ("unrelated", "could not tell") else verdict.findings
        return Comparison(
            relation=relation,
            sentence=sentence,
            reference=self.reference,
            candidate=candidate,
            found=share,
            covered=covered,
            layers=tuple(replace(one, name=visible(one.name), found_as=visible(one.found_as)) for one in layers),
            extras=tuple(Extra(visible(slot.name), slot.shape, slot.covered) for slot in extras),
            findings=tuple(_of_files(f.sentence) for f in findings if f.id not in _OF_ANOTHER),
            unread=self._unread(),
            effect=_likeness(layers)
            if orders is not None and orders.related
            else None
            if verdict is None
            else verdict.effect,
            log10_p=None if verdict is None or (orders is not None and orders.related) else verdict.log10_p,
            orders=orders,
        )

    def _relation(
        self, layers: list[Layer], share: float, covered: float, traced: bool, orders: Orders | None
    ) -> tuple[str, str]:
        if self.same:
            return "identical", "equal digests: the same network, however it is stored"
        seen = [layer for layer in layers if layer.found_as]
        clear = [layer for layer in seen if layer.kind in ("same", "other form") and layer.elements >= 256]
        shares = f"{_percent(share)} of the reference's weights are found, and {_percent(covered)} of the candidate's are these"
        shares = "; ".join(
            [shares, *_left_out("reference", self.account), *_left_out("candidate", self.examiner.account)]
        )
        related = traced or (orders is not None and orders.related)
        verdict = self.pairing.verdict
        others = verdict is not None and any(finding.id == _PARAMETERS_CHANGED for finding in verdict.findings)
        if related and share >= _ALL and covered >= _ALL and all(_is_same(layer) for layer in seen) and not others:
            return "same weights, other form", shares
        if related and max(share, covered) >= _HALF:
            return "derived", shares
        if related or clear:
            return "shares parts", shares if related else f"{len(clear)} layers hold the same values; {shares}"
        if verdict is None:
            return "could not tell", self.pairing.doubt
        if verdict.decision == "inconclusive" and (orders is None or not orders.widths):
            return "could not tell", "too much of it could not be read"
        alike = [
            one for one in seen if one.elements >= _LARGE and one.correlation is not None and one.correlation >= _HALF
        ]
        if alike:
            name, likeness = visible(alike[0].name[-44:]), alike[0].correlation
            return "could not tell", (
                f"{len(alike)} of {len(layers)} layers ({name}) agree with the other's in place (likeness {likeness:.2f}), "
                "which strangers' do not, and the rest was not recognised: a beginning or a part may be common"
            )
        return "unrelated", f"no layer of the one was recognised in the other: likeness {verdict.effect:.2f}"

    def _reordered(
        self, layers: list[Layer], used: set[int], traced: bool
    ) -> tuple[list[Layer], set[int], Orders | None]:
        """Look for the layers that were not found with their channels in another order."""
        own, _ = without_copies(self.view)
        theirs = self.examiner.view
        if max(sum(slot.size for slot in view.slots) for view in (own, theirs)) > _LARGEST_ALIGNED:
            return layers, used, None
        weights, others = weights_of(own), weights_of(theirs)
        widths = widths_of(self.place, own.slots, weights)
        few = some_of(widths)
        orders = orders_in(few, aligned_weights(few, weights, others))
        if not few or not orders.possible:
            return layers, used, orders
        alignment = align_networks(weights, others)
        orders = orders_in(widths, {n: one.matrix for n, one in enumerate(alignment.slots) if one is not None})
        if not (orders.related or (traced and orders.share >= _HALF)):
            return layers, used, orders
        out, taken = list(layers), set(used)
        for number, slot in enumerate(own.slots):
            one = alignment.slots[number]
            if out[number].found_as or one is None or one.score < _KEPT_SCORE:
                continue
            other = theirs.slots[one.candidate]
            out[number] = _aligned(slot, other, alignment, number)
            taken |= {id(tensor) for tensor in other.constant.stored()}
        return out, taken, orders

    def _unread(self) -> tuple[str, ...]:
        out = []
        for whose, problems, account in (
            ("reference", self.view.not_understood, self.account),
            ("candidate", self.examiner.view.not_understood, self.examiner.account),
        ):
            out += [f"{whose}: {visible(problem)}" for problem in problems[:10]]
            out += [
                f"{whose}: {visible(entry.operator)}: {visible(entry.name[:80])}: {visible(entry.reason)} ({entry.amount:,} bytes)"
                for entry in account.unread()[:10]
            ]
        return tuple(out)


def aligned_weights(
    widths: Sequence[Width], weights: Sequence[Weight], others: Sequence[Weight]
) -> dict[int, MatrixAlignment]:
    """Alignments of the weights around some widths."""
    numbers = sorted({number for width in widths for number in (width.maker, width.reader)})
    found = align_networks([weights[number] for number in numbers], others)
    return {number: one.matrix for number, one in zip(numbers, found.slots, strict=True) if one is not None}


def _left_out(whose: str, account: Account) -> Iterator[str]:
    """What a share does not speak of."""
    if account.hidden > account.given:
        yield f"{account.hidden - account.given:,} bytes of the {whose} were not read"
    if account.given:
        yield f"weights of the {whose} are given at run time"


def _percent(share: float) -> str:
    """A share; what is not all of it is not 100 %."""
    return f"{share:.0%}" if share >= 1 or round(share, 2) < 1 else f"{min(share, 0.9999):.2%}"


def _likeness(layers: list[Layer]) -> float:
    """Of layers that were found, in the order in which they were found, by their elements."""
    found = [(layer.correlation, layer.elements) for layer in layers if layer.correlation is not None]
    return sum(likeness * n for likeness, n in found) / max(1, sum(n for _, n in found))


def _aligned(slot: Slot, other: Slot, alignment: NetworkAlignment, number: int) -> Layer:
    one = alignment.slots[number]
    assert one is not None
    places = places_in(slot.size)
    sources, factors = one.matrix.sources(places)
    there = sources >= 0
    now = np.full(places.size, np.nan)
    now[there] = other.values(sources[there]) * factors[there]
    return aligned_layer(slot, other, one.matrix, slot.values(places), now)


def _is_same(layer: Layer) -> bool:
    """Whether a layer's values are the reference's, up to rounding."""
    if layer.kind in ("same", "other form"):
        return True
    return layer.kind == "other order" and layer.correlation is not None and layer.correlation > 0.999


_WORDS = (
    ("of the mark's weights", "of the weights that were looked at"),
    ("the record's", "the reference's"),
    ("the record", "the reference"),
    ("at enrolment", "in the reference"),
    ("the enrolled network", "the reference"),
)


def _of_files(sentence: str) -> str:
    """A finding in words for two files: there is no record."""
    for old, new in _WORDS:
        sentence = sentence.replace(old, new)
    return sentence
