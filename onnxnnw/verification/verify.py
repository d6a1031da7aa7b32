"""Record and candidate -> verdict.

Two paths, one verdict. Anchors alone choose the slots, before anything is tested: where name, shape and use of every
slot are as enrolled and the anchors of each agree, by name; else by content. In the former case the fast path reads
stored values at the positions; it may only say ``traced``, and every other answer comes from the thorough path.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.network_file.file import open_network
from onnxnnw.statistics import refuse_impossible_rate
from onnxnnw.verification.named_records import NamedRecord, RecordLike, as_named, load_records, named_record
from onnxnnw.verification.short_cut import short_cut
from onnxnnw.verification.verdict import SearchResult, Verdict
from onnxnnw.verification.verdicts import Verdicts
from onnxnnw.verification.visible import visible

__all__ = ["DEFAULT_RATE", "examine", "examine_records", "load_named", "search", "verify"]

DEFAULT_RATE = 1e-6


def verify(
    candidate: Path | str,
    records: "RecordLike | Sequence[RecordLike]",
    rate: float = DEFAULT_RATE,
    full: bool = False,
    reference: Path | str | None = None,
    thorough: bool = False,
) -> Verdicts:
    """Hold a candidate against records; one verdict each, best first.

    Args:
        candidate: An ONNX file. It is hostile input until proven otherwise.
        records: A record or its path, or a sequence of R of them; each p-value is multiplied by R.
        rate: The false-positive rate of the decision, over all records together.
        full: Also compute the canonical digest, which alone can say ``identical``.
        reference: The owner's own copy of the recorded network, marked or not: with it, channels in another order are seen
            through; see docs/guide/reference.md. Each record is read twice then, and its p-value doubled.
        thorough: Trace the candidate even where it is the enrolled network around its slots; see ``short_cut``.

    Raises:
        CannotLook: The candidate, the reference or a record cannot be examined.
        UsageError: No record, or an impossible rate.
    """
    records = as_named(records)
    if not records:
        raise UsageError("no record to verify against")
    refuse_impossible_rate(rate)  # before anything is read
    verdicts, failed = _verdicts(candidate, records, rate, full, reference, thorough)
    if failed:
        raise UnreadableRecord(failed[0])
    return Verdicts(verdicts)


def examine(
    candidate: Path | str,
    record_paths: Sequence[Path | str] = (),
    folder: Path | str | None = None,
    rate: float = DEFAULT_RATE,
    full: bool = False,
    commitment: str | None = None,
    reference: Path | str | None = None,
    thorough: bool = False,
) -> SearchResult:
    """Hold a candidate against record files, or find the record of a folder that it comes from.

    Args:
        candidate: An ONNX file.
        record_paths: Records; not together with ``folder``. Of several, those that cannot be read are named in the result.
        folder: A folder of records.
        rate, full, reference, thorough: See ``verify``.
        commitment: Published SHA-256 of the one record.

    Raises:
        CannotLook: The candidate, all records or the folder cannot be examined.
        UsageError: Records and folder together, neither, or a commitment without exactly one record.
    """
    refuse_impossible_rate(rate)
    records, unreadable = load_named(record_paths, folder, commitment)
    return examine_records(candidate, records, unreadable, rate, full, reference, thorough)


def load_named(
    record_paths: Sequence[Path | str] = (), folder: Path | str | None = None, commitment: str | None = None
) -> tuple[list[NamedRecord], list[str]]:
    """The records to hold candidates against, and those that cannot be read, with the reason; see ``examine``.

    Raises:
        UnreadableRecord: None can be read, or the one that was given.
        UsageError: Records and folder together, neither, or a commitment without exactly one record.
    """
    if bool(record_paths) == (folder is not None):
        raise UsageError("give records or a folder of records, one of the two")
    if commitment is not None and len(record_paths) != 1:
        raise UsageError("a commitment belongs to exactly one record")
    if folder is not None:
        return load_records(folder)
    records, unreadable = [], []
    for path in record_paths:
        try:
            records.append(named_record(path, commitment))
        except UnreadableRecord as error:
            if len(record_paths) == 1:
                raise
            unreadable.append(visible(str(error)))
    if not records:
        raise UnreadableRecord(unreadable[0])
    return records, unreadable


def search(
    candidate: Path | str,
    folder: Path | str,
    rate: float = DEFAULT_RATE,
    full: bool = False,
    reference: Path | str | None = None,
    thorough: bool = False,
) -> SearchResult:
    """Find the record of a folder that a candidate comes from [Matching, NNW-TEC 3 and 5.3.1].

    Raises:
        CannotLook: The candidate or the folder cannot be examined.
    """
    refuse_impossible_rate(rate)
    records, unreadable = load_records(folder)
    return examine_records(candidate, records, unreadable, rate, full, reference, thorough)


def examine_records(
    candidate: Path | str,
    records: Sequence[NamedRecord],
    unreadable: Sequence[str],
    rate: float,
    full: bool,
    reference: Path | str | None = None,
    thorough: bool = False,
) -> SearchResult:
    """Hold a candidate against those of some records that can be examined.

    Args:
        unreadable: What is said of those that could not be read.

    Raises:
        CannotLook: The candidate, or all records, cannot be examined.
    """
    start = time.perf_counter()
    verdicts, failed = _verdicts(candidate, records, rate, full, reference, thorough)
    if not verdicts:
        raise UnreadableRecord(f"no record that can be examined: {failed[0]}")
    return SearchResult(tuple(verdicts), (*unreadable, *failed), (time.perf_counter() - start) / len(records))


def _verdicts(
    candidate: Path | str,
    records: Sequence[NamedRecord],
    rate: float,
    full: bool,
    reference: Path | str | None,
    thorough: bool,
) -> tuple[list[Verdict], list[str]]:
    """The verdicts, best first; and the records that cannot be examined, with the reason."""
    if reference is None and not (full or thorough):
        known = short_cut(candidate, records, rate)
        if known is not None:
            return known, []
    from onnxnnw.verification.examiner import Examiner  # with all that traces a network, where the short cut did not do

    with open_network(candidate) as network, ExitStack() as opened:
        examiner = Examiner(network, records, rate, full)
        if reference is not None:
            from onnxnnw.verification.ordered.examiner import ExaminerWithReference

            own = opened.enter_context(open_network(reference))
            examiner = ExaminerWithReference(network, records, rate, full, own)
        verdicts, failed = examiner.verdicts()
        network.check_unchanged()
        if reference is not None:
            own.check_unchanged()
    return verdicts, failed
