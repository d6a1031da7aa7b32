"""One network, many recipients: a marked copy and a record for each, all at the same secret positions, told apart by signs.

The network is measured once; a copy is a patch of it. The record is on the disk before its copy takes its name, and both follow
from the owner's secret: a run that was killed is run again, makes what is missing, and gives the same.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.classing import account_of
from onnxnnw.enrolment.copies import Copy, said_of, without_copies
from onnxnnw.enrolment.enrol import warnings_of, with_digests
from onnxnnw.enrolment.mark_grid import rounded_to_grid
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.recipients.owner_secret import OwnerSecret, alone_in, load_owner, positions_key_of, save_owner
from onnxnnw.enrolment.recipients.recipient_list import Recipient
from onnxnnw.enrolment.record_draft import Writing, draft_watermark, mark_edits
from onnxnnw.enrolment.refusals import refuse_too_weak
from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.graph.digest import network_digest, network_digests
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods import nct
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.patch import joined_edits, refuse_own_files, write_patched
from onnxnnw.records.key import Key
from onnxnnw.records.positions import capacity, plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record, save_record

__all__ = ["RecipientCopies", "RecipientCopy", "embed_for_recipients"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RecipientCopy:
    """What one recipient gets, and what its owner keeps of it.

    Attributes:
        made: By this run; else it was there, as its record says.
    """

    destination_id: str
    copy: Path
    record: Path
    commitment: str
    made: bool


@dataclass(frozen=True)
class RecipientCopies:
    """The result for all recipients.

    Attributes:
        copies: One for each recipient, in the order of the list.
        positions: N.
        capacity: Eligible weights.
        warnings: Sentences for the tracker.
    """

    copies: tuple[RecipientCopy, ...]
    positions: int
    capacity: int
    warnings: tuple[str, ...]

    @property
    def made(self) -> int:
        """How many of them this run made."""
        return sum(copy.made for copy in self.copies)


def embed_for_recipients(
    model: Path | str,
    recipients: Sequence[Recipient],
    copies: Path | str,
    records: Path | str,
    positions: int | None = None,
    strength: float | None = None,
    owner: Owner | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
    kept: Callable[[Record], None] = lambda record: None,
) -> RecipientCopies:
    """Write a marked copy of a network for each recipient, so that a copy that turns up says whose it was.

    Run again, it makes what is missing: after an interruption, or where the list has grown.

    Args:
        model: An ONNX file.
        recipients: Who gets one; see ``read_recipients``.
        copies: Folder of the marked copies, ``NAME.onnx``; made where there is none.
        records: Folder of the records, ``NAME.record``, and of the owner's secret; another one, for it stays at home.
        positions: N; see ``default_shared_positions``.
        strength: Deviation of what is added in units of each slot's, 0.4 by default.
        owner: Who does it; the destination is each recipient's own.
        progress: Called with the number of copies that are there, and of all.
        kept: Called with each record before its copy takes its name, and of copies that are there already too: it puts the record
            where else it has to be. Where it fails, there is no copy.

    Raises:
        CannotLook: The network cannot be read, changed, or has too few eligible weights.
        UsageError: The folders hold something else, or copies of another network, or the mark is too weak to be stored.
    """
    copies, records = Path(copies), Path(records)
    for folder in (copies, records):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; copies and records for recipients need a folder each")
        folder.mkdir(exist_ok=True)
    if copies.samefile(records):
        raise UsageError(f"{copies}: copies are handed out and records must not be; give a folder for each")
    with alone_in(records), open_network(model, for_writing=True) as network:
        _clear(recipients, copies, records)
        with ThreadPoolExecutor(1) as pool:
            maker = _begin(network, records, positions, strength, owner or Owner(), pool)
            done = []
            for number, recipient in enumerate(recipients):
                progress(number, len(recipients))
                done.append(maker.copy_for(recipient, copies, records, kept))
            progress(len(recipients), len(recipients))
    return RecipientCopies(tuple(done), maker.base.number_of_positions, capacity(maker.base.slots), maker.warnings)


def _begin(
    network: Network,
    records: Path,
    positions: int | None,
    strength: float | None,
    owner: Owner,
    pool: ThreadPoolExecutor,
) -> "_Maker":
    """Measure the network, and find or make the owner's secret."""
    known = load_owner(records)
    if known is not None:
        positions, strength = _as_before(known, records, positions, strength)
    view = find_slots(network)
    own, twice = without_copies(view)
    digest = pool.submit(network_digest, network, view)
    account = account_of(network, view)
    writing = Writing(nct.ADDED, strength)
    enrolled = digest.result()
    if known is not None and known.enrolled_digest != enrolled:
        raise UsageError(f"{records}: holds records of copies of another network; give another folder")
    secret = known.key if known is not None else Key.generate()
    shared = positions_key_of(secret, enrolled)
    base = draft_watermark(own, shared, positions, owner, writing, (), account, twice, positions_key=shared)
    base = replace(base, enrolled_digest=enrolled)
    if known is None:
        refuse_too_weak(base)
        known = OwnerSecret(secret, enrolled, base.number_of_positions, str(base.parameters["strength"]))
        network.check_unchanged()
        save_owner(known, records)
    warnings = (*warnings_of(base, view, account), *said_of(twice, base))
    plan = plan_of(base)
    written = {sign: nct.mark_values(base, plan, np.full(plan.positions.size, sign)) for sign in (-1.0, 1.0)}
    on_grid = {sign: rounded_to_grid(values, plan, base, own) for sign, values in written.items()}
    rounds = any(not np.array_equal(on_grid[sign], written[sign]) for sign in written)
    return _Maker(network, view, own, twice, known, base, on_grid if rounds else {}, warnings, pool)


