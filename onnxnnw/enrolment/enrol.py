"""Network and key -> record (and marked copy).

The network is read once: out-rows, deviations and formula tables are measured slot by slot while its digest is computed
beside it. The record is on the disk before the marked network takes its name.
"""

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnxnnw.accounting.account import Account
from onnxnnw.accounting.classing import account_of
from onnxnnw.enrolment.ancestry import forerunners_of
from onnxnnw.enrolment.copies import said_of, without_copies
from onnxnnw.enrolment.how_many import DEFAULT_POSITIONS, MAX_SHARE
from onnxnnw.enrolment.mark_grid import on_grid
from onnxnnw.enrolment.origins import of_ancestors, of_strangers, without_hidden_units
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import (
    Writing,
    draft_fingerprint,
    draft_watermark,
    mark_edits,
)
from onnxnnw.enrolment.refusals import refuse_too_weak
from onnxnnw.enrolment.sketched import with_sketches
from onnxnnw.errors import UsageError
from onnxnnw.graph.digest import DIGEST_FORMAT, Digests, network_digest, network_digests
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.known_skeleton import index_of
from onnxnnw.methods import nct
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.patch import Edit, external_name, joined_edits, layout_of, write_patched
from onnxnnw.network_file.relocation import Layout
from onnxnnw.network_file.writing import refuse_place
from onnxnnw.records.key import Key
from onnxnnw.records.positions import capacity, places_of, plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import save_record
from onnxnnw.statistics import least_reads, required_reads

__all__ = [
    "Enrolment",
    "embed",
    "fingerprint",
    "refuse_existing",
    "refuse_places",
    "warnings_of",
    "with_digests",
    "write_marked",
]

_LINEAR = "they stand between input and output without hidden units, as in linear models"

STRONG = 3.0
"""Above this strength the mark's values stand out among the slot's own and betray its positions."""


@dataclass(frozen=True)
class Enrolment:
    """The result of an enrolment: the record, its commitment, capacity and warnings.

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
        ancestors: Networks that this one has values of, a public backbone as a rule: slots that agree with them carry nothing, and
            of those that were trained on from them the differences are judged.
        unrelated: Records of networks that have nothing to do with this one: what stands there too carries nothing.

    Raises:
        CannotLook: The network cannot be read or has too few eligible weights.
    """
    refuse_existing(record_path)
    with open_network(model) as network, ExitStack() as opened:
        view = find_slots(network)
        others = [find_slots(opened.enter_context(open_network(path))) for path in ancestors]
        linear = without_hidden_units(view)
        excluded = {
            "they agree with an ancestor": of_ancestors(view, others),
            "they stand in an unrelated network too": of_strangers(view, unrelated),
        }
        left_out = set().union(*excluded.values())
        with ThreadPoolExecutor(1) as pool:
            digests = pool.submit(network_digests, network, view)
            account = account_of(network, view)
            own, _ = without_copies(view)
            key = key or Key.generate()
            before = {place: one for place, one in forerunners_of(view, others).items() if place not in left_out}
            record = draft_fingerprint(own, key, positions, owner or Owner(), account, left_out, linear, before)
            skeleton = index_of(network, view, record.slots, account)
            record = with_sketches(replace(record, skeleton=skeleton), own)
            record = replace(record, enrolled_digest=digests.result().network)
        network.check_unchanged()
    record = with_digests(record, digests.result())
    commitment = save_record(record, record_path)
    if record.parameters.get("linear"):
        said = ["no hidden units: the same data give nearly the same weights, so only near copies are traced"]
    else:
        said = _left_out(view, {_LINEAR: linear})
    warnings = (*warnings_of(record, view, account), *_left_out(view, excluded), *said)
    return Enrolment(record, commitment, capacity(record.slots), warnings)


