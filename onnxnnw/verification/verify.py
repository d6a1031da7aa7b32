"""Record and candidate -> verdict.

Two paths, one verdict. Anchors alone choose the slots, before anything is tested: where name, shape and use of every
slot are as enrolled and the anchors of each agree, by name; else by content. In the former case the fast path reads
stored values at the positions; it may only say ``traced``, and every other answer comes from the thorough path.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record import Record
from onnxnnw.statistics import refuse_impossible_rate
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.named_records import NamedRecord, load_records, named_record
from onnxnnw.verification.short_cut import short_cut
from onnxnnw.verification.verdict import Search, Verdict
from onnxnnw.verification.visible import visible

__all__ = ["DEFAULT_RATE", "examine", "search", "verify"]

DEFAULT_RATE = 1e-6


def verify(
    candidate: Path | str,
    records: Sequence[NamedRecord | Record],
    rate: float = DEFAULT_RATE,
    full: bool = False,
    thorough: bool = False,
) -> list[Verdict]:
    """Hold a candidate against records; one verdict each, best first.

    Args:
        candidate: An ONNX file. It is hostile input until proven otherwise.
        records: R records; each p-value is multiplied by R.
        rate: The false-positive rate of the decision, over all records together.
        full: Also compute the canonical digest, which alone can say ``identical``.
        thorough: Trace the candidate even where it is the enrolled network around its slots; see ``short_cut``.

    Raises:
        CannotLook: The candidate or a record cannot be examined.
        UsageError: No record, or an impossible rate.
    """
    if not records:
        raise UsageError("no record to verify against")
    refuse_impossible_rate(rate)  # before anything is read
    named = [r if isinstance(r, NamedRecord) else NamedRecord(r, "record", r.commitment) for r in records]
    known = short_cut(candidate, named[0], rate) if not thorough and len(named) == 1 and not full else None
    if known is not None:
        return [known]
    with open_network(candidate) as network:
        verdicts, failed = Examiner(network, named, rate, full).verdicts()
        network.check_unchanged()
    if failed:
        raise UnreadableRecord(failed[0])
    return verdicts


def examine(
    candidate: Path | str,
    record_paths: Sequence[Path | str] = (),
    folder: Path | str | None = None,
    rate: float = DEFAULT_RATE,
    full: bool = False,
    commitment: str | None = None,
    thorough: bool = False,
) -> Search:
    """Hold a candidate against record files, or find the record of a folder that it comes from.

    Args:
        candidate: An ONNX file.
        record_paths: Records; not together with ``folder``. Of several, those that cannot be read are named in the result.
        folder: A folder of records.
        rate, full, thorough: See ``verify``.
        commitment: Published SHA-256 of the one record.

    Raises:
        CannotLook: The candidate, all records or the folder cannot be examined.
        UsageError: Records and folder together, neither, or a commitment without exactly one record.
    """
    if bool(record_paths) == (folder is not None):
        raise UsageError("give records or a folder of records, one of the two")
    if commitment is not None and len(record_paths) != 1:
        raise UsageError("a commitment belongs to exactly one record")
    if folder is not None:
        return search(candidate, folder, rate, full, thorough)
    refuse_impossible_rate(rate)
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
    return _search(candidate, records, unreadable, rate, full, thorough)


def search(
    candidate: Path | str,
    folder: Path | str,
    rate: float = DEFAULT_RATE,
    full: bool = False,
    thorough: bool = False,
) -> Search:
    """Find the record of a folder that a candidate comes from [Matching, NNW-TEC 3 and 5.3.1].

    Raises:
        CannotLook: The candidate or the folder cannot be examined.
    """
    refuse_impossible_rate(rate)
    records, unreadable = load_records(folder)
    return _search(candidate, records, unreadable, rate, full, thorough)


def _search(
    candidate: Path | str,
    records: Sequence[NamedRecord],
    unreadable: Sequence[str],
    rate: float,
    full: bool,
    thorough: bool,
) -> Search:
    """Hold a candidate against those of some records that can be examined."""
    start = time.perf_counter()
    known = short_cut(candidate, records[0], rate) if not thorough and len(records) == 1 and not full else None
    if known is not None:
        return Search((known,), tuple(unreadable), time.perf_counter() - start)
    with open_network(candidate) as network:
        verdicts, failed = Examiner(network, records, rate, full).verdicts()
        network.check_unchanged()
    if not verdicts:
        raise UnreadableRecord(f"no record that can be examined: {failed[0]}")
    return Search(tuple(verdicts), (*unreadable, *failed), (time.perf_counter() - start) / len(records))
