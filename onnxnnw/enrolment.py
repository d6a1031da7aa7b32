"""Network and key -> record (and marked copy): the mirror of verification.

The network is read once: out-rows, deviations and formula tables are measured slot by slot while its digest is computed
beside it. The record is on the disk before the marked network takes its name.
"""

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CapacityError, UnsupportedNetwork, UsageError
from onnxnnw.folds import kept, kept_columns
from onnxnnw.graph import (
    Digests,
    Edit,
    Slot,
    SlotView,
    find_slots,
    network_digest,
    network_digests,
    open_network,
    write_patched,
)
from onnxnnw.graph.accounting import Account, account_of
from onnxnnw.graph.digest import DIGEST_FORMAT
from onnxnnw.graph.patch import external_name, refuse_place
from onnxnnw.keys import Key
from onnxnnw.methods import nct
from onnxnnw.origins import of_ancestors, of_strangers, without_hidden_units
from onnxnnw.parameter_reads import kept_parameters
from onnxnnw.placement import (
    ANCHORS,
    SAMPLES,
    anchor_positions,
    capacity,
    draw_positions,
    draws,
    places_of,
    plan_of,
    sample_positions,
)
from onnxnnw.records import MAX_POSITIONS, ROLES, Record, save_record
from onnxnnw.slot_table import SlotEntry
from onnxnnw.statistics import least_reads, required_reads
from onnxnnw.survey import survey

__all__ = ["Enrolment", "Owner", "embed", "enrol", "fingerprint", "mark_edits", "refuse_existing"]

DEFAULT_POSITIONS = 512
DEFAULT_STRENGTH = 1.0
STRONG = 3.0
"""Above this strength the mark's values stand out among the slot's own and betray its positions."""

DEAR = 0.01
"""Above this share of the eligible weights a mark is paid for with quality: a classifier of 2,368 weights fell from 92 to 36 %."""


@dataclass(frozen=True)
class Owner:
    """Who marks: free texts, and one of the standard's roles [NNW-TEC 5.2.2].

    Raises:
        UsageError: The role is none of the standard's, or a text cannot be written as UTF-8.
    """

    actor: str = ""
    role: str = ""
    source_id: str = ""
    destination_id: str = ""

    def __post_init__(self) -> None:
        for name in ("actor", "source_id", "destination_id"):
            try:
                getattr(self, name).encode()
            except UnicodeEncodeError:
                raise UsageError(f"the {name.replace('_', ' ')} is no text in UTF-8: {getattr(self, name)!r}") from None
        if self.role and self.role not in ROLES:
            raise UsageError(f"no role named {self.role!r}; there are {', '.join(ROLES)}")


@dataclass(frozen=True)
class Enrolment:
    """What came of it.

    Attributes:
        record: What to keep.
        commitment: SHA-256 of the record file, to be published before the network is; empty where none was written.
        capacity: Eligible weights.
        warnings: Sentences for the tracker.
        shared_positions: Positions of other records at hand that fell into this mark (0 with ``keep``).
    """

    record: Record
    commitment: str
    capacity: int
    warnings: tuple[str, ...]
    shared_positions: int = 0


def fingerprint(
    model: Path | str,
    record_path: Path | str,
    positions: int = DEFAULT_POSITIONS,
    owner: Owner | None = None,
    key: Key | None = None,
    ancestors: Sequence[Path | str] = (),
    unrelated: Sequence[Record] = (),
) -> Enrolment:
    """Fingerprint a network without touching it: read N secret positions and keep them [NNW-TEC 7.2.2].

    Args:
        model: An ONNX file.
        record_path: Where to write the record; never overwritten.
        positions: N.
        owner: Who does it.
        key: The secret; a new one by default.
        ancestors: Networks that this one has values of, a public backbone as a rule: slots that agree with them carry nothing.
        unrelated: Records of networks that have nothing to do with this one: what stands there too carries nothing.

    Raises:
        CannotLook: The network cannot be read or has too few eligible weights.
    """
    refuse_existing(record_path)
    with open_network(model) as network, ExitStack() as opened:
        view = find_slots(network)
        others = [find_slots(opened.enter_context(open_network(path))) for path in ancestors]
        excluded = {
            "they stand between input and output without hidden units, as in linear models": without_hidden_units(view),
            "they agree with an ancestor": of_ancestors(view, others),
            "they stand in an unrelated network too": of_strangers(view, unrelated),
        }
        left_out = set().union(*excluded.values())
        with ThreadPoolExecutor(1) as pool:
            digests = pool.submit(network_digests, network, view)
            account = account_of(network, view)
            record = enrol(view, key or Key.generate(), positions, owner or Owner(), account=account, left_out=left_out)
            record = replace(record, enrolled_digest=digests.result().network)
        network.check_unchanged()
    record = _with_digests(record, digests.result())
    commitment = save_record(record, record_path)
    warnings = (*_warnings(record, view, account), *_left_out(view, excluded))
    return Enrolment(record, commitment, capacity(record.slots), warnings)


