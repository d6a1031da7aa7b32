"""What is asked of some files on the command line, and the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.evidence.answer import Answer, could_not_look, judge
from onnxnnw.statistics import refuse_impossible_rate
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verify import examine_records, load_named

if TYPE_CHECKING:
    from onnxnnw.evidence.rules import Problem
    from onnxnnw.evidence.subject import NetworkFiles, Signed

__all__ = ["Question", "ask"]


@dataclass(frozen=True)
class Question:
    """What is asked of each file.

    Attributes:
        records, folder, commitment: What it is held against; see ``verification.verify.examine``.
        rate: The false-positive rate.
        require: ``traced`` or ``identical``.
        min_explained: Share of the weights that a record must explain.
        full: Whether the canonical digest is compared.
        reference: The owner's own copy of the recorded network, in whose order candidates are read.
        parent: The network that the matching record has to have been made of.
        parent_keys: Public keys, one of which must have signed it.
    """

    records: tuple[Path, ...] = ()
    folder: Path | None = None
    commitment: str | None = None
    rate: float = 1e-6
    require: str = "traced"
    min_explained: float = 0.0
    full: bool = False
    reference: Path | None = None
    parent: Path | None = None
    parent_keys: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.require not in ("traced", "identical"):
            raise UsageError(f"--require is traced or identical, not {self.require!r}")
        if not 0 <= self.min_explained <= 1:
            raise UsageError(f"--min-explained lies between 0 and 1, not at {self.min_explained}")
        if bool(self.parent_keys) != (self.parent is not None):
            raise UsageError("--parent and --parent-key go together: who has to have signed the parent?")


def ask(
    question: Question, candidates: Sequence[Path | str], by_digest: bool = False, canonical: bool = False
) -> tuple[list[Answer], Mapping[str, str]]:
    """One answer for each candidate, and which networks the records were made of.

    Args:
        by_digest: Whether files are named by their SHA-256, as evidence has to.
        canonical: Whether the canonical digest is computed as well.

    Raises:
        UsageError: The question is wrong.
        CannotLook: No record, key or parent can be read. What of a candidate cannot be read is its answer.
    """
    if not candidates:
        raise UsageError("no file to verify")
    addresses = [str(one) for one in candidates if "://" in str(one)]
    if addresses and by_digest:
        raise UsageError("evidence names a file by its SHA-256: download what lies behind an address, and verify that")
    refuse_impossible_rate(question.rate)
    records, unreadable = load_named(question.records, question.folder, question.commitment)
    lineage = {named.commitment: named.record.derived.get("digest", "") for named in records}
    answers = []
    for path in candidates:
        answers.append(_answer(question, path, records, unreadable, by_digest, canonical))
    if question.parent is not None:
        from onnxnnw.evidence.keys import load_public_key
        from onnxnnw.evidence.parent import signed_by
        from onnxnnw.evidence.subject import subject_of

        keys = [load_public_key(key) for key in question.parent_keys]
        parent, problem = signed_by(subject_of(question.parent, canonical=True), keys)
        answers = [_with_parent(answer, parent, problem, lineage) for answer in answers]
    return answers, lineage


def _answer(
    question: Question,
    path: Path | str,
    records: Sequence[NamedRecord],
    unreadable: Sequence[str],
    by_digest: bool,
    canonical: bool,
) -> Answer:
    full = question.full or question.require == "identical"
    subject: NetworkFiles | None = None
    try:
        if by_digest:
            from onnxnnw.evidence.subject import subject_of

            subject = subject_of(Path(path), canonical)
        search = examine_records(
            path, records, unreadable, question.rate, full, question.reference, question.min_explained > 0
        )
        if subject is not None:
            subject.check_unchanged()
    except CannotLook as error:
        return could_not_look(path, question.require, error, subject)
    return judge(path, search, question.require, question.min_explained, subject)


def _with_parent(answer: Answer, parent: "Signed", problem: "Problem | None", lineage: Mapping[str, str]) -> Answer:
    from onnxnnw.evidence.parent import parent_problem

    asked = f"{answer.asked}; enrolled from {parent.subject.model.name}, signed by a key that was named"
    verdicts = answer.search.verdicts if answer.search is not None else ()
    there = [lineage.get(v.evidence.commitment, "") for v in verdicts if v.decision in ("traced", "identical")]
    wrong = [one for one in (problem, parent_problem(parent, there) if there else None) if one is not None]
    known = parent if there and not wrong else None
    return replace(answer, asked=asked, problems=(*answer.problems, *wrong), parent=known)