def embed(
    model: Path | str,
    out: Path | str,
    record_path: Path | str,
    positions: int | None = None,
    strength: float | None = None,
    value_std: float | None = None,
    owner: Owner | None = None,
    keep: Sequence[Record] = (),
    key: Key | None = None,
    insertion: str | None = None,
) -> Enrolment:
    """Write a marked copy of a network: N secret weights change in a way that only the key can tell [NNW-TEC 7.2.2].

    Args:
        model: An ONNX file.
        out: The marked copy; exactly the bytes of N weights differ (and external locations).
        record_path: Where to write the record; never overwritten.
        positions: N; by default 512, but at most 1 % of the eligible weights, and never too few to be sure of an absence.
        strength: Standard deviation, in units of each slot's, of what is added (0.4 by default, down to 0.3 where it
            takes more than 0.4 % of the weights), or of the values that replace (1).
        value_std: Absolute standard deviation of values that replace.
        owner: Who does it.
        keep: Records whose positions are left alone.
        key: The secret; a new one by default.
        insertion: ``added`` or ``replaced``; added by default, unless ``value_std`` is given.

    Raises:
        CannotLook: The network cannot be read, changed, or has too few eligible weights.
        UsageError: Output and input are the same, the record exists, or the mark is too strong or too weak to be stored.
    """
    writing = Writing(insertion or (nct.ADDED if value_std is None else nct.REPLACED), strength, value_std)
    if positions is None and writing.insertion == nct.REPLACED:
        positions = DEFAULT_POSITIONS
    refuse_places(Path(model), Path(out), Path(record_path))
    with open_network(model, for_writing=True) as network:
        view = find_slots(network)
        with ThreadPoolExecutor(1) as pool:
            digest = pool.submit(network_digest, network, view)
            account = account_of(network, view)
            key = key or Key.generate()
            own, copies = without_copies(view)
            record = draft_watermark(own, key, positions, owner or Owner(), writing, keep, account, copies)
            layout = layout_of(network, Path(out))
            skeleton = None if copies else index_of(network, view, record.slots, account, layout)
            record = replace(with_sketches(record, own), enrolled_digest=digest.result(), skeleton=skeleton)
            record = on_grid(record, own)
            refuse_too_weak(record)
            edits = mark_edits(record, own, copies)
            by_tensor = {id(edit.tensor): edit for edit in joined_edits(edits)}
            marked = pool.submit(network_digests, network, view, by_tensor)
            record, commitment = write_marked(network, Path(out), edits, record, Path(record_path), marked, layout)
    shared = _shared_positions(record, keep)
    warnings = (*warnings_of(record, view, account), *said_of(copies, record))
    return Enrolment(record, commitment, capacity(record.slots), warnings, shared)


def write_marked(
    network: Network,
    out: Path,
    edits: Sequence[Edit],
    record: Record,
    record_path: Path,
    digests: "Future[Digests]",
    layout: Layout | None = None,
) -> tuple[Record, str]:
    """Write a marked copy, and its record before the copy takes its name.

    Args:
        digests: Of the network as it leaves; they are waited for while the copy is written.
        layout: Where everything lies in it, where the record says so.

    Returns:
        The record as it lies on the disk, and its commitment. Where the copy cannot be written, there is no record either.
    """
    commitment = ""

    def keep_record() -> None:
        nonlocal record, commitment
        record = with_digests(record, digests.result())
        commitment = save_record(record, record_path)

    try:
        write_patched(network, out, edits, keep_record, layout)
    except BaseException:
        if commitment:  # this run wrote the record, and the network that it belongs to never came to be
            record_path.unlink(missing_ok=True)
        raise
    return record, commitment


def with_digests(record: Record, digests: Digests) -> Record:
    """The record with the digests of the network as it leaves."""
    return record.with_digests(digests.network, digests.tensors, DIGEST_FORMAT, digests.graph)


def _shared_positions(record: Record, others: Sequence[Record]) -> int:
    return len(places_of(record) & set().union(*map(places_of, others)))


def refuse_existing(record_path: Path | str) -> None:
    """Refuse to overwrite a record, before hours of work.

    Raises:
        UsageError: Something is there, or there is no such folder.
    """
    if not Path(record_path).parent.is_dir():
        raise UsageError(f"{record_path}: there is no folder {Path(record_path).parent}")
    if Path(record_path).exists():
        raise UsageError(f"{record_path} exists; a record holds the only copy of a secret and is never overwritten")


def refuse_places(model: Path, out: Path, record_path: Path) -> None:
    """Refuse places of a marked copy and its record that would overwrite something.

    Raises:
        UsageError: Output and input are the same, the record exists, or the copy cannot be written where it should be.
    """
    refuse_existing(record_path)
    refuse_place(out)
    if out.exists() and model.exists() and out.samefile(model):
        raise UsageError(f"{out}: input and output are the same file")
    if record_path.resolve() in (out.resolve(), out.with_name(external_name(out)).resolve()):
        raise UsageError(f"{record_path}: the record and the marked copy cannot be one file")


def warnings_of(record: Record, view: SlotView, account: Account) -> tuple[str, ...]:
    """What the tracker should know of a mark or fingerprint, and of the network that it is in."""
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
    if record.kind == "watermark" and record.number_of_positions > MAX_SHARE * eligible:
        taken = record.number_of_positions / eligible
        out.append(f"the mark changes {taken:.1%} of the {eligible:,} eligible weights: see what that costs (--check)")
    strength = _largest_strength(record)
    if strength > STRONG:
        out.append(f"strength {strength:.3g} makes outliers of the mark's values: they betray its positions")
    out += [f"not covered: {problem}" for problem in view.not_understood[:5]]
    return tuple(out)


def _left_out(view: SlotView, excluded: Mapping[str, Set[int]]) -> list[str]:
    """Which slots a fingerprint leaves out, and why."""
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
