"""What verification says of disguised copies, with the owner's own copy and without it, and how many channels are found."""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.alignment_disguises import EXACT, FINE_TUNED, KINDS, PRESERVING, answers_of, disguised, preserved
from benchmarks.tables import Report, progress
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import CapacityError
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.ordered.reference import Aligned, Reference
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify

__all__ = ["measure_by_weight", "measure_disguises"]

_RIGHT = 0.9
"""Cosine from which on a row or channel, in the order that was found, is the reference's."""


@dataclass(frozen=True)
class _Seen:
    """What was said of one copy.

    Attributes:
        right: Share of the rows and channels that were found; NaN where nothing was aligned.
        verdicts: Mark with reference, mark without, fingerprint with, fingerprint without.
        seconds: Of processor time, of the mark's verification with the reference.
        difference: Of answers, relative to the largest; None where they were not computed.
        note: What could not be done.
    """

    right: float
    verdicts: Sequence[Verdict]
    seconds: float
    difference: float | None = None
    note: str = ""


def measure_disguises(report: Report, options: argparse.Namespace) -> None:
    """Copies that compute the same, or nearly."""
    report.say(
        "Each copy is disguised through the channel groups of its graph, by `modify`, so that it computes what the marked network "
        "does; int8 is a lattice of 256 levels a weight, pruning is by magnitude. *Right* is the share of rows and channels whose "
        f"values, in the order that was found, have a cosine of at least {_RIGHT} with the reference's; of the added mark."
    )
    kinds = [kind for kind in (*PRESERVING, FINE_TUNED) if not options.kinds or kind in options.kinds]
    found: dict[str, dict[str, _Seen]] = {}
    for name, source in _networks(options):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            enrolled, before = _enrolled(source, folder), None
            for kind in kinds if enrolled else ():
                note = preserved(folder / "marked.onnx", folder / "candidate.onnx", kind, name, options.data)
                if note is not None:
                    difference = None
                    if kind in EXACT:
                        before = answers_of(folder / "marked.onnx") if before is None else before
                        after = answers_of(folder / "candidate.onnx")
                        difference = float(np.abs(after - before).max() / max(np.abs(before).max(), 1e-30))
                    found.setdefault(name, {})[kind] = _seen(folder, source, difference, note)
                    progress(f"{name} | {kind} | {_words(found[name][kind])}")
    _tables(report, found, kinds)


def measure_by_weight(report: Report, options: argparse.Namespace) -> None:
    """Copies in which every weight has rows and channels of an order of its own."""
    report.say(
        "Each weight has rows and channels of an order of its own (and scales, signs, dummies … of both), which keeps no function. "
        f"*Right* is the share of rows and channels whose values, in the order that was found, have a cosine of at least {_RIGHT} "
        "with the reference's; of the added mark."
    )
    kinds = [kind for kind in KINDS if not options.kinds or kind in options.kinds]
    found: dict[str, dict[str, _Seen]] = {}
    for name, source in _networks(options):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for kind in kinds if _enrolled(source, folder) else ():
                disguised(folder / "marked.onnx", folder / "candidate.onnx", KINDS[kind], np.random.default_rng(0))
                found.setdefault(name, {})[kind] = _seen(folder, source, None, "")
                progress(f"{name} | {kind} | {_words(found[name][kind])}")
    _tables(report, found, kinds)