def _as_before(known: OwnerSecret, records: Path, positions: int | None, strength: float | None) -> tuple[int, float]:
    """N and strength of the existing copies, which all further copies must share."""
    if positions not in (None, known.positions) or strength not in (None, float(known.strength)):
        raise UsageError(
            f"{records}: its copies have {known.positions} positions and strength {known.strength}; "
            "others of the same network would give all positions away. Leave the two out, or mark another network"
        )
    return known.positions, float(known.strength)


@dataclass(frozen=True)
class _Maker:
    """Makes copies of one network.

    Attributes:
        view, own: All slots, and those that are no copies of others.
        twice: Those that are.
        base: The record of all, without a recipient.
        on_grid: By sign, what is written where grids of slots round it; empty where none does.
    """

    network: Network
    view: SlotView
    own: SlotView
    twice: Sequence[Copy]
    owner: OwnerSecret
    base: Record
    on_grid: dict[float, Floats]
    warnings: tuple[str, ...]
    pool: ThreadPoolExecutor

    def copy_for(
        self, recipient: Recipient, copies: Path, records: Path, keep: Callable[[Record], None]
    ) -> RecipientCopy:
        """The copy and the record of one recipient, made if they do not exist."""
        copy, kept = copies / f"{recipient.name}.onnx", records / f"{recipient.name}.record"
        record = self._kept(recipient, kept) if kept.exists() else None
        if copy.exists():
            if record is None:
                raise UsageError(f"{copy}: exists, and no record of it is in {records}; move it away")
            if not _holds(copy, record):
                raise UsageError(f"{copy}: is not the copy that {kept} speaks of; move it away, and it is made anew")
            keep(record)
            return RecipientCopy(recipient.destination_id, copy, kept, record.commitment, False)
        new = record is None
        if record is None:
            record = self._record(recipient)
        edits = mark_edits(record, self.own, self.twice)
        by_tensor = {id(edit.tensor): edit for edit in joined_edits(edits)}
        digests = self.pool.submit(network_digests, self.network, self.view, by_tensor)
        refuse_own_files(self.network, copy)

        def keep_record() -> None:
            nonlocal record
            assert record is not None
            found = digests.result()
            if new:
                record = with_digests(record, found)
                save_record(record, kept)
            elif record.derived.get("digest") != found.network:
                raise CannotLook(f"{kept}: speaks of another copy than this program makes from it; move it away")
            keep(record)

        write_patched(self.network, copy, edits, keep_record)
        return RecipientCopy(recipient.destination_id, copy, kept, record.commitment, True)

    def _record(self, recipient: Recipient) -> Record:
        """The record of one recipient, without the digests of its copy."""
        key = self.owner.recipient_key(recipient.destination_id)
        record = replace(self.base, key=key, destination_id=recipient.destination_id)
        if not self.on_grid:
            return record
        up = nct.expected_numbers(record, plan_of(record)) > 0
        return record.with_measured(written=np.where(up, self.on_grid[1.0], self.on_grid[-1.0]).astype("<f8"))

    def _kept(self, recipient: Recipient, path: Path) -> Record:
        """A record that exists already.

        Raises:
            UnreadableRecord: It cannot be read.
            UsageError: It is another recipient's, or another owner's.
        """
        record = load_record(path)
        keys = (self.owner.recipient_key(recipient.destination_id), self.owner.positions_key)
        if record.destination_id != recipient.destination_id or (record.key, record.positions_key) != keys:
            raise UsageError(f"{path}: is not the record of {recipient.destination_id[:80]!r}; move it away")
        return record


def _holds(copy: Path, record: Record) -> bool:
    """Whether a file holds, at all positions, the values that the record says were written."""
    with open_network(copy) as network:
        slots = find_slots(network).by_name()
        for name, (positions, values) in nct.mark(record).items():
            if name not in slots or not np.array_equal(slots[name].values(positions), values):
                return False
    return True


def _clear(recipients: Sequence[Recipient], copies: Path, records: Path) -> None:
    """Remove what a killed run left of unfinished copies."""
    names = {recipient.name for recipient in recipients}
    for folder, endings in ((copies, (".onnx", ".onnx.data")), (records, (".record",))):
        begun = {f"{name}{ending}"[:40] for name in names for ending in endings}
        for path in folder.glob(".*.partial"):
            found = re.fullmatch(r"\.(.*)\.[0-9a-f]{8}\.partial", path.name)
            if found and (found[1] in begun or _data_of(found[1], names)):
                path.unlink(missing_ok=True)
    for path in copies.glob("*.data"):
        name = _data_of(path.name, names)
        if name and not (copies / f"{name}.onnx").exists():
            path.unlink(missing_ok=True)


def _data_of(file: str, names: set[str]) -> str:
    """The recipient whose copy a file of external data belongs to; empty if none."""
    found = re.fullmatch(r"(.*)\.onnx(\.[0-9a-f]{8})?\.data", file)
    return found[1] if found and found[1] in names else ""