def embed(
    model: Path | str,
    out: Path | str,
    record_path: Path | str,
    positions: int = DEFAULT_POSITIONS,
    strength: float | None = None,
    value_std: float | None = None,
    owner: Owner | None = None,
    keep: Sequence[Record] = (),
    key: Key | None = None,
) -> Enrolment:
    """Write a marked copy of a network: N secret weights become values that only the key can tell [NNW-TEC 7.2.2].

    Args:
        model: An ONNX file.
        out: The marked copy; exactly the bytes of N weights differ (and external locations).
        record_path: Where to write the record; never overwritten.
        positions: N.
        strength: Standard deviation of the mark's values in units of their slot's; 1 by default.
        value_std: Their absolute standard deviation instead.
        owner: Who does it.
        keep: Records whose positions are left alone.
        key: The secret; a new one by default.

    Raises:
        CannotLook: The network cannot be read, changed, or has too few eligible weights.
        UsageError: Output and input are the same, the record exists, or the mark is too strong or too weak to be stored.
    """
    if strength is not None and value_std is not None:
        raise UsageError("give a strength or an absolute deviation of the values, one of the two")
    refuse_existing(record_path)
    refuse_place(Path(out))
    if Path(out).exists() and Path(model).exists() and Path(out).samefile(model):
        raise UsageError(f"{out}: input and output are the same file")
    if Path(record_path).resolve() in (Path(out).resolve(), Path(out).with_name(external_name(Path(out))).resolve()):
        raise UsageError(f"{record_path}: the record and the marked copy cannot be one file")
    with open_network(model, for_writing=True) as network:
        view = find_slots(network)
        commitment = ""
        with ThreadPoolExecutor(1) as pool:
            digest = pool.submit(network_digest, network, view)
            wanted = DEFAULT_STRENGTH if strength is None else strength
            account = account_of(network, view)
            key = key or Key.generate()
            record = enrol(view, key, positions, owner or Owner(), wanted, value_std, True, keep, account)
            record = replace(record, enrolled_digest=digest.result())
            _refuse_too_weak(record)
            edits = mark_edits(record, view)
            by_tensor = {id(edit.tensor): edit for edit in edits}
            marked = pool.submit(network_digests, network, view, by_tensor)

            def keep_record() -> None:
                nonlocal record, commitment
                record = _with_digests(record, marked.result())
                commitment = save_record(record, record_path)

            try:
                write_patched(network, out, edits, keep_record)
            except BaseException:
                if commitment:  # this run wrote the record, and the network that it belongs to never came to be
                    Path(record_path).unlink(missing_ok=True)
                raise
    shared = _shared_positions(record, keep)
    return Enrolment(record, commitment, capacity(record.slots), _warnings(record, view, account), shared)


def _with_digests(record: Record, digests: Digests) -> Record:
    return record.with_digests(digests.network, digests.tensors, DIGEST_FORMAT, digests.graph)