def _networks(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Every network that was asked for, made when it is its turn."""
    from benchmarks.alignment_networks import NAMES, make_network

    names = options.networks or ([] if options.public else NAMES)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            make_network(name, Path(folder) / "network.onnx")
            yield name, Path(folder) / "network.onnx"
    for path in options.public:
        yield path.stem, path


def _enrolled(source: Path, folder: Path) -> bool:
    """Mark a network, and fingerprint the original; False where it has no room for either."""
    try:
        embed(source, folder / "marked.onnx", folder / "mark.record", key=Key(b"alignment".ljust(32, b".")))
        fingerprint(source, folder / "print.record", key=Key(b"fingerprint".ljust(32, b".")))
    except CapacityError as error:
        progress(f"{source.stem}: {error}")
        return False
    return True


def _seen(folder: Path, source: Path, difference: float | None, note: str) -> _Seen:
    """Verify a candidate in all four ways."""
    records = [load_record(folder / f"{name}.record") for name in ("mark", "print")]
    right: list[float] = []
    whole = Reference.aligned

    def watched(self: Reference, *arguments: Any) -> Aligned | None:
        one = whole(self, *arguments)
        if one is not None and not right:
            right.append(_right(one))
        return one

    verdicts = []
    seconds = 0.0
    without = {verdict.kind: verdict for verdict in verify(folder / "candidate.onnx", records)}
    for record in records:
        start = time.process_time()
        with mock.patch.object(Reference, "aligned", watched):
            verdicts += verify(folder / "candidate.onnx", [record], reference=source)
        seconds = seconds or time.process_time() - start
        verdicts.append(without[record.kind])
    return _Seen(right[0] if right else float("nan"), verdicts, seconds, difference, note)


def _right(aligned: Aligned) -> float:
    """Share of rows and channels that are the reference's, over all weights that it has."""
    good = count = 0
    for number, weight in aligned.reference.items():
        ours = weight.read().astype(np.float64).reshape(weight.rows, -1, weight.taps)
        count += ours.shape[0] + weight.groups * ours.shape[1]
        if number in aligned.orders:
            theirs = aligned.orders[number].applied(aligned.weights.matches[number].slot.array())  # type: ignore[union-attr]
            theirs = np.nan_to_num(theirs.astype(np.float64)).reshape(ours.shape)
            good += _alike(ours, theirs)
            for one, other in zip(*(np.split(cube, weight.groups) for cube in (ours, theirs)), strict=True):
                good += _alike(one.transpose(1, 0, 2), other.transpose(1, 0, 2))
    return good / max(1, count)


def _alike(ours: "np.ndarray[Any, Any]", theirs: "np.ndarray[Any, Any]") -> int:
    one, other = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    products = np.einsum("ij,ij->i", one, other)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(
        np.where(one == 0, 0, other), axis=1
    )  # 0: held out of the alignment
    dead = (np.abs(one).max(1) == 0) & (np.abs(other).max(1) == 0)
    return int(((products >= _RIGHT * norms) & (norms > 0) | dead).sum())


def _answer(verdict: Verdict) -> str:
    """The decision, with what is said of a disguise."""
    ids = {finding.id for finding in verdict.findings}
    more = ", hint" if "other-channel-order" in ids else ", not excluded" if "disguise-not-excluded" in ids else ""
    return verdict.decision + more


def _words(seen: _Seen) -> str:
    answers = " | ".join(f"{_answer(one)} {one.effect:.2f}" for one in seen.verdicts)
    difference = "" if seen.difference is None else f"{seen.difference:.0e}"
    return f"{seen.right:.1%} | {answers} | {difference} | {seen.seconds:.1f} s | {seen.note}"


def _tables(report: Report, found: Mapping[str, Mapping[str, _Seen]], kinds: Sequence[str]) -> None:
    """Networks in rows, disguises in columns, one table for each question."""
    headers = ["network", *kinds]

    def table(title: str, cell: Callable[[_Seen], str]) -> None:
        rows = [[name, *(cell(of[kind]) if kind in of else "–" for kind in kinds)] for name, of in found.items()]
        report.table(title, headers, rows)

    table("Rows and channels right", lambda seen: "as it stands" if np.isnan(seen.right) else f"{seen.right:.1%}")
    for first, what in ((0, "Mark"), (2, "Fingerprint")):
        table(
            f"{what}, with reference (effect)",
            lambda seen, n=first: f"{_answer(seen.verdicts[n])} {seen.verdicts[n].effect:.2f}",  # type: ignore[misc]
        )
        table(f"{what}, without", lambda seen, n=first: _answer(seen.verdicts[n + 1]))  # type: ignore[misc]
    table("Seconds of processor time, mark with reference", lambda seen: f"{seen.seconds:.1f}")
    every = [seen for of in found.values() for seen in of.values()]
    for number, name in enumerate(("mark with reference", "mark without", "print with reference", "print without")):
        traced = sum(seen.verdicts[number].decision == "traced" for seen in every)
        report.say(f"Traced, {name}: {traced} of {len(every)}.")
    differences = [seen.difference for seen in every if seen.difference is not None]
    if differences:
        report.say(
            f"Largest difference of answers in exact disguises, relative to the largest answer: {max(differences):.0e}."
        )
    notes = sorted({f"{name}: {seen.note}" for name, of in found.items() for seen in of.values() if seen.note})
    if notes:
        report.say("Left out: " + "; ".join(notes) + ".")
