"""A record's reads of a network's parameters, and which of these parameters a candidate still has.

A parameter is a vector: a bias, a normalisation's numbers, slopes. Tools rename them, and fold several of them into one; so
a record keeps a few numbers of each vector as it was, and, for the slots whose outputs they multiply and shift, what they do
together. A candidate's parameters are recognised by name, else by content, else by what they do to their slot.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.account import Account, Parameter
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.match import Match
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import row_factors_of, unit_change

__all__ = ["ParameterReads", "kept_parameters", "read_parameters", "unchanged_parameters"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

_VECTORS, _TOGETHER, _MOST = 256, 512, 16
_ROWS = 8
_PAIRS = 4096
_RELATIVE = 1e-2
_AS_THEY_STAND: Mapping[int, Positions] = {}
_ORDERS = 4
"""Orders of one length that a parameter is read in."""


def kept_parameters(
    key: Key, context: bytes, view: SlotView, account: Account
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The account that a record keeps, and the arrays that go with it.

    Args:
        key, context: Where in each vector is looked.
        view: The network's slots.
        account: What is stored in it.
    """
    vectors = sorted(account.parameters, key=lambda parameter: -parameter.constant.size)[:_VECTORS]
    owners: dict[int, int] = {}
    shifts: list[Floats] = []
    flags = np.zeros(len(view.slots), "|u1")
    for number, slot in enumerate(view.slots):
        affine = slot.affine()
        if affine is None or not affine[2] or np.abs(affine[1]).max() > 1e30:
            continue
        flags[number] = 1
        shifts.append(affine[1][_rows(key, context, number, affine[1].size)])
        for value in affine[2]:
            owners.setdefault(value, number)
    described, values = [], []
    for number, parameter in enumerate(vectors):
        places = _places(key, context, number, parameter.constant.size, len(vectors))
        found = np.asarray(parameter.constant.take(places), np.float64)
        values.append(np.clip(np.nan_to_num(found), -3e38, 3e38))
        described.append(
            {"name": parameter.name, "size": parameter.constant.size, "slot": owners.get(parameter.value, -1)}
        )
    nodes = view.possible if view.flow.has_graph else []
    operators = Counter(_operator(node.domain, node.op) for node in nodes)
    kept = {"amounts": dict(account.amounts), "operators": dict(operators), "parameters": described}
    arrays = {
        "parameters": np.concatenate([*values, np.empty(0)]).astype("<f4"),
        "shifted": flags,
        "shifts": np.concatenate([*shifts, np.empty(0)]).astype("<f4"),
    }
    return kept, arrays


def _operator(domain: str, op: str) -> str:
    return f"{domain}.{op}".removeprefix(".")[:200].encode("utf-8", "replace").decode()