def enrol(
    view: SlotView,
    key: Key,
    positions: int,
    owner: Owner,
    strength: float = DEFAULT_STRENGTH,
    value_std: float | None = None,
    watermark: bool = False,
    keep: Sequence[Record] = (),
    account: Account | None = None,
    left_out: Set[int] = frozenset(),
) -> Record:
    """The record of a network that is at hand, without its digests.

    Args:
        view: The network's slots.
        key: The secret.
        positions: N.
        owner: Who does it.
        strength, value_std: See ``embed``; used for watermarks only.
        watermark: Whether values will be written; otherwise they are read.
        keep: Records whose positions are left alone.
        account: What is stored in the network, so that a verification can tell how much of a candidate that explains.
        left_out: Ids of slots that carry nothing.

    Raises:
        UsageError: An impossible number, or a record to keep of another network.
        CapacityError: Too few eligible weights.
    """
    if not 1 <= positions <= MAX_POSITIONS:
        raise UsageError(f"the number of positions lies between 1 and {MAX_POSITIONS:,}, not at {positions}")
    for name, number in (("strength", strength), ("value deviation", value_std)):
        if number is not None and not (np.isfinite(number) and number > 0):
            raise UsageError(f"the {name} is a finite number above 0, not {number}")
    measured = [survey(slot, watermark) for slot in view.slots]
    entries = tuple(
        replace(m.entry, eligible=False) if id(slot) in left_out else m.entry
        for slot, m in zip(view.slots, measured, strict=True)
    )
    if not any(entry.eligible for entry in entries):
        raise CapacityError(_why_nothing(view, watermark, left_out))
    parameters: dict[str, int | str] = {"positions": positions, "anchors": ANCHORS, "samples": SAMPLES}
    if watermark:
        parameters |= (
            {"strength": repr(float(strength))} if value_std is None else {"value_std": repr(float(value_std))}
        )
    record = Record(
        method=nct.NCT.name,
        kind="watermark" if watermark else "fingerprint",
        key=key,
        slots=entries,
        parameters=parameters,
        arrays={},
        actor=owner.actor,
        role=owner.role,
        source_id=owner.source_id,
        destination_id=owner.destination_id,
    )
    _refuse_strange(keep, entries)
    arrays: dict[str, NDArray[np.generic]] = {"deviations": np.array([m.deviation for m in measured], "<f8")}
    if keep:
        arrays["skipped"] = _skips(record, keep)
    record = replace(record, arrays=arrays)
    skipped = arrays["skipped"].tolist() if keep else ()
    plan = draw_positions(key, record.positions_context, entries, positions, skipped)
    anchors = anchor_positions(record, plan)
    arrays["anchors"] = np.concatenate([s.values(p) for s, p in zip(view.slots, anchors, strict=True)]).astype("<f4")
    arrays["anchor_gains"] = np.concatenate(
        [m.folded_gains[p // m.entry.row_size] for m, p in zip(measured, anchors, strict=True)]
    ).astype("<f4")
    samples = sample_positions(record, plan, anchors)
    arrays["samples"] = np.concatenate([s.values(p) for s, p in zip(view.slots, samples, strict=True)]).astype("<f4")
    arrays["sample_gains"] = np.concatenate(
        [m.folded_gains[p // m.entry.row_size] for m, p in zip(measured, samples, strict=True)]
    ).astype("<f4")
    if account is not None:
        kept_account, sampled = kept_parameters(key, record.positions_context, view, account)
        record, arrays = replace(record, account=kept_account), arrays | sampled
    arrays |= kept([m.fold for m in measured]) | kept_columns([m.columns for m in measured])
    own = _Own(view.slots, [m.gains for m in measured])
    if watermark:
        rows = [
            own.gains(s)[p // entries[s].row_size]
            for s, p in zip(plan.slots.tolist(), plan.positions.tolist(), strict=True)
        ]
        arrays["row_gains"] = np.array(rows, "<f8")
    else:
        raw, corrected, gauged = nct.read_with_controls(record, plan, own)
        arrays |= {
            "values": raw.astype("<f8"),
            "controls": (raw - corrected).astype("<f8"),
            "gauged": gauged.astype("<f8"),
        }
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UnsupportedNetwork(f"the network holds weights that are not finite numbers ({name})")
    return replace(record, arrays=arrays)


@dataclass(frozen=True)
class _Own:
    """The network's own slots as ``methods.base.Weights``."""

    slots: Sequence[Slot]
    rows: Sequence[NDArray[np.float64]]

    def has(self, slot: int) -> bool:
        return True

    def values(self, slot: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.slots[slot].values(positions)

    def array(self, slot: int) -> NDArray[Any]:
        return self.slots[slot].array()

    def gains(self, slot: int) -> NDArray[np.float64]:
        return self.rows[slot]

    def share(self, slots: Sequence[int]) -> float:
        return sum(self.slots[s].size for s in slots) / sum(slot.size for slot in self.slots)


def _refuse_strange(keep: Sequence[Record], entries: Sequence[SlotEntry]) -> None:
    """Positions are left alone by the name of their weight, so a record to keep must know the weights by their names."""
    own = {entry.name: entry.shape for entry in entries}
    for record in keep:
        if record.method != nct.NCT.name:
            raise UsageError(f"a record of the method {record.method} holds no positions that could be left alone")
        strange = [entry.name for entry in record.slots if own.get(entry.name) != entry.shape]
        if strange:
            raise UsageError(
                f"the record to keep knows {len(strange)} of its {len(record.slots)} weights, such as {strange[0][:80]!r}, "
                "by a name or shape that this network does not have: its positions cannot be left alone"
            )


def _skips(record: Record, keep: Sequence[Record]) -> NDArray[np.int64]:
    """Ordinals of draws that fall on positions of the records to keep, as a fixed point: each skip draws one more."""
    taken = set().union(*map(places_of, keep))
    skips: list[int] = []
    while True:
        count = record.number_of_positions + len(skips)
        plan = draws(record.key, record.positions_context, record.slots, count)
        names = [record.slots[slot].name for slot in plan.slots.tolist()]
        found = [i for i, place in enumerate(zip(names, plan.positions.tolist(), strict=True)) if place in taken]
        if found == skips:
            return np.array(skips, "<i8")
        skips = found


def _shared_positions(record: Record, others: Sequence[Record]) -> int:
    return len(places_of(record) & set().union(*map(places_of, others)))


def mark_edits(record: Record, view: SlotView) -> list[Edit]:
    """What writes a watermark into the network that its record was made of.

    Raises:
        UsageError: The mark is so strong that an element type cannot hold its values.
    """
    slots = view.by_name()
    written = nct.mark(record)
    for name, (_, values) in written.items():
        if not np.isfinite(values).all():
            raise UsageError(
                f"so strong a mark does not fit into {name}, which holds {slots[name].tensor.type_name} values"
            )
    return [Edit(*slots[name].edits(positions, values)) for name, (positions, values) in written.items()]


def _refuse_too_weak(record: Record) -> None:
    """A mark whose values the network's number format rounds to zero cannot be found again."""
    values = nct.mark_values(record, plan_of(record))
    if np.count_nonzero(values) < values.size / 2:
        raise UsageError("so weak a mark is rounded to zero where it is stored; take a larger strength")


def refuse_existing(record_path: Path | str) -> None:
    """Refuse a record's place before hours of work, not after them.

    Raises:
        UsageError: Something is there, or there is no such folder.
    """
    if not Path(record_path).parent.is_dir():
        raise UsageError(f"{record_path}: there is no folder {Path(record_path).parent}")
    if Path(record_path).exists():
        raise UsageError(f"{record_path} exists; a record holds the only copy of a secret and is never overwritten")


def _warnings(record: Record, view: SlotView, account: Account) -> tuple[str, ...]:
    out = []
    if account.not_understood:
        operators = sorted({entry.operator for entry in account.entries if entry.kind == "not understood"})
        out.append(
            f"{account.unseen:.1%} of what is stored cannot be seen by a verification "
            f"({account.not_understood:,} bytes: {', '.join(operators[:5])})"
        )
    if view.doubtful:
        out.append(
            f"{account.doubtful:,} weights are left out: an output depends on them only through factors of (nearly) nothing"
        )
    needed, least = required_reads(1e-6), least_reads(1e-6)
    if record.number_of_positions < least:
        out.append(
            f"{record.number_of_positions} positions can never prove anything at a false-positive rate of 1e-6: "
            f"that takes {least} at the very least"
        )
    elif record.number_of_positions < needed:
        out.append(
            f"{record.number_of_positions} positions can never prove absence at a false-positive rate of 1e-6: "
            f"that takes {needed}"
        )
    eligible = capacity(record.slots)
    if record.kind == "watermark" and record.number_of_positions > DEAR * eligible:
        out.append(
            f"the mark replaces {record.number_of_positions / eligible:.1%} of {eligible:,} eligible weights, "
            "which the network may feel: measure its quality, or take fewer positions"
        )
    strength = _largest_strength(record)
    if strength > STRONG:
        out.append(f"strength {strength:.3g} makes outliers of the mark's values: they betray its positions")
    out += [f"not covered: {problem}" for problem in view.not_understood[:5]]
    return tuple(out)


def _left_out(view: SlotView, excluded: Mapping[str, Set[int]]) -> list[str]:
    """Which slots carry no part of a fingerprint, and why."""
    out = []
    for reason, ids in excluded.items():
        names = [slot.name for slot in view.slots if id(slot) in ids]
        if names:
            out.append(
                f"{len(names)} of {len(view.slots)} weights, such as {names[0][:80]}, carry no fingerprint: {reason}"
            )
    return out


def _largest_strength(record: Record) -> float:
    """Deviation of the mark's values in units of their slot's, where it is largest; 0 for a fingerprint."""
    if record.kind != "watermark":
        return 0.0
    if "value_std" not in record.parameters:
        return float(record.parameters["strength"])
    deviations = record.array("deviations")[plan_of(record).numbers]
    return float(record.parameters["value_std"]) / float(deviations[deviations > 0].min(initial=np.inf))


def _why_nothing(view: SlotView, watermark: bool, left_out: Set[int]) -> str:
    if left_out:
        return (
            f"no eligible weights: {len(left_out)} of {len(view.slots)} are left out of fingerprints, "
            "since others get the same without copying (linear models, shared tables, an ancestor); a watermark can be embedded"
        )
    if watermark:
        reasons = sorted({slot.read_only for slot in view.slots if slot.read_only})
        if reasons:
            return "no weight of the network can be changed in place: " + "; ".join(reasons[:3])
    if view.not_understood:
        return "no eligible weights: " + "; ".join(view.not_understood[:3])
    return "the network has no eligible weights (2 or more dimensions, at least 64 elements, reached by an output)"
