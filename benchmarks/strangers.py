"""Every real network's fingerprint against every other network's file: the answer has to be "not traced".

    python -m tests.support.corpus CORPUS
    python -m benchmarks strangers --corpus CORPUS [--output FILE]

Pairs are unrelated by provenance; relatives are counted in a table of their own. Each pair is judged alone, as ``onnxnnw verify``
does it with one record. The exit code is 1 where a stranger is called traced.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import Report, corpus_options, progress
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import CannotLook, CapacityError
from onnxnnw.records.key import Key
from onnxnnw.verification.named_records import NamedRecord, named_record
from onnxnnw.verification.verify import verify

__all__ = ["DECISIONS", "Pair", "enrol", "main", "pairs"]

DECISIONS = ("not traced", "inconclusive", "traced", "identical", "refused")
POSITIONS = (512, 164)
"""N of a fingerprint; the second where a network has no room for the first: the fewest reads by which absence is shown at 1e-6."""


@dataclass(frozen=True)
class Pair:
    """A candidate held against another network's record.

    Attributes:
        decision: Of the verdict, or ``refused``.
        reason: What was not understood, or why it was refused.
        read, absent, positions: Of the mark; 0 where it was refused.
    """

    owner: str
    candidate: str
    relation: str
    decision: str
    reason: str
    read: int = 0
    absent: int = 0
    positions: int = 0


def enrol(files: Mapping[str, Path], folder: Path) -> tuple[dict[str, NamedRecord], dict[str, str]]:
    """The records of all networks that can have one; and why the others cannot."""
    records, refused = {}, {}
    for name, path in files.items():
        for positions in POSITIONS:
            try:
                key = Key(f"strangers {name}".encode().ljust(32, b".")[:32])
                fingerprint(path, folder / f"{name}.record", positions=positions, key=key)
                records[name] = named_record(folder / f"{name}.record")
                break
            except CapacityError as error:
                refused[name] = str(error)
            except CannotLook as error:
                refused[name] = str(error).replace(str(path), path.name)
                break
    return records, {name: reason for name, reason in refused.items() if name not in records}


def pairs(files: Mapping[str, Path], records: Mapping[str, NamedRecord]) -> Iterator[Pair]:
    """All ordered pairs of two networks."""
    from tests.support.corpus import relation

    for candidate, path in files.items():
        progress(f"strangers: {candidate}")
        for owner, record in records.items():
            if owner == candidate:
                continue
            known = (owner, candidate, relation(owner, candidate))
            try:
                verdict = verify(path, [record])[0]
            except CannotLook as error:
                yield Pair(*known, "refused", str(error).replace(str(path), path.name))
                continue
            reason = "; ".join(dict.fromkeys(verdict.not_understood)) or "no reason is given"
            yield Pair(*known, verdict.decision, reason, verdict.read, verdict.absent, verdict.positions)


def _counted(found: Sequence[Pair], relation: str) -> list[str]:
    counts = Counter(one.decision for one in found if one.relation == relation)
    return [relation, str(counts.total()), *(str(counts[decision]) for decision in DECISIONS)]


def _undecided(found: Sequence[Pair]) -> Iterator[list[str]]:
    """One row for each candidate, decision and reason: the owners, and how much of their marks was read."""
    groups: dict[tuple[str, str, str], list[Pair]] = {}
    for one in found:
        if one.relation == "unrelated" and one.decision != "not traced":
            groups.setdefault((one.candidate, one.decision, one.reason), []).append(one)
    for (candidate, decision, reason), several in groups.items():
        owners = [one.owner for one in several]
        shown = ", ".join(owners[:4]) + (f" and {len(owners) - 4} more" if len(owners) > 4 else "")
        shares = [(one.read + one.absent) / one.positions for one in several if one.positions]
        known = f"{min(shares):.0%} to {max(shares):.0%}" if shares else "–"
        yield [candidate, decision, str(len(several)), shown, known, " ".join(reason.replace("|", "/").split())[:300]]


def main(arguments: list[str]) -> int:
    """Print the tables; 0 where no stranger is called traced."""
    options = corpus_options("strangers", __doc__, arguments)
    report = Report("strangers", arguments, command="python -m benchmarks strangers --corpus CORPUS")
    files = {path.stem: path for path in sorted(options.corpus.rglob("*.onnx"))}
    with tempfile.TemporaryDirectory(prefix="onnxnnw-strangers-") as folder:
        records, refused = enrol(files, Path(folder))
        found = list(pairs(files, records))
    traced = [one for one in found if one.relation == "unrelated" and one.decision in ("traced", "identical")]
    report.say(
        f"{len(files)} networks, {len(records)} of them fingerprinted, {len(found)} ordered pairs of two. "
        f"Strangers called traced: {len(traced)}."
    )
    relations = ("unrelated", "same family", "same weights")
    report.table("Decisions", ["by provenance", "pairs", *DECISIONS], [_counted(found, name) for name in relations])
    headers = ["candidate", "decision", "records", "of", "of the mark read or absent", "reason"]
    report.table("Strangers without a clear no", headers, _undecided(found))
    report.table("Networks without a fingerprint", ["network", "reason"], map(list, refused.items()))
    report.publish(options.output)
    return 1 if traced else 0