def _places(key: Key, context: bytes, number: int, size: int, vectors: int) -> Positions:
    count = min(size, _MOST, max(4, _TOGETHER // max(1, vectors)))
    return key.stream(f"parameters/{number}", context).indices(count, size)


def _rows(key: Key, context: bytes, slot: int, rows: int) -> Positions:
    return key.stream(f"shifts/{slot}", context).indices(min(rows, _ROWS), rows)


@dataclass(frozen=True)
class ParameterReads:
    """The values found at the places that a record's parameters name.

    Attributes:
        vectors: For each number the vector that it belongs to.
        enrolled, found: The numbers, and what is there now; NaN where no such vector was found.
        gone: Vectors that are no more, but whose slot is multiplied and shifted as before.
        folded_away: Elements of the candidate's parameters that are known by what they do to their slot.
    """

    vectors: Positions
    enrolled: Floats
    found: Floats
    gone: frozenset[int]
    folded_away: int


def unchanged_parameters(record: Record) -> ParameterReads:
    """What would be found where a record looked, in a network of which all parameters are known to be what they were.

    Raises:
        UnreadableRecord: The record contradicts itself.
    """
    assert record.account is not None
    described = record.account["parameters"]
    counts = [
        _places(record.key, record.positions_context, number, one["size"], len(described)).size
        for number, one in enumerate(described)
    ]
    enrolled = record.array("parameters", sum(counts)).astype(np.float64)
    return ParameterReads(np.repeat(np.arange(len(counts)), counts), enrolled, enrolled, frozenset(), 0)


def read_parameters(
    record: Record,
    account: Account,
    matches: Sequence[Match | None],
    thorough: bool,
    row_orders: Mapping[int, Positions] = _AS_THEY_STAND,
) -> ParameterReads:
    """Look for a record's parameters in a candidate.

    Args:
        record: One that keeps an account.
        account: The candidate's.
        matches: The counterpart of each slot of the record.
        thorough: Whether to look by content too, and at what parameters do to their slots.
        row_orders: Which row of its counterpart each row of a slot is, where rows stand in another order: parameters do too.

    Raises:
        UnreadableRecord: The record contradicts itself.
    """
    assert record.account is not None
    described = record.account["parameters"]
    places = [
        _places(record.placement_key, record.positions_context, number, one["size"], len(described))
        for number, one in enumerate(described)
    ]
    enrolled = record.array("parameters", sum(each.size for each in places)).astype(np.float64)
    kept = np.split(enrolled, np.cumsum([each.size for each in places])[:-1]) if places else []
    names: dict[str, Parameter] = {}
    sizes: dict[int, list[Parameter]] = defaultdict(list)
    for parameter in account.parameters:
        names.setdefault(parameter.name, parameter)
        sizes[parameter.constant.size].append(parameter)
    found: list[Floats] = []
    taken: set[int] = set()
    missing: list[int] = []
    for number, one in enumerate(described):
        namesake = names.get(one["name"])
        values = np.full(places[number].size, np.nan)
        orders = _orders_of(one["slot"], one["size"], row_orders)
        if namesake is not None and (namesake.constant.size == one["size"] or orders):
            values = _likest(namesake, places[number], kept[number], orders)
            if _alike(values, kept[number]) or not thorough:
                taken.add(id(namesake))
            else:
                missing.append(number)
        else:
            missing.append(number)
        found.append(values)
    gone: set[int] = set()
    folded = 0
    if missing and thorough:
        pairs = _PAIRS
        for number in missing:
            one = described[number]
            orders = _orders_of(one["slot"], one["size"], row_orders)
            for other in sizes[one["size"]]:
                if id(other) in taken or pairs <= 0:
                    continue
                pairs -= 1
                values = _likest(other, places[number], kept[number], orders)
                if _alike(values, kept[number]):
                    found[number] = values
                    taken.add(id(other))
                    break
        shifted, folded = _as_before(record, account, matches, row_orders)
        gone = {number for number in missing if described[number]["slot"] in shifted}
    vectors = np.repeat(np.arange(len(places)), [each.size for each in places]) if places else np.empty(0, np.int64)
    return ParameterReads(vectors, enrolled, np.concatenate([*found, np.empty(0)]), frozenset(gone), folded)


def _orders_of(slot: int, size: int, row_orders: Mapping[int, Positions]) -> list[Positions]:
    """The orders that a parameter of a slot may stand in: its rows', or, where it belongs to none, those of its length."""
    if slot in row_orders and row_orders[slot].size == size:
        return [row_orders[slot]]
    return [order for order in row_orders.values() if order.size == size][:_ORDERS]


def _likest(parameter: Parameter, places: Positions, kept: Floats, orders: Sequence[Positions]) -> Floats:
    """A parameter's numbers in the order in which they are likest to what was kept; NaN where there is no counterpart."""
    best = np.full(places.size, np.nan)
    if places.max(initial=-1) < parameter.constant.size:
        best = _numbers(parameter, places)
    for order in orders:
        there = order[places]
        if _alike(best, kept) or there.max(initial=-1) >= parameter.constant.size:
            break
        found = np.where(there >= 0, _numbers(parameter, np.maximum(there, 0)), np.nan)
        best = found if _alike(found, kept) or np.isnan(best).all() else best
    return best


def _numbers(parameter: Parameter, places: Positions) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(parameter.constant.take(places), np.float64)


def _alike(found: Floats, enrolled: Floats) -> bool:
    """Whether most numbers are what they were, up to rounding or a little training."""
    if np.array_equal(found, enrolled):
        return found.size > 0
    with np.errstate(all="ignore"):
        off = np.abs(found - enrolled) <= _RELATIVE * (np.abs(enrolled) + _spread(enrolled)) + 1e-30
    return bool(2 * off.sum() > off.size)


def _spread(numbers: Floats) -> float:
    return float(np.abs(numbers - np.median(numbers)).mean()) if numbers.size else 0.0


def _as_before(
    record: Record, account: Account, matches: Sequence[Match | None], row_orders: Mapping[int, Positions]
) -> tuple[set[int], int]:
    """Slots whose rows are multiplied and shifted as at enrolment; and how many of the candidate's numbers do so."""
    flags = record.array("shifted", len(record.slots)).tolist()
    rows = {
        number: _rows(
            record.placement_key,
            record.positions_context,
            number,
            record.slots[number].live_rows + len(record.slots[number].dead_rows),
        )
        for number, flag in enumerate(flags)
        if flag
    }
    kept = record.array("shifts", sum(each.size for each in rows.values())).astype(np.float64)
    folds = row_factors_of(record)
    out: set[int] = set()
    used: set[int] = set()
    start = 0
    for number, places in rows.items():
        enrolled = kept[start : start + places.size]
        start += places.size
        match = matches[number] if number < len(matches) else None
        affine = match.slot.affine() if match is not None and match.agrees else None
        if number in row_orders:
            places = row_orders[number][places]
        if match is None or affine is None or affine[1].size <= places.max(initial=-1) or match.transposed:
            continue
        if not match.folded:
            ratio = unit_change(affine[0], None if folds is None else folds.get(number))
            if ratio is not None and np.abs(ratio[places] - 1).max() > _RELATIVE:
                continue  # the weights are as stored, and multiplied by something else
        if _alike(affine[1][places], enrolled):
            out.add(number)
            used.update(affine[2])
    folded = sum(parameter.constant.size for parameter in account.parameters if parameter.value in used)
    return out, folded
